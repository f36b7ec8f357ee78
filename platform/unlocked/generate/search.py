"""Decoding: what an encoder-decoder writes when nobody forces it, by greedy search, beam search or sampling.

    log p(y | x) = sum_i log p(y_i | y_<i, x),    y ends in </s>

A `Decoder` gives log p(. | y_<i, x); a search asks it for many prefixes at once. The memory of the sources is computed
once, the decoder's blocks run again for every longer prefix. Padding, <s> and <unk> are never written: p is that of the
remaining tokens.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from unlocked.data.text import BOS, EOS, PAD, UNK
from unlocked.errors import ConfigError
from unlocked.generate.sampling import filtered
from unlocked_models.chain import Batch, Chain, decoder_start

NEVER = [PAD, BOS, UNK]


class Decoder:
    """A trained chain, and the sources `x (n, S)` that it has read.

    Raises `ConfigError` for a chain that has no decoder, and for sources without a token.
    """

    def __init__(self, chain: Chain, x: Tensor):
        start = decoder_start(chain)
        if start is None:
            raise ConfigError("model.name: this model does not decode: no block of it starts a decoder")
        empty = (x == PAD).all(1).nonzero().flatten().tolist()
        if empty:
            raise ConfigError(f"sentence {empty[0] + 1} is empty: there is nothing to translate")
        self.x, self._blocks = x, chain[start:]
        with torch.inference_mode():
            self.memory = chain[:start](x, Batch(x, x.new_zeros(len(x), 1)))

    def log_probabilities(self, prefix: Tensor, rows: Tensor | None = None) -> Tensor:
        """Of the next token, `(m, vocabulary)`, behind `prefix (m, t)`; `rows (m,)`: the source of each (null: in
        order)."""
        x, memory = (self.x, self.memory) if rows is None else (self.x[rows], self.memory[rows])
        y = torch.cat([prefix, prefix.new_zeros(len(prefix), 1)], 1)  # a decoder reads <s> y_1 .. y_t
        with torch.inference_mode():
            logits = self._blocks(memory, Batch(x, y))[:, -1]
            if logits.shape[1] <= max(EOS, *NEVER) + 1:
                raise ConfigError(f"the target vocabulary has {logits.shape[1]} tokens: none beside the special ones, "
                                  f"</s> (id {EOS}) among them")
            logits = logits.index_fill(1, torch.tensor(NEVER, device=logits.device), -torch.inf)
            return logits.log_softmax(-1)


def greedy(decoder: Decoder, longest: int) -> Tensor:
    """The likeliest token, one after the other: ids `(n, <= longest)`, </s> and padding behind it. A sequence that has
    not ended after `longest` tokens is cut there."""
    return _one_by_one(decoder, longest, lambda log_p: log_p.argmax(-1))


def sample(decoder: Decoder, longest: int, temperature: float = 1.0, top_k: int | None = None,
           top_p: float | None = None, seed: int = 0) -> Tensor:
    """Tokens drawn from p, sharpened and cut as `sampling.filtered` says; ids as `greedy` gives them, of the seed
    alone."""
    generator = torch.Generator(decoder.x.device).manual_seed(seed)

    def draw(log_p: Tensor) -> Tensor:
        kept = filtered(log_p, temperature, top_k, top_p).softmax(-1)
        return torch.multinomial(kept, 1, generator=generator)[:, 0]

    return _one_by_one(decoder, longest, draw)


def _one_by_one(decoder: Decoder, longest: int, choose: Callable[[Tensor], Tensor]) -> Tensor:
    n = len(decoder.x)
    tokens = decoder.x.new_zeros(n, 0)
    ended = torch.zeros(n, dtype=torch.bool, device=tokens.device)
    while tokens.shape[1] < longest and not bool(ended.all()):
        going = (~ended).nonzero()[:, 0]
        column = tokens.new_full((n,), PAD)
        column[going] = choose(decoder.log_probabilities(tokens[going], going))
        tokens = torch.cat([tokens, column[:, None]], 1)
        ended |= column == EOS
    return tokens


def beam_search(decoder: Decoder, longest: int, width: int = 4, alpha: float = 0.6) -> Tensor:
    """Beam search: ids `(n, longest)` of the best ended sequence that was found.

    Best is the greatest log p(y | x) / lp(y), lp(y) = ((5 + |y|) / 6)^alpha, |y| with </s> (Wu et al. 2016,
    arXiv:1609.08144, eq. 14); alpha 0 compares probabilities themselves. At every step the `width` best prefixes go on;
    a source is done when none of them can come to more than its best ended sequence. Where none ended within `longest`
    tokens, the best prefix of that length is given. Raises `ConfigError` for a width below 1 or a negative alpha.
    """
    if width < 1:
        raise ConfigError(f"beam: {width} is not at least 1")
    if not 0 <= alpha < float("inf"):
        raise ConfigError(f"length_penalty: {alpha} is not at least 0")
    n, device, dtype = len(decoder.x), decoder.x.device, decoder.memory.dtype

    def lp(length: int) -> float:
        return float(((5 + length) / 6) ** alpha)

    best = decoder.x.new_full((n, longest), PAD)
    best_score = torch.full((n,), -torch.inf, device=device, dtype=dtype)
    rows = torch.arange(n, device=device)  # the sources that are not done
    prefix = decoder.x.new_zeros(n, 1, 0)  # (sources, beams, t)
    score = torch.zeros(n, 1, device=device, dtype=dtype)
    for t in range(1, longest + 1):
        beams = prefix.shape[1]
        log_p = decoder.log_probabilities(prefix.flatten(0, 1), rows.repeat_interleave(beams))
        total = (score.flatten()[:, None] + log_p).view(len(rows), beams, -1)
        _keep_better(best, best_score, rows, prefix, total[:, :, EOS] / lp(t))
        total[:, :, EOS] = -torch.inf
        vocabulary = total.shape[2]
        score, at = total.flatten(1).topk(min(width, beams * (vocabulary - len(NEVER) - 1)))
        parents = prefix.gather(1, (at // vocabulary)[:, :, None].expand(-1, -1, t - 1))
        prefix = torch.cat([parents, (at % vocabulary)[:, :, None]], 2)
        if t == longest:
            none = torch.isinf(best_score[rows])
            best[rows[none]] = prefix[none, 0]
            break
        # log p only falls, and lp is never larger than that of the longest
        alive = score[:, 0] / lp(longest) > best_score[rows]
        rows, prefix, score = rows[alive], prefix[alive], score[alive]
        if not len(rows):
            break
    return best


def _keep_better(best: Tensor, best_score: Tensor, rows: Tensor, prefix: Tensor, ended: Tensor) -> None:
    """Puts sequences that end now, `prefix (sources, beams, t - 1)` with </s>, in the place of worse ones."""
    value, which = ended.max(1)
    better = value > best_score[rows]
    at, chosen = rows[better], prefix[better, which[better]]
    best_score[at] = value[better]
    best[at] = PAD
    best[at, :chosen.shape[1]] = chosen
    best[at, chosen.shape[1]] = EOS
