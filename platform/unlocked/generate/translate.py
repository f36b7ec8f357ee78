"""Sentences in, sentences out: the translations of a trained encoder-decoder, and their BLEU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from unlocked.data import DataSet
from unlocked.data.pairs import encode, words
from unlocked.data.text import EOS, PAD
from unlocked.errors import ConfigError
from unlocked.generate.search import Decoder, beam, greedy, sample
from unlocked_models.chain import Chain
from unlocked_models.registry import unknown

Search = Callable[[Decoder, int], Tensor]  # sources and a length limit to ids (n, tokens)

NUMBERS = 20_000_000  # of logits at once
METHODS = ("greedy", "beam", "sample")


def translate(run_dir: str | Path, sentences: Sequence[str], method: str = "beam", *, width: int = 4,
              length_penalty: float = 0.6, temperature: float = 1.0, top_k: int | None = None,
              top_p: float | None = None, seed: int = 0, longest: int | None = None,
              weights: str = "best") -> list[str]:
    """What a trained run makes of each sentence.

    Args:
        method: greedy, beam (of this `width` and `length_penalty`) or sample (with `temperature`, `top_k`, `top_p`
            and `seed`); see `unlocked.generate.search`.
        longest: tokens of a translation, </s> among them, at most; null: as many as the training targets had, which
            is also all that a model can write.
        weights: best or last.

    Raises `ConfigError`, one line, for a run that is no translation, a sentence that is empty or too long, and options
    that are none.

    >>> translate("runs/bahdanau-backprop-s0-...", ["March 3 , 1 9 8 4"])  # doctest: +SKIP
    ['1 9 8 4 - 0 3 - 0 3']
    """
    from unlocked.config import from_tree
    from unlocked.engine.evaluate import load_chain
    from unlocked.engine.plan import load_data
    from unlocked.engine.run_folder import read_config

    searches: dict[str, Search] = {
        "greedy": greedy,
        "beam": lambda decoder, limit: beam(decoder, limit, width, length_penalty),
        "sample": lambda decoder, limit: sample(decoder, limit, temperature, top_k, top_p, seed)}
    if method not in searches:
        raise ConfigError(f"method: {unknown('method', method, list(METHODS))}")
    config = from_tree(read_config(Path(run_dir)))
    data = load_data(config)
    if (config.task or data.task) != "translation":
        raise ConfigError(f"{run_dir}: a run of {config.task or data.task}, not of translation")
    most = data.example.y_shape[0]
    if longest is not None and not 1 <= longest <= most:
        raise ConfigError(f"longest: {longest} is not from 1 to {most}, the positions of this model's decoder")
    x = source_ids(sentences, data)
    chain, _ = load_chain(Path(run_dir), config, data, weights)
    return texts(translations(chain, x, data, searches[method], longest), data)


def source_ids(sentences: Sequence[str], data: DataSet) -> Tensor:
    """`(n, S)`: sentences in the vocabulary of the data's sources. One written in the data's own tokens, with spaces
    between them, is taken as it is, any other in words."""
    assert data.symbols is not None
    known, length = set(data.symbols), data.in_shape[0]
    lowercase = all(symbol == symbol.lower() for symbol in data.symbols)
    rows = []
    for i, sentence in enumerate(sentences, 1):
        tokens = sentence.split()
        if not known.issuperset(tokens):
            tokens = words(sentence, lowercase)
        if not tokens:
            raise ConfigError(f"sentence {i} is empty: there is nothing to translate")
        if len(tokens) >= length:
            raise ConfigError(f"sentence {i} has {len(tokens)} tokens; this model reads at most {length - 1}")
        rows.append(tokens)
    return torch.from_numpy(encode(rows, data.symbols, length))


def translations(chain: Chain, x: Tensor, data: DataSet, search: Search = greedy, longest: int | None = None) -> Tensor:
    """Ids `(n, T)` that the search finds for sources `(n, S)`, as many at once as memory should hold."""
    most = longest or data.example.y_shape[0]
    at_once = max(1, NUMBERS // (most * data.n_outputs * 4))
    out = x.new_full((len(x), most), PAD)
    for first in range(0, len(x), at_once):
        found = search(Decoder(chain, x[first:first + at_once]), most)
        out[first:first + len(found), :found.shape[1]] = found
    return out


def texts(ids: Tensor, data: DataSet) -> list[str]:
    """The tokens of each target up to </s>, with spaces between them."""
    return [" ".join(tokens_of(row, data.class_names)) for row in ids]


def tokens_of(ids: Tensor, symbols: Sequence[str]) -> list[str]:
    """Tokens of one sequence up to </s>."""
    tokens = []
    for i in ids.tolist():
        if i in (EOS, PAD):
            break
        tokens.append(symbols[i])
    return tokens


def bleu(written: Sequence[str], wanted: Sequence[str]) -> float:
    """Corpus BLEU of sentences of tokens, 0 to 100 (Papineni et al. 2002), by sacrebleu: its exponential smoothing, and
    the tokens taken as they are."""
    from sacrebleu.metrics import BLEU

    return float(BLEU(tokenize="none", force=True).corpus_score(list(written), [list(wanted)]).score)


def quality(chain: Chain, data: DataSet, split: str) -> dict[str, float]:
    """`bleu` of greedy translations of a split, and `exact`, the share of those that are the reference itself.

    An unknown word in a reference is one that no translation has: <unk> is never written.
    """
    part = getattr(data, split)
    written, wanted = (texts(ids, data) for ids in (translations(chain, part.x, data), part.y))
    exact = sum(a == b for a, b in zip(written, wanted, strict=True)) / len(wanted)
    return {"bleu": bleu(written, wanted), "exact": exact}
