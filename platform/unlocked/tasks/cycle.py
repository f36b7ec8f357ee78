"""Translation between two domains without pairs (CycleGAN, Zhu et al. 2017, arXiv:1703.10593).

With images a of the one domain and b of the other, translators G: a to b and F: b to a, and a discriminator of each,

    translators:     (D_b(G(a)) - 1)^2 + (D_a(F(b)) - 1)^2
                     + cycle (|F(G(a)) - a| + |G(F(b)) - b|) + identity (|G(b) - b| + |F(a) - a|)
    discriminators:  (D_b(b) - 1)^2 + D_b(G(a))^2,   (D_a(a) - 1)^2 + D_a(F(b))^2

each a mean. Every term is a phase, a path over named nets; the gradients of a net add up before it moves. In a cycle
both translators learn, each through the other as it was. Between nets the gradient is exact under every scheme.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn import functional as F

from unlocked.data import DataSet
from unlocked.data.dataset import Split
from unlocked.drawing import pictures
from unlocked.errors import ConfigError
from unlocked.tasks.base import Interval, Rows, Task, Trained, interval, register_task
from unlocked.tasks.judge import Judge, frechet, taught
from unlocked.tasks.phases import Phase, as_it_is
from unlocked_models.contract.batch import Batch, Example
from unlocked_models.contract.chain import Chain

TO_B, TO_A, TELLS_A, TELLS_B = "to_b", "to_a", "tells_a", "tells_b"
OTHER = "other"  # the extra that holds images of the second domain
CLASSES = "other_y"  # and their classes, which only the metrics look at
SHOWN = 12

_judges: WeakKeyDictionary[DataSet, Judge] = WeakKeyDictionary()


@register_task("cycle")
class Cycle(Task):
    """Evaluated are images of the first domain, translated to the second."""

    monitor = "frechet"
    higher_is_better = False
    nets = (TO_B, TO_A, TELLS_A, TELLS_B)
    also: ClassVar[tuple[str, ...]] = ("kept", "classes")
    refuses: ClassVar[dict[str, str]] = {
        "local": "a translator's targets are what a discriminator says, and there are no pairs to learn from"
    }

    def __init__(self, cycle: float = 10.0, identity: float = 5.0):
        """`cycle`, `identity`: weights of those terms; 0 leaves them out."""
        for key, value in (("cycle", cycle), ("identity", identity)):
            if value < 0:
                raise ConfigError(f"objective.{key}: must be at least 0, got {value}")
        self.cycle, self.identity = cycle, identity

    @classmethod
    def misfit(cls, data_task: str, example: Example) -> str | None:
        shapes = {extra.name: extra.shape for extra in example.extras}
        if shapes.get(OTHER) == example.in_shape:
            return None
        return f"it translates x to images of another domain, the extra {OTHER!r}, of the same shape {example.in_shape}"

    def compared(self, data: DataSet) -> dict[str, Interval]:
        return {TO_B: interval(_of_other(data.train, OTHER)), TO_A: interval(data.train.x)}

    def output_shape(self, example: Example) -> tuple[int, ...]:
        return example.in_shape

    def phases(self, shapes: Mapping[str, tuple[int, ...]]) -> list[Phase]:
        both = (TO_B, TO_A)
        terms = [
            Phase("fools_b", (TO_B, TELLS_B), as_it_is, near(1.0), (TO_B,), update=False),
            Phase("fools_a", (TO_A, TELLS_A), of_other, near(1.0), (TO_A,), update=False),
        ]
        if self.identity:
            terms += [
                Phase("same_b", (TO_B,), of_other, as_fed(self.identity), (TO_B,), update=False),
                Phase("same_a", (TO_A,), as_it_is, as_fed(self.identity), (TO_A,), update=False),
            ]
        if self.cycle:
            terms += [
                Phase("cycle_a", (TO_B, TO_A), as_it_is, as_fed(self.cycle), both, update=False),
                Phase("cycle_b", (TO_A, TO_B), of_other, as_fed(self.cycle), both, update=False),
            ]
        last = {net: max(i for i, term in enumerate(terms) if net in term.learns) for net in both}
        terms = [replace(term, update=i in last.values()) for i, term in enumerate(terms)]
        return [
            *terms,
            Phase("real_a", (TELLS_A,), as_it_is, near(1.0), (TELLS_A,), update=False),
            Phase("made_a", (TO_A, TELLS_A), of_other, near(0.0), (TELLS_A,)),
            Phase("real_b", (TELLS_B,), of_other, near(1.0), (TELLS_B,), update=False),
            Phase("made_b", (TO_B, TELLS_B), as_it_is, near(0.0), (TELLS_B,)),
        ]

    def outcome(self, shapes: Mapping[str, tuple[int, ...]]) -> Phase:
        return Phase("translated", (TO_B,), as_it_is, near(1.0))

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        raise AssertionError("every phase has a loss of its own")

    def metrics(self, kept: Tensor, target: Tensor) -> dict[str, float]:
        raise AssertionError("translated images are measured against a split: `measure`")

    def measure(self, kept: Tensor, data: DataSet, split: str) -> dict[str, float]:
        """By a judge of the second domain: how near the images are to it, and in how many the class was `kept`."""
        real: Any = getattr(data, split)
        judge = judge_of_other(data)
        with torch.no_grad():
            seen = judge(kept.float()).argmax(1)
            distance = frechet(*(judge.features(x.float()).double() for x in (kept, real.extras[OTHER])))
        same = float((seen == real.y).double().mean())
        return {"loss": distance, "frechet": distance, "kept": same, "classes": float(len(seen.unique()))}

    def figures(self, data: DataSet, outputs: Tensor, chain: Chain | None, folder: Path) -> list[Path]:
        """Images of the first domain with their translations under them, and real ones of the second."""
        rows = _first_of_each_class(data.test.y)
        real = _first_of_each_class(_of_other(data.test, CLASSES))
        shown = [[*x.float().numpy()] for x in (data.test.x[rows], outputs[rows], _of_other(data.test, OTHER)[real])]
        names = ["given", "translated", "real"]
        return [pictures.examples(shown, folder / "translations.png", "From one domain to the other", (0, 1), names)]

    def generate(self, trained: Trained, *, n: int = SHOWN, out: str | None = None) -> list[Path]:
        """Test images of both domains, their translations, and these translated back, `translations.png`.

        Args:
            n: images of each domain.
            out: folder; null: `generated` in the run folder.
        """
        if n < 1:
            raise ConfigError(f"n: must be at least 1, got {n}")
        test, folder = trained.data.test, Path(out) if out is not None else trained.folder
        like, rows, names = next(trained.nets[TO_B].parameters()), list[list[Any]](), list[str]()
        for what, images, way in (("a", test.x, (TO_B, TO_A)), ("b", _of_other(test, OTHER), (TO_A, TO_B))):
            x = images[:n].to(like)
            with torch.inference_mode():
                there = trained.nets[way[0]](x, Batch(x, test.y[:n]))
                back = trained.nets[way[1]](there, Batch(there, test.y[:n]))
            rows += [[*each.float().numpy()] for each in (x, there, back)]
            names += [what, f"{what} translated", "and back"]
        folder.mkdir(parents=True, exist_ok=True)
        title = "Two domains, translated there and back"
        return [pictures.examples(rows, folder / "translations.png", title, (0, 1), names)]

    # what conditions M is the image that was fed: the target of a cycle and of an identity

    def context_shape(self, example: Example) -> tuple[int, ...]:
        return example.in_shape

    def context(self, rows: Rows, example: Example, like: Tensor) -> Tensor:
        assert rows.x is not None
        return rows.x.to(like.dtype)


def judge_of_other(data: DataSet) -> Judge:
    """Of the second domain's images and classes, trained once for a data set."""
    if data not in _judges:
        x, y = (data.train.extras[key] for key in (OTHER, CLASSES))
        assert isinstance(x, Tensor)
        assert isinstance(y, Tensor)
        _judges[data] = taught(x, y, data.n_outputs)
    return _judges[data]


def of_other(batch: Batch, generator: torch.Generator) -> Batch:
    """The second domain's images in the place of x."""
    return replace(batch, x=batch[OTHER])


def near(said: float) -> Callable[[Tensor, Batch], Tensor]:
    """Least squares (Mao et al. 2017, arXiv:1611.04076): of what a discriminator says, and what it should."""
    return lambda output, batch: (output - said).square().mean()


def as_fed(weight: float) -> Callable[[Tensor, Batch], Tensor]:
    """The mean distance of every pixel from the image that was fed."""

    def loss(output: Tensor, batch: Batch) -> Tensor:
        assert batch.x is not None
        return weight * F.l1_loss(output, batch.x)

    return loss


def _of_other(split: Split, name: str) -> Tensor:
    """What a split says of the second domain: its images, or their classes."""
    found = split.extras[name]
    assert isinstance(found, Tensor)
    return found


def _first_of_each_class(y: Tensor) -> Tensor:
    return torch.tensor([int((y == c).nonzero()[0]) for c in y.unique()])
