"""Attention maps of the first test sentences, beside what the network writes for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from unlocked.data import DataSet
from unlocked.data.words import tokenize
from unlocked.data.words.text import PAD
from unlocked.decoding.maps import attention_maps
from unlocked.decoding.translation import translations
from unlocked.drawing import figures
from unlocked_models.contract.chain import Chain

SENTENCES = 4  # of the test split, one map each


def draw_maps(chain: Chain, data: DataSet, folder: Path) -> list[Path]:
    """One figure, `attention.png`: the maps of the first test sentences and what the network makes of them."""
    assert data.symbols is not None
    x = data.test.x[:SENTENCES]
    written = translations(chain, x, data)
    maps = attention_maps(chain, x, written)
    if maps is None:
        return []
    drawn = []
    for weights, source, target in zip(maps, x, written, strict=True):
        across = _labels(source, data.symbols, data.tokenizer)
        down = _labels(target, data.class_names, data.target_tokenizer or data.tokenizer)
        drawn.append((weights[: len(down), : len(across)].tolist(), across, down))
    return [figures.attention(drawn, folder / "attention.png")]


def _labels(ids: Tensor, symbols: Sequence[str], stored: str | None) -> list[str]:
    """The tokens of a sequence as they are read, </s> among them."""
    tokenizer = tokenize.from_json(stored) if stored else None
    tokens = [
        symbols[i] if tokenizer is None else tokenize.decode(tokenizer, [i]).strip() or symbols[i]
        for i in ids.tolist()
        if i != PAD
    ]
    return [token.replace("$", r"\$") for token in tokens]  # which would begin a formula
