"""Captioning: what a picture shows, in words; under teacher forcing, and what is written without it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from unlocked.data import DataSet, RawData
from unlocked.data.arrays import wrong
from unlocked.data.loading.checks import Arrays
from unlocked.data.words.text import PAD, SPECIAL
from unlocked.decoding.translation import quality, texts, translations
from unlocked.drawing.pictures import examples
from unlocked.tasks.base import register_task
from unlocked.tasks.tokens import Tokens, check_targets
from unlocked.tasks.translation import check_ended
from unlocked_models.contract.chain import Chain, decoder_start

SHOWN = 5  # pictures of the figure


@register_task("captioning")
class Captioning(Tokens):
    """Inputs are the columns of a picture from left to right, real numbers `(batch, S, features)`; outputs logits
    `(batch, T, vocabulary)`, targets ids `(batch, T)`: words, </s>, padding. The decoder reads the true words, one
    position late."""

    asks_network = True

    def check(self, name: str, raw: RawData, splits: dict[str, Arrays]) -> list[str]:
        """`x (n, S, features)` real numbers, not all zero; `y (n, T)` ids of `class_names`, which begins with the
        special tokens, and each ends in </s>, with padding after it."""
        if raw.class_names is None or tuple(raw.class_names[: len(SPECIAL)]) != SPECIAL:
            raise wrong(name, f"class_names, the vocabulary of the captions, has to begin with {', '.join(SPECIAL)}")
        for part, (x, y, _) in splits.items():
            if x.ndim != 3 or x.dtype.kind != "f":
                raise wrong(name, f"x_{part} is {x.dtype} of shape {x.shape}; it needs real numbers (n, S, features)")
            empty = (x == PAD).all((1, 2))
            if empty.any():
                raise wrong(name, f"x_{part} has a picture of zeros alone, example {int(empty.argmax())}")
            check_targets(name, part, y, len(x))
            check_ended(name, part, y)
        return super().check(name, raw, splits)

    def unfit(self, blocks: Sequence[nn.Module]) -> str | None:
        return None if decoder_start(blocks) is not None else "has no decoder, which captioning needs"

    def final_metrics(self, chain: Chain, data: DataSet, split: str) -> dict[str, float]:
        """`bleu`, `exact` and `token_error` of greedy captions."""
        return quality(chain, data, split)

    def figures(self, data: DataSet, outputs: Tensor, chain: Chain | None, folder: Path) -> list[Path]:
        """The first test pictures, each under what is written of it, and if that is wrong under what is in it."""
        if chain is None:
            return []
        x = data.test.x[:SHOWN]
        written, true = texts(translations(chain, x, data), data), texts(data.test.y[:SHOWN], data)
        above = [each if each == is_ else f"{each}\n(is {is_})" for each, is_ in zip(written, true, strict=True)]
        pictures = [each.T[None].numpy() for each in x]  # upright again
        scale = (float(x.min()), float(x.max()))
        right = sum(a == b for a, b in zip(written, true, strict=True))
        title = f"Captions that the net writes of test pictures: {right} of these {len(true)} are right"
        return [examples([pictures], folder / "captions.png", title, scale, (), above)]
