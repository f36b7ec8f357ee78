"""Word vectors: nets whose weights are what is wanted.

skipgram (Mikolov et al. 2013, "Distributed Representations of Words and Phrases and their Compositionality",
arXiv:1310.4546, equation 4): a word w is a vector v_w as a centre and u_w beside another centre, and

    score(w, c) = u_c . v_w

Two blocks, so that a scheme has a boundary between them: the centres' vectors, then the scores of the words that the
transform `skipgram` puts beside each centre.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from unlocked_models.contract.batch import Batch
from unlocked_models.contract.registry import register_model


@register_model("skipgram", family="embedding")
def skipgram(
    in_shape: tuple[int, ...], n_outputs: int, width: int = 64, vocabulary: int | None = None
) -> Iterator[nn.Module]:
    """Skip-gram: every word's scores of words that may stand near it.

    Shapes: ids `(batch, positions)` to `(batch, positions, candidates)`, of the words of `batch["candidates"]`.

    Options: `width` of a word's vector. The centres' vectors are those to use: `model[0].weight`.
    """
    if vocabulary is None or len(in_shape) != 1:
        raise ValueError("model.name: skipgram reads token ids (positions,); the data set has none")
    if width < 1:
        raise ValueError(f"model.width: must be at least 1, got {width}")
    yield Centres(vocabulary, width)
    yield Scores(vocabulary, width)


class Centres(nn.Embedding):
    """v_w of every word: `(batch, positions)` ids to `(batch, positions, width)`; uniform in (-1/2, 1/2) / width."""

    def reset_parameters(self) -> None:
        nn.init.uniform_(self.weight, -0.5 / self.embedding_dim, 0.5 / self.embedding_dim)


class Scores(nn.Module):
    """u_c . v_w of the candidates c at every position; all u start at zero, as in the authors' program."""

    def __init__(self, vocabulary: int, width: int):
        super().__init__()
        self.contexts = nn.Embedding(vocabulary, width)
        nn.init.zeros_(self.contexts.weight)

    def forward(self, h: Tensor, batch: Batch) -> Tensor:
        u = self.contexts(batch["candidates"])  # (batch, positions, candidates, width)
        return torch.matmul(u, h[..., None])[..., 0]
