"""Sentences in, sentences out: what an encoder-decoder writes for given sources, and its BLEU."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from unlocked.data import DataSet
from unlocked.data.words import tokenize
from unlocked.data.words.pairs import frame_of, framed
from unlocked.data.words.text import EOS, PAD, SPECIAL, UNK
from unlocked.decoding.search import Decoder, greedy
from unlocked.errors import ConfigError
from unlocked_models.contract.chain import Chain
from unlocked_models.contract.registry import unknown

Search = Callable[[Decoder, int], Tensor]  # sources and a length limit to ids (n, tokens)

NUMBERS = 20_000_000  # of logits at once


def source_ids(sentences: Sequence[str], data: DataSet) -> Tensor:
    """`(n, S)`: sentences in the vocabulary of the data's sources, cut by its tokeniser; if it has none they are
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
    out = x.new_full((len(x), most), PAD, dtype=torch.long)
    for first in range(0, len(x), at_once):
        found = search(Decoder(chain, x[first : first + at_once]), most)
        out[first : first + len(found), : found.shape[1]] = found
    return out


def texts(ids: Tensor, data: DataSet) -> list[str]:
    """The text of each target up to </s>; without a tokeniser its tokens, with spaces between them."""
    stored = data.target_tokenizer or data.tokenizer
    tokenizer = tokenize.from_json(stored) if stored else None
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
    from sacrebleu.metrics.bleu import BLEU

    return float(BLEU(tokenize=tokens, force=True).corpus_score(list(written), [list(wanted)]).score)


def quality(chain: Chain, data: DataSet, split: str) -> dict[str, float]:
    """`bleu` of greedy translations of a split; `exact`, the share of those that are the reference itself; and
    `token_error`, the fewest tokens to insert, delete or replace, over the tokens of the references: of words the word
    error rate, of phonemes the phoneme error rate.

    An unknown word in a reference is one that no translation has: <unk> is never written.
    """
    part = getattr(data, split)
    found = translations(chain, part.x, data)
    written, wanted = (texts(ids, data) for ids in (found, part.y))
    exact = sum(a == b for a, b in zip(written, wanted, strict=True)) / len(wanted)
    return {
        "bleu": bleu(written, wanted, "13a" if data.tokenizer else "none"),
        "exact": exact,
        "token_error": token_error(found, part.y),
    }


def token_error(written: Tensor, wanted: Tensor) -> float:
    """Of ids `(n, T)`, each up to its </s>."""
    from torchmetrics.functional.text import word_error_rate

    one, other = ([" ".join(map(str, up_to_end(row))) for row in ids] for ids in (written, wanted))
    return float(word_error_rate(one, other))
