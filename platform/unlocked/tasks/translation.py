"""Translation: a sequence of tokens to another, under teacher forcing; BLEU of what is written without it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from unlocked.data import DataSet, RawData
from unlocked.data.arrays import wrong
from unlocked.data.loading.checks import Arrays
from unlocked.data.words.text import EOS, PAD, SPECIAL
from unlocked.decoding.search import beam_search, greedy, sample
from unlocked.decoding.translation import Search, quality, source_ids, texts, translations
from unlocked.drawing.maps import draw_maps
from unlocked.errors import ConfigError
from unlocked.tasks.base import Trained, register_task
from unlocked.tasks.tokens import Tokens, check_targets
from unlocked_models.contract.chain import Chain, decoder_start
from unlocked_models.contract.registry import unknown


@register_task("translation")
class Translation(Tokens):
    """Outputs are logits `(batch, T, target vocabulary)`, targets ids `(batch, T)`: tokens, </s>, padding.

    The decoder reads the true tokens, one position late (`batch.y`), so loss, perplexity and accuracy are those of the
    next token, as in language modelling.
    """

    asks_network = True

    def check(self, name: str, raw: RawData, splits: dict[str, Arrays]) -> list[str]:
        """`x (n, S)` is ids of `symbols`, `y (n, T)` of `class_names`; both vocabularies begin with the special tokens,
        and each target ends in </s>, with padding after it."""
        _check_vocabularies(name, raw)
        for part, (x, y, _) in splits.items():
            _check_sources(name, part, x)
            check_targets(name, part, y, len(x))
            check_ended(name, part, y)
        return super().check(name, raw, splits)

    def unfit(self, blocks: Sequence[nn.Module]) -> str | None:
        return None if decoder_start(blocks) is not None else "has no decoder, which translation needs"

    def final_metrics(self, chain: Chain, data: DataSet, split: str) -> dict[str, float]:
        """`bleu`, `exact` and `token_error` of greedy translations."""
        return quality(chain, data, split)

    def figures(self, data: DataSet, outputs: Tensor, chain: Chain | None, folder: Path) -> list[Path]:
        return [] if chain is None else draw_maps(chain, data, folder)

    def written(self, trained: Trained, texts: list[str]) -> list[str] | None:
        return self.generate(trained, texts)

    def generate(
        self,
        trained: Trained,
        sentences: list[str],
        *,
        method: str = "beam",
        beam: int = 4,
        length_penalty: float = 0.6,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
        longest: int | None = None,
    ) -> list[str]:
        """A translation of each sentence.

        Args:
            method: greedy, beam (of that width, with `length_penalty`) or sample (with `temperature`, `top_k`, `top_p`
                and `seed`); see `unlocked.decoding.search`.
            longest: tokens of a translation, </s> among them, at most; null: as many as the training targets had,
                which is also all that a model can write.
        """
        searches: dict[str, Search] = {
            "greedy": greedy,
            "beam": lambda decoder, limit: beam_search(decoder, limit, beam, length_penalty),
            "sample": lambda decoder, limit: sample(decoder, limit, temperature, top_k, top_p, seed),
        }
        if method not in searches:
            raise ConfigError(f"method: {unknown('method', method, list(searches))}")
        chain, data = trained.chain, trained.data
        most = data.example.y_shape[0]
        if longest is not None and not 1 <= longest <= most:
            raise ConfigError(
                f"longest: must be from 1 to {most} (the positions of this model's decoder), got {longest}"
            )
        return texts(translations(chain, source_ids(sentences, data), data, searches[method], longest), data)


def _check_vocabularies(name: str, raw: RawData) -> None:
    """Sources are ids, and both vocabularies begin with the special tokens and go on."""
    targets = raw.symbols if raw.class_names is None else raw.class_names
    for what, tokens in (("symbols", raw.symbols), ("class_names", targets)):
        if tokens is None or tuple(tokens[: len(SPECIAL)]) != SPECIAL:
            raise wrong(
                name,
                f"{what}, the vocabulary of the {'sources' if what == 'symbols' else 'targets'}, has to "
                f"begin with {', '.join(SPECIAL)}",
            )
        if len(tokens) == len(SPECIAL):
            raise wrong(name, f"{what} holds the special tokens alone: there is nothing to read or to write")


def _check_sources(name: str, part: str, x: np.ndarray) -> None:
    empty = (x == PAD).all(1)
    if empty.any():
        raise wrong(name, f"x_{part} has sequences without a token, the first in example {int(np.argmax(empty))}")


def check_ended(name: str, part: str, y: np.ndarray) -> None:
    """Targets that a decoder can learn to end: </s> at the end of each, and padding after it."""
    ended = (y == EOS).sum(1) == 1
    ended &= (np.cumsum(y == EOS, 1) - (y == EOS) == (y == PAD)).all(1)  # what is after the end, and that alone
    if not ended.all():
        raise wrong(
            name,
            f"y_{part} has sequences that are not tokens, the id {EOS} of {SPECIAL[EOS]} and then "
            f"padding ({PAD}), the first in example {int(np.argmin(ended))}",
        )
