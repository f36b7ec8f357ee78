"""Sentences in, sentences out: the translations of a trained encoder-decoder, and their BLEU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from unlocked.data import DataSet, tokenize
from unlocked.data.pairs import frame_of, framed
from unlocked.data.text import EOS, PAD, SPECIAL, UNK
from unlocked.decoding.search import Decoder, beam_search, greedy, sample
from unlocked.errors import ConfigError
from unlocked_models.contract.chain import Chain
from unlocked_models.contract.registry import unknown

Search = Callable[[Decoder, int], Tensor]  # sources and a length limit to ids (n, tokens)

NUMBERS = 20_000_000  # of logits at once
METHODS = ("greedy", "beam", "sample")


def translate(
    run_dir: Path,
    sentences: Sequence[str],
    method: str = "beam",
    *,
    beam: int = 4,
    length_penalty: float = 0.6,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    longest: int | None = None,
    weights: str = "best",
) -> list[str]:
    """What a trained run makes of each sentence.

    Args:
        method: greedy, beam (of that width, with `length_penalty`) or sample (with `temperature`, `top_k`, `top_p`
            and `seed`); see `unlocked.decoding.search`.
        longest: tokens of a translation, </s> among them, at most; null: as many as the training targets had, which
            is also all that a model can write.
        weights: best or last.

    Raises `ConfigError`, one line, for a run that is no translation, a sentence that is empty or too long, and options
    that are none.

    >>> translate("runs/bahdanau-backprop-s0-...", ["March 3 , 1 9 8 4"])  # doctest: +SKIP
    ['1 9 8 4 - 0 3 - 0 3']
    """
    from unlocked.config import from_tree
    from unlocked.plan.plan import load_data
    from unlocked.runs.evaluate import load_chain
    from unlocked.runs.folder import read_config

    searches: dict[str, Search] = {
        "greedy": greedy,
        "beam": lambda decoder, limit: beam_search(decoder, limit, beam, length_penalty),
        "sample": lambda decoder, limit: sample(decoder, limit, temperature, top_k, top_p, seed),
    }
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
    """`(n, S)`: sentences in the vocabulary of the data's sources, cut by its tokeniser; where it has none they are
    written in its tokens, with spaces between them. They begin and end as those of the training split do, with <s> and
    </s> or without."""
    assert data.symbols is not None
    length, of = data.in_shape[0], {symbol: i for i, symbol in enumerate(data.symbols)}
    frame = frame_of(data.train.x)
    most = length - sum(map(len, frame))
    tokenizer = tokenize.from_json(data.tokenizer) if data.tokenizer else None
    rows = []
    for i, sentence in enumerate(sentences, 1):
        tokens = sentence.split()
        if not tokens:
            raise ConfigError(f"sentence {i} is empty: there is nothing to translate")
        strange = next((token for token in tokens if token not in of), None)
        if tokenizer is None and strange is not None:
            raise ConfigError(
                f"sentence {i}: {unknown(f'token of {data.name}', strange, data.symbols[len(SPECIAL) :])}"
            )
        ids = [of[token] for token in tokens] if tokenizer is None else tokenize.encode(tokenizer, sentence.strip())
        if len(ids) > most:
            raise ConfigError(f"sentence {i} has {len(ids)} tokens; this model reads at most {most}")
        rows.append(ids)
    return torch.from_numpy(framed(rows, length, frame))


def translations(chain: Chain, x: Tensor, data: DataSet, search: Search = greedy, longest: int | None = None) -> Tensor:
    """Ids `(n, T)` that the search finds for sources `(n, S)`, as many at once as memory should hold."""
    most = longest or data.example.y_shape[0]
    at_once = max(1, NUMBERS // (most * data.n_outputs * 4))
    out = x.new_full((len(x), most), PAD)
    for first in range(0, len(x), at_once):
        found = search(Decoder(chain, x[first : first + at_once]), most)
        out[first : first + len(found), : found.shape[1]] = found
    return out


def texts(ids: Tensor, data: DataSet) -> list[str]:
    """The text of each target up to </s>; without a tokeniser its tokens, with spaces between them."""
    tokenizer = tokenize.from_json(data.tokenizer) if data.tokenizer else None
    out = []
    for row in ids:
        known = tokenizer is not None and UNK not in row
        out.append(
            tokenize.decode(tokenizer, up_to_end(row))
            if known and tokenizer is not None
            else " ".join(tokens_of(row, data.class_names))
        )
    return out


def up_to_end(ids: Tensor) -> list[int]:
    """Of one sequence, without </s>."""
    listed: list[int] = ids.tolist()
    return listed[: next((i for i, token in enumerate(listed) if token in (EOS, PAD)), len(listed))]


def tokens_of(ids: Tensor, symbols: Sequence[str]) -> list[str]:
    """Tokens of one sequence up to </s>."""
    return [symbols[i] for i in up_to_end(ids)]


def bleu(written: Sequence[str], wanted: Sequence[str], tokens: str = "13a") -> float:
    """Corpus BLEU, 0 to 100 (Papineni et al. 2002), with sacrebleu's exponential smoothing and tokens: 13a of texts,
    none of sentences whose tokens have spaces between them."""
    from sacrebleu.metrics import BLEU

    return float(BLEU(tokenize=tokens, force=True).corpus_score(list(written), [list(wanted)]).score)


def quality(chain: Chain, data: DataSet, split: str) -> dict[str, float]:
    """`bleu` of greedy translations of a split, and `exact`, the share of those that are the reference itself.

    An unknown word in a reference is one that no translation has: <unk> is never written.
    """
    part = getattr(data, split)
    written, wanted = (texts(ids, data) for ids in (translations(chain, part.x, data), part.y))
    exact = sum(a == b for a, b in zip(written, wanted, strict=True)) / len(wanted)
    return {"bleu": bleu(written, wanted, "13a" if data.tokenizer else "none"), "exact": exact}
