"""All words of a window at once, as word2vec's program has them (Mikolov et al. 2013, arXiv:1310.4546).

Frequent words are left out first. The program keeps a word of relative frequency f with probability

    min(1, sqrt(sample / f) + sample / f)

which has one term more than equation 5 of the paper. Those that are kept close up, so a window reaches further, but
never beyond the end of a sentence, if the text marks it (`</s>`). Each word then draws how far its window reaches, from
1 to `window`; negatives are words by their frequency to the power 3/4 (section 2.2).

    windows  x: words; y: the words of each one's window, its targets
    cbow     x: the words of each one's window; y: the word itself
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from unlocked.data.transform import PerExample, register_transform
from unlocked.data.words.text import EOS, PAD, SPECIAL
from unlocked.errors import DataError
from unlocked_models.contract.batch import Batch, Example
from unlocked_models.embedding import offsets


def frequencies(train: Batch) -> tuple[Tensor, Tensor]:
    """By id: the relative frequency of a word, and the cumulative probability that it is drawn as a negative.

    Raises `DataError` if there are not two different words: nothing could be told from anything.
    """
    assert train.x is not None
    count = torch.bincount(train.x.flatten().cpu()).double()
    count[: len(SPECIAL)] = 0  # padding and unknown words are in no pair
    if int((count > 0).sum()) < 2:
        raise DataError(
            f"data.transforms: word pairs need at least 2 different words, the training text has "
            f"{int((count > 0).sum())}; give a longer text, or a larger data.options.vocabulary"
        )
    return count / count.sum(), count.pow(0.75).cumsum(0) / count.pow(0.75).sum()


def check_options(window: int, negatives: int, sample: float) -> None:
    for name, value, least in (("window", window, 1), ("negatives", negatives, 0)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    if not sample > 0:
        raise ValueError(f"sample must be above 0, got {sample}")


def misfit(example: Example, window: int) -> str | None:
    """Why these are no rows of words with windows in them."""
    if not example.vocabulary or len(example.in_shape) != 1:
        return "pairs words of a text, and an example here is no sequence of ids"
    if example.in_shape[0] <= window:
        return (
            f"has windows that reach {window} words to each side, and a row of the text has {example.in_shape[0]}; "
            f"set data.options.length to at least {window + 1}, or a smaller window"
        )
    return None


def sentences(x: Tensor) -> Tensor:
    """The sentence of each token of `(batch, positions)`, counted from the row's first; one ends with `</s>`."""
    return (x == EOS).cumsum(1)


class WordPairs(PerExample):
    """What all transforms of word pairs share, `skipgram` too: options, frequencies of words, negatives."""

    evaluates = True

    def __init__(self, window: int = 5, negatives: int = 5, sample: float = 1e-3):
        check_options(window, negatives, sample)
        self.window, self.negatives, self.sample = window, negatives, sample
        self.kept = self.cumulative = torch.empty(0)

    def refuse(self, example: Example) -> str | None:
        return misfit(example, self.window)

    def prepare(self, train: Batch) -> None:
        frequency, self.cumulative = frequencies(train)
        self.kept = self.chance(self.sample / frequency.clamp(min=1e-12)).clamp(max=1) * (frequency > 0)
        assert train.x is not None
        left = float((frequency * self.kept).sum()) * int((train.x >= len(SPECIAL)).sum())
        if left < 2:
            raise DataError(
                f"data.transforms: sample {self.sample:g} leaves {left:.2g} words of the whole training text, and a "
                "pair takes 2; give a larger one"
            )

    def chance(self, rarity: Tensor) -> Tensor:
        """That a word is kept, of sample / f: equation 5."""
        return rarity.sqrt()

    def words(self, drawn: Tensor) -> Tensor:
        """Negatives of numbers that are uniform in [0, 1)."""
        cumulative = self.cumulative.to(drawn.device, drawn.dtype)
        return torch.searchsorted(cumulative, drawn.contiguous()).clamp(max=len(cumulative) - 1)

    def candidates(self, true: Tensor, drawn: Tensor) -> Tensor:
        """Words `(batch, positions)` with their negatives after them, of `(batch, positions, 2 * negatives)` numbers
        for `words`: the second half stands in for negatives that are the true word."""
        first, spare = self.words(drawn).chunk(2, -1)
        return torch.cat([true[..., None], torch.where(first == true[..., None], spare, first)], -1)


class OfWindows(WordPairs):
    """All words of a window at once."""

    def __init__(self, window: int = 5, negatives: int = 5, sample: float = 1e-3):
        super().__init__(window, negatives, sample)
        self.offsets = offsets(2 * window)

    def draw(self, n: int, batch: Batch, generator: Generator) -> tuple[Tensor, ...]:
        positions = batch.y.shape[1]
        stays, reach = (torch.rand(n, positions, generator=generator) for _ in range(2))
        return stays, reach, torch.rand(n, *self.negative_shape(positions), generator=generator)

    def chance(self, rarity: Tensor) -> Tensor:
        return rarity.sqrt() + rarity

    @abstractmethod
    def negative_shape(self, positions: int) -> tuple[int, ...]:
        """Of the numbers that are drawn for the negatives of an example."""

    def closed_up(self, x: Tensor, stays: Tensor) -> tuple[Tensor, Tensor]:
        """The words that are kept, `PAD` after them, and the sentence of each, counted from the row's first."""
        kept = self.kept.to(x.device, stays.dtype)[x.clamp(max=len(self.kept) - 1)] * (x < len(self.kept))
        stays = stays < kept
        end = x.shape[1]
        place = torch.where(stays, stays.cumsum(1) - 1, end)
        words, of = (each.new_full((len(x), end + 1), PAD).scatter_(1, place, each) for each in (x, sentences(x)))
        return words[:, :end], of[:, :end]

    def near(self, x: Tensor, of: Tensor, reach: Tensor) -> Tensor:
        """The words of each one's window, `(batch, positions, slots)`, the nearest first; `PAD` in empty slots."""
        reach = 1 + (reach * self.window).long().clamp(max=self.window - 1)
        far = torch.tensor(self.offsets, device=x.device).abs() > reach[..., None]
        outside = self._slots(of) != of[..., None]
        return self._slots(x).masked_fill(far | outside | (x == PAD)[..., None], PAD)

    def _slots(self, x: Tensor) -> Tensor:
        width, end = self.window, x.shape[1]
        wide = F.pad(x, (width, width), value=PAD)
        return torch.stack([wide[:, width + o : width + o + end] for o in self.offsets], -1)


@register_transform("windows")
class Windows(OfWindows):
    """Asks every word of a text for all words of its window, for `skipgram`: `x (batch, positions)`, the words that are
    kept.

    `y (batch, positions, 2 * window)`: the words near each one, 0 in slots without one. The extra
    `negatives (batch, positions, negatives)`: those of the word at each position, of whichever word it is asked for, so
    scores are matrix products (Ji et al. 2016, arXiv:1604.04661). A negative that is the true word is left out of the
    loss.
    """

    def __init__(self, window: int = 5, negatives: int = 5, sample: float = 1e-3):
        super().__init__(window, negatives, sample)
        if negatives < 1:
            raise ValueError(f"negatives must be at least 1, got {negatives}")

    def negative_shape(self, positions: int) -> tuple[int, ...]:
        return positions, self.negatives

    def apply(self, batch: Batch, *choices: Tensor) -> Batch:
        (stays, reach, others), x = choices, batch.x
        assert x is not None
        x, of = self.closed_up(x, stays)
        return replace(batch, x=x, y=self.near(x, of, reach), extras={**batch.extras, "negatives": self.words(others)})


@register_transform("cbow")
class Cbow(OfWindows):
    """Asks for a word by those of its window: of texts `(batch, positions)`, those that are kept,
    `x (batch, positions, 2 * window)` the words near each one, 0 in slots without one, and `y (batch, positions)` the
    word itself, 0 if it is alone.

    With negatives the extra `candidates (batch, positions, 1 + negatives)`, the word itself first. A negative that is
    the word itself is replaced by another draw. Without (0), for `model.softmax: full`, there is no extra.
    """

    def negative_shape(self, positions: int) -> tuple[int, ...]:
        return positions, 2 * self.negatives

    def apply(self, batch: Batch, *choices: Tensor) -> Batch:
        (stays, reach, others), x = choices, batch.x
        assert x is not None
        words, of = self.closed_up(x, stays)
        near = self.near(words, of, reach)
        y = words.masked_fill((near == PAD).all(-1), PAD)
        if not self.negatives:
            return replace(batch, x=near, y=y)
        return replace(batch, x=near, y=y, extras={**batch.extras, "candidates": self.candidates(y, others)})
