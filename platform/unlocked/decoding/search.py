"""Decoding: what an encoder-decoder writes when nobody forces it, by greedy search, beam search or sampling.

    log p(y | x) = sum_i log p(y_i | y_<i, x),    y ends in </s>

A `Decoder` gives log p(. | y_<i, x); a search asks it for many prefixes at once, each a token longer than the one that
it goes on from. The memory of the sources is computed once, and what the decoder's blocks keep goes with the prefixes
(`unlocked_models.contract.stepping`), so that a token costs one position; blocks that keep nothing run again over every
prefix.
Padding, <s> and <unk> are never written: p is that of the remaining tokens.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from unlocked.data.words.text import BOS, EOS, PAD, UNK
from unlocked.decoding.sampling import filtered
from unlocked.errors import ConfigError
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.chain import Chain, decoder_start
from unlocked_models.contract.stepping import remembering, reorder, takes_pieces

NEVER = [PAD, BOS, UNK]

Step = Callable[[Tensor, Tensor], Tensor]


class Decoder:
    """A trained chain, and the sources `x (n, S)`, or `(n, S, features)`, that it has read.

    Raises `ConfigError` for a chain that has no decoder, and for sources without a token.
    """

    def __init__(self, chain: Chain, x: Tensor):
        start = decoder_start(chain)
        if start is None:
            raise ConfigError("model.name: this model does not decode: no block of it starts a decoder")
        empty = (x == PAD).flatten(1).all(1).nonzero().flatten().tolist()
        if empty:
            raise ConfigError(f"sentence {empty[0] + 1} is empty: there is nothing to translate")
        blocks = chain[start:]
        assert isinstance(blocks, Chain)
        self.x, self._blocks = x, blocks
        with torch.inference_mode():
            self.memory = chain[:start](x, Batch(x, x.new_zeros(len(x), 1, dtype=torch.long)))

    @contextlib.contextmanager
    def writing(self) -> Iterator[Step]:
        """`step(tokens (m,), parents (m,))`: log p of the next token, `(m, vocabulary)`, after prefixes that end in
        `tokens`, each of which goes on from row `parents` of the call before. At the first call the tokens are <s>, the
        parents the sources."""
        x, memory, read = self.x, self.memory, self.x.new_zeros(len(self.x), 0, dtype=torch.long)
        keeps = all(map(takes_pieces, self._blocks))

        def step(tokens: Tensor, parents: Tensor) -> Tensor:
            nonlocal x, memory, read
            if len(parents) != len(x) or not torch.equal(parents, torch.arange(len(x), device=x.device)):
                x, memory, read = x[parents], memory[parents], read[parents]
                if keeps:
                    reorder(self._blocks, parents)
            if keeps:
                y = tokens[:, None]
            else:
                read = torch.cat([read, tokens[:, None]], 1)
                y = torch.nn.functional.pad(read[:, 1:], (0, 1), value=PAD)  # teacher forcing puts <s> before it
            return _allowed(self._blocks(memory, Batch(x, y))[:, -1])

        with torch.inference_mode(), remembering(self._blocks if keeps else []):
            yield step


def _allowed(logits: Tensor) -> Tensor:
    """log p, `(m, vocabulary)`, of tokens that may be written."""
    if logits.shape[1] <= max(EOS, *NEVER) + 1:
        raise ConfigError(
            f"the target vocabulary has {logits.shape[1]} tokens: none beside the special ones, "
            f"</s> (id {EOS}) among them"
        )
    return logits.index_fill(1, torch.tensor(NEVER, device=logits.device), -torch.inf).log_softmax(-1)


def greedy(decoder: Decoder, longest: int) -> Tensor:
    """The likeliest token, one after the other: ids `(n, <= longest)`, </s> and padding after it. A sequence that has
    not ended after `longest` tokens is cut there."""
    return _one_by_one(decoder, longest, lambda log_p: log_p.argmax(-1))


def sample(
    decoder: Decoder,
    longest: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
) -> Tensor:
    """Tokens drawn from p, sharpened and cut as `sampling.filtered` says; ids as `greedy` gives them, of the seed
    alone."""
    generator = torch.Generator(decoder.x.device).manual_seed(seed)

    def draw(log_p: Tensor) -> Tensor:
        kept = filtered(log_p, temperature, top_k, top_p).softmax(-1)
        return torch.multinomial(kept, 1, generator=generator)[:, 0]

    return _one_by_one(decoder, longest, draw)


def _one_by_one(decoder: Decoder, longest: int, choose: Callable[[Tensor], Tensor]) -> Tensor:
    n, device = len(decoder.x), decoder.x.device
    written = decoder.x.new_full((n, longest), PAD, dtype=torch.long)
    going = torch.arange(n, device=device)  # the sources whose sequences have not ended
    last, parents, t = going.new_full((n,), BOS), going, 0
    with decoder.writing() as step:
        while t < longest and len(going):
            last = choose(step(last, parents))
            written[going, t] = last
            parents = (last != EOS).nonzero()[:, 0]
            last, going, t = last[parents], going[parents], t + 1
    return written[:, :t]


def beam_search(decoder: Decoder, longest: int, width: int = 4, alpha: float = 0.6) -> Tensor:
    """Beam search: ids `(n, longest)` of the best ended sequence that was found.

    Best is the greatest log p(y | x) / lp(y), lp(y) = ((5 + |y|) / 6)^alpha, |y| with </s> (Wu et al. 2016,
    arXiv:1609.08144, eq. 14); alpha 0 compares probabilities themselves. At every step the `width` best prefixes go on;
    a source is done when none of them can come to more than its best ended sequence. Where none ended within `longest`
    tokens, the best prefix of that length is given. Raises `ConfigError` for a width below 1 or a negative alpha.
    """
    if width < 1:
        raise ConfigError(f"beam: must be at least 1, got {width}")
    if not 0 <= alpha < float("inf"):
        raise ConfigError(f"length_penalty: must be at least 0, got {alpha}")
    n, device, dtype = len(decoder.x), decoder.x.device, decoder.memory.dtype

    def lp(length: int) -> float:
        return float(((5 + length) / 6) ** alpha)

    best = decoder.x.new_full((n, longest), PAD, dtype=torch.long)
    best_score = torch.full((n,), -torch.inf, device=device, dtype=dtype)
    rows = torch.arange(n, device=device)  # the sources that are not done
    prefix = decoder.x.new_full((n, 1, 1), BOS, dtype=torch.long)  # (sources, beams, t)
    parents = rows[:, None]  # (sources, beams): which of the prefixes before each goes on from
    score = torch.zeros(n, 1, device=device, dtype=dtype)
    with decoder.writing() as step:
        for t in range(1, longest + 1):
            beams = prefix.shape[1]
            log_p = step(prefix[:, :, -1].flatten(), parents.flatten())
            total = (score.flatten()[:, None] + log_p).view(len(rows), beams, -1)
            _keep_better(best, best_score, rows, prefix[:, :, 1:], total[:, :, EOS] / lp(t))
            total[:, :, EOS] = -torch.inf
            vocabulary = total.shape[2]
            score, at = total.flatten(1).topk(min(width, beams * (vocabulary - len(NEVER) - 1)))
            beam = at // vocabulary
            parents = beam + beams * torch.arange(len(rows), device=device)[:, None]
            prefix = torch.cat([prefix.gather(1, beam[:, :, None].expand(-1, -1, t)), (at % vocabulary)[:, :, None]], 2)
            if t == longest:
                none = torch.isinf(best_score[rows])
                best[rows[none]] = prefix[none, 0, 1:]
                break
            # log p only falls, and lp is never larger than that of the longest
            alive = score[:, 0] / lp(longest) > best_score[rows]
            rows, prefix, score, parents = rows[alive], prefix[alive], score[alive], parents[alive]
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
    best[at, : chosen.shape[1]] = chosen
    best[at, chosen.shape[1]] = EOS
