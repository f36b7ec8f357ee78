"""Word vectors: nets whose weights are what is wanted. Mikolov et al. 2013, arXiv:1301.3781 and arXiv:1310.4546.

A word w is a vector v_w as an input and u_w as an output, and a net gives scores u_c . h of words c:

    skipgram  h = v_w, and c is a word that may stand near w
    cbow      h = the mean of v_w over the words w that stand near c

Two blocks, so that a scheme has a boundary between them: h, then the scores. Scores are `sampled`, of a few words that
a transform chose (`skipgram`, `windows` or `cbow`), or `full`, of the whole vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlocked_models.contract import checks
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.registry import register_model

SKIPPED = -1e4  # the score of a negative that is the true word: its loss, log(1 + exp(score)), is exactly zero


@register_model("skipgram", family="embedding")
def skipgram(
    in_shape: tuple[int, ...], n_outputs: int, width: int = 64, softmax: str = "sampled", vocabulary: int | None = None
) -> Iterator[nn.Module]:
    """Skip-gram: every word's scores of words that may stand near it.

    Shapes: ids `(batch, positions)` to `(batch, positions, candidates)`, of the words of `batch["candidates"]`; to
    `(batch, positions, slots, 1 + negatives)` of all words of the window, by the transform `windows`; or, with
    `softmax: full`, to `(batch, positions, vocabulary)`.

    Options: `width` of a word's vector; `softmax`: sampled or full. The vectors to use are `model[0].weight`.
    """
    if vocabulary is None or len(in_shape) != 1:
        raise ValueError("model.name: skipgram reads token ids (positions,); the data set has none")
    scores = _scores(width, softmax)
    yield Centres(vocabulary, width)
    yield scores(vocabulary, width)


@register_model("cbow", family="embedding")
def cbow(
    in_shape: tuple[int, ...], n_outputs: int, width: int = 64, softmax: str = "sampled", vocabulary: int | None = None
) -> Iterator[nn.Module]:
    """Continuous bag of words: scores of the word in the middle, by the mean of the vectors of those around it.

    Shapes: ids of near words `(batch, positions, slots)`, 0 for none, to `(batch, positions, candidates)`, of the words
    of `batch["candidates"]`, or, with `softmax: full`, to `(batch, positions, vocabulary)`.

    Options: as of skipgram. The vectors to use are `model[0].weight`.
    """
    if vocabulary is None or len(in_shape) != 2:
        raise ValueError(
            "model.name: cbow reads ids of near words (positions, slots); data.transforms=[cbow] gives them"
        )
    scores = _scores(width, softmax)
    yield Around(vocabulary, width)
    yield scores(vocabulary, width)


@register_model("glove", family="embedding")
def glove(
    in_shape: tuple[int, ...], n_outputs: int, width: int = 64, vocabulary: int | None = None
) -> Iterator[nn.Module]:
    """GloVe (Pennington et al. 2014): how often two words stand near each other, one bilinear block.

    Shapes: ids of two words `(batch, 2)` to `(batch, 1)`, log X_ij.

    Options: `width` of a word's vector. The vectors to use are `model[0].vectors()`, the sum of both tables.
    """
    if vocabulary is None or tuple(in_shape) != (2,):
        raise ValueError("model.name: glove reads pairs of token ids (2,); the data set co_occurrences has them")
    checks.whole("width", width)
    yield Bilinear(vocabulary, width)


def _scores(width: int, softmax: str) -> Callable[[int, int], nn.Module]:
    checks.whole("width", width)
    return checks.pick({"sampled": Scores, "full": AllScores}, "softmax", softmax)


class Centres(nn.Embedding):
    """v_w of every word: `(batch, positions)` ids to `(batch, positions, width)`; uniform in (-1/2, 1/2) / width."""

    def reset_parameters(self) -> None:
        nn.init.uniform_(self.weight, -0.5 / self.embedding_dim, 0.5 / self.embedding_dim)


class Around(nn.Module):
    """The mean of v_w of the words near a position: `(batch, positions, slots)` ids, 0 for none, to
    `(batch, positions, width)`, which are zeros if there are none."""

    def __init__(self, vocabulary: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocabulary, width).uniform_(-0.5 / width, 0.5 / width))

    def forward(self, near: Tensor) -> Tensor:
        h = F.embedding_bag(near.flatten(0, 1), self.weight, mode="mean", padding_idx=0)
        return h.view(*near.shape[:2], -1)


class Bilinear(nn.Module):
    """w_i . u_j + b_i + c_j of pairs (i, j), `(batch, 2)` to `(batch, 1)`; all uniform in (-1/2, 1/2) / width, as in
    the authors' program."""

    def __init__(self, vocabulary: int, width: int):
        super().__init__()
        self.words, self.contexts = (
            nn.Embedding(vocabulary, width + 1) for _ in range(2)
        )  # the bias is the last column
        for table in (self.words, self.contexts):
            nn.init.uniform_(table.weight, -0.5 / width, 0.5 / width)

    def forward(self, pairs: Tensor) -> Tensor:
        w, u = self.words(pairs), self.contexts(pairs)  # (batch, 2, width + 1)
        one: Tensor = (w[:, 0, :-1] * u[:, 1, :-1]).sum(1) + w[:, 0, -1] + u[:, 1, -1]
        return one[:, None]

    def vectors(self) -> Tensor:
        return (self.words.weight.detach() + self.contexts.weight.detach())[:, :-1]


class Scores(nn.Module):
    """u_c . h of the candidates c at every position; all u start at zero, as in the authors' program.

    Of the transform `windows` every word of a row has negatives `(batch, positions, negatives)` of its own, whichever
    word asks for it, so scores are two matrix products (Ji et al. 2016, arXiv:1604.04661): of h with the row's words,
    and with their negatives.
    """

    def __init__(self, vocabulary: int, width: int):
        super().__init__()
        self.contexts = nn.Embedding(vocabulary, width)
        nn.init.zeros_(self.contexts.weight)

    def forward(self, h: Tensor, batch: Batch) -> Tensor:
        candidates = batch.get("candidates")
        if candidates is None:
            return self._of_windows(h, batch)
        u = self.contexts(candidates)  # (batch, positions, candidates, width)
        return torch.matmul(u, h[..., None])[..., 0]

    def _of_windows(self, h: Tensor, batch: Batch) -> Tensor:
        negatives, near, x = batch["negatives"], batch.y, batch.x  # near: (batch, positions, slots) ids
        assert x is not None
        at = beside(x.shape[1], near.shape[2], x.device)  # (positions, slots)
        each = h @ self.contexts(x).transpose(1, 2)  # (batch, positions, positions)
        true = each.gather(2, at.expand_as(near))
        others = h @ self.contexts(negatives.flatten(1)).transpose(1, 2)  # (batch, positions, positions * negatives)
        those = at[..., None] * negatives.shape[2] + torch.arange(negatives.shape[2], device=x.device)
        others = others.gather(2, those.flatten(1).expand(len(x), -1, -1)).view(*near.shape, -1)
        others = others.masked_fill(negatives[:, at] == near[..., None], SKIPPED)
        return torch.cat([true[..., None], others], -1)


class AllScores(nn.Linear):
    """u_c . h of every word c: `(batch, positions, width)` to `(batch, positions, vocabulary)`; all u start at zero."""

    def __init__(self, vocabulary: int, width: int):
        super().__init__(width, vocabulary, bias=False)

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)


def offsets(slots: int) -> list[int]:
    """Where the words of a window stand beside its middle, the nearest first.

    >>> offsets(6)
    [-1, 1, -2, 2, -3, 3]
    """
    return [sign * distance for distance in range(1, slots // 2 + 1) for sign in (-1, 1)]


def beside(positions: int, slots: int, device: torch.device) -> Tensor:
    """The position in each slot of the window around each position, `(positions, slots)`; those beyond an end of the
    row are its first or last."""
    at = torch.arange(positions, device=device)[:, None] + torch.tensor(offsets(slots), device=device)
    return at.clamp(0, positions - 1)


def word_vectors(blocks: Sequence[nn.Module]) -> Tensor | None:
    """`(words, width)`, without graph, of a net whose first block has a vector for every word; None of any other."""
    first = blocks[0] if len(blocks) else None
    if isinstance(first, Bilinear):
        return first.vectors()
    return first.weight.detach() if isinstance(first, Centres | Around) else None
