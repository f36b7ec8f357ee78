"""Translation: a sequence of tokens to another, under teacher forcing; BLEU of what is written without it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from unlocked.data import DataSet
from unlocked.decoding.translation import quality
from unlocked.tasks.base import TASKS
from unlocked.tasks.tokens import LanguageModelling
from unlocked_models.contract.chain import Chain, decoder_start


@TASKS.register("translation")
class Translation(LanguageModelling):
    """Outputs are logits `(batch, T, target vocabulary)`, targets ids `(batch, T)`: tokens, </s>, padding.

    The decoder reads the true tokens, one position late (`batch.y`), so loss, perplexity and accuracy are those of the
    next token, as in language modelling.
    """

    asks_network = True

    def unfit(self, blocks: Sequence[nn.Module]) -> str | None:
        return None if decoder_start(blocks) is not None else "has no decoder, which translation needs"

    def final_metrics(self, chain: Chain, data: DataSet, split: str) -> dict[str, float]:
        """`bleu` and `exact` of greedy translations."""
        return quality(chain, data, split)
