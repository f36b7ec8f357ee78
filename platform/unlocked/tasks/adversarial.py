"""Adversarial training of a generator and a discriminator on images with classes (Goodfellow et al. 2014).

    discriminator:  minimise  -s log D(x, c) - (1 - s) log(1 - D(x, c)) - log(1 - D(G(z, c), c))
    generator:      minimise  -log D(G(z, c), c)       (nonsaturating), or  log(1 - D(G(z, c), c))  (minimax)

with one-sided label smoothing 1 - s (Salimans et al. 2016, arXiv:1606.03498). dL/dG(z, c) is exact under every scheme:
the error of D is one number per example, and random feedback of it at the image would push all images along one
direction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from unlocked.data import DataSet
from unlocked.drawing import pictures
from unlocked.errors import ConfigError
from unlocked.tasks.base import TASKS, Rows, Task, Trained, register_task
from unlocked.tasks.judge import judge_of, likeness
from unlocked.tasks.phases import Phase, as_it_is
from unlocked_models.contract.batch import Batch, Example
from unlocked_models.contract.chain import Chain
from unlocked_models.contract.registry import unknown

LOSSES = ("nonsaturating", "minimax")
SHOWN, MOST_CLASSES = 6, 10  # of the figure
GENERATOR, DISCRIMINATOR = "generator", "discriminator"


@register_task("adversarial")
class Adversarial(Task):
    """Evaluated are images of the classes of a split, one for each of its examples."""

    monitor = "frechet"
    higher_is_better = False
    nets = (GENERATOR, DISCRIMINATOR)
    also: ClassVar[tuple[str, ...]] = ("asked", "classes", "variance")
    refuses: ClassVar[dict[str, str]] = {
        "local": "a generator's targets are what a discriminator says, and a discriminator's are not the classes"
    }

    def __init__(self, loss: str = "nonsaturating", smoothing: float = 0.1):
        """`loss` of the generator: nonsaturating or minimax; `smoothing` in [0, 1): real images are to be told with
        probability 1 - smoothing."""
        if loss not in LOSSES:
            raise ConfigError(f"objective.loss: {unknown('loss', loss, LOSSES)}")
        if not 0 <= smoothing < 1:
            raise ConfigError(f"objective.smoothing: must be at least 0 and less than 1, got {smoothing}")
        self._fooled = says(1.0) if loss == "nonsaturating" else not_caught
        self._real = says(1 - smoothing)

    @classmethod
    def misfit(cls, data_task: str, example: Example) -> str | None:
        if TASKS.get(data_task).by_class and example.vocabulary is None:
            return None
        return f"it makes real numbers, such as images, of asked classes; its examples are for {data_task}"

    def output_shape(self, example: Example) -> tuple[int, ...]:
        return example.in_shape

    def phases(self, shapes: Mapping[str, tuple[int, ...]]) -> list[Phase]:
        makes, both = latents(shapes[GENERATOR]), (GENERATOR, DISCRIMINATOR)
        return [
            Phase("real", (DISCRIMINATOR,), as_it_is, self._real, (DISCRIMINATOR,), update=False),
            Phase("fake", both, makes, says(0.0), (DISCRIMINATOR,)),
            Phase("generator", both, makes, self._fooled, (GENERATOR,)),
        ]

    def outcome(self, shapes: Mapping[str, tuple[int, ...]]) -> Phase:
        return Phase("images", (GENERATOR,), latents(shapes[GENERATOR]), says(1.0))

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        raise AssertionError("every phase has a loss of its own")

    def metrics(self, kept: Tensor, target: Tensor) -> dict[str, float]:
        raise AssertionError("made images are measured against a split: `measure`")

    def measure(self, kept: Tensor, data: DataSet, split: str) -> dict[str, float]:
        real: Any = getattr(data, split)
        return likeness(judge_of(data), kept, real.x, real.y)

    def figures(self, data: DataSet, outputs: Tensor, chain: Chain | None, folder: Path) -> list[Path]:
        """Real images of every class, and made ones under them."""
        if len(data.in_shape) != 3:
            return []
        rows, names = [], []
        for c in range(min(data.n_outputs, MOST_CLASSES)):
            of_class = data.test.y == c
            for what, images in (("", data.test.x), ("made", outputs)):
                rows.append([*images[of_class][:SHOWN].float().numpy()])
                names.append(what or data.class_names[c])
        return [pictures.examples(rows, folder / "samples.png", "Real images and made ones", scale_of(data), names)]

    def generate(
        self,
        trained: Trained,
        *,
        classes: list[str] = [],  # noqa: B006
        n: int = 10,
        seed: int = 0,
        out: str | None = None,
    ) -> list[Path]:
        """Images of asked classes, `samples.png`.

        Args:
            classes: by name; empty: all.
            n: images of each class.
            seed: of the latents.
            out: folder; null: `generated` in the run folder.
        """
        data, folder = trained.data, Path(out) if out is not None else trained.folder
        if n < 1:
            raise ConfigError(f"n: must be at least 1, got {n}")
        if len(data.in_shape) != 3:
            raise ConfigError(f"what is made of {data.name} has the shape {data.in_shape}, which is no image")
        for name in classes:
            if name not in data.class_names:
                raise ConfigError(f"classes: {unknown('class', name, data.class_names)}")
        names, generator = classes or data.class_names, torch.Generator().manual_seed(seed)
        phase, net, rows = self.outcome(trained.shapes), trained.nets[GENERATOR], []
        for name in names:
            like = next(net.parameters())
            batch = Batch(torch.zeros(n, *data.in_shape).to(like), torch.full((n,), data.class_names.index(name)))
            fed = phase.feed(batch, generator)
            assert fed.x is not None
            with torch.inference_mode():
                rows.append([*net(fed.x, fed).float().numpy()])
        folder.mkdir(parents=True, exist_ok=True)
        return [pictures.examples(rows, folder / "samples.png", "Made images", scale_of(data), names)]

    def context_shape(self, example: Example) -> tuple[int, ...]:
        return (example.n_outputs,)

    def context(self, rows: Rows, example: Example, like: Tensor) -> Tensor:
        return F.one_hot(rows.y, example.n_outputs).to(like.dtype)


def scale_of(data: DataSet) -> tuple[float, float]:
    """The values between which the images lie."""
    return float(data.train.x.min()), float(data.train.x.max())


def says(real: float) -> Callable[[Tensor, Batch], Tensor]:
    """The cross entropy of the discriminator's logits `(batch, 1)`, if its images are real with this probability."""
    return lambda logits, batch: F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, real))


def not_caught(logits: Tensor, batch: Batch) -> Tensor:
    """The mean of log(1 - D) over made images, which the minimax generator lowers; flat where D is sure of itself."""
    return -says(0.0)(logits, batch)


def latents(shape: tuple[int, ...]) -> Callable[[Batch, torch.Generator], Batch]:
    """In the place of x, z `(batch, *shape)`, standard normal."""

    def feed(batch: Batch, generator: torch.Generator) -> Batch:
        like = batch.x
        assert like is not None
        return replace(batch, x=torch.randn(len(like), *shape, generator=generator).to(like))

    return feed
