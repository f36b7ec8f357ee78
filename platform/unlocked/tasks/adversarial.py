"""Adversarial training of a generator and a discriminator on images with classes (Goodfellow et al. 2014).

    discriminator:  minimise  -s log D(x, c) - (1 - s) log(1 - D(x, c)) - log(1 - D(G(z, c), c))
    generator:      minimise  -log D(G(z, c), c)

with one-sided label smoothing 1 - s (Salimans et al. 2016, arXiv:1606.03498); `gan_losses` has others. dL/dG(z, c) is
exact under every scheme: the error of D is one number per example, and random feedback of it at the image would push
all images along one direction.
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
from unlocked.drawing import latent_space, pictures
from unlocked.errors import ConfigError
from unlocked.tasks.base import ANY, TASKS, Interval, Rows, Task, Trained, interval, register_task
from unlocked.tasks.gan_losses import losses, slope_penalty, with_real
from unlocked.tasks.judge import judge_of, likeness
from unlocked.tasks.phases import Phase, Replay, as_it_is
from unlocked_models.contract.batch import Batch, Example
from unlocked_models.contract.chain import Chain
from unlocked_models.contract.registry import unknown

SHOWN, MOST_CLASSES, SHOWN_STEPS = 6, 10, 8  # of the figures
FIRST = 1000  # examples that nearly always tell that not all are alike
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

    def __init__(
        self,
        loss: str = "nonsaturating",
        smoothing: float | None = None,
        penalty: float | None = None,
        steps: int = 1,
        replay: int = 0,
    ):
        """`loss`: nonsaturating, minimax or wasserstein; `smoothing` in [0, 1): real images are to be told with
        probability 1 - smoothing, null: 0.1; `penalty`: the weight of wasserstein's, null: 10; `steps` of the
        discriminator for one of the generator; `replay`: as many made images are kept, and half of those that the
        discriminator learns from are drawn from them."""
        self._losses = losses(loss, smoothing, penalty)
        if steps < 1:
            raise ConfigError(f"objective.steps: must be at least 1, got {steps}; the discriminator has to learn")
        if replay < 0:
            raise ConfigError(f"objective.replay: must be at least 0, got {replay}")
        self._steps, self._replay = steps, Replay(replay) if replay else None

    @classmethod
    def misfit(cls, data_task: str, example: Example) -> str | None:
        if TASKS.get(data_task).by_class and example.vocabulary is None:
            one = "its examples are of one class; the judge of what is made tells classes apart"
            return one if example.n_outputs < 2 else None
        return f"it makes real numbers, such as images, of asked classes; its examples are for {data_task}"

    def output_shape(self, example: Example) -> tuple[int, ...]:
        return example.in_shape

    def unsuited(self, x: Tensor) -> str | None:
        if bool((x[:FIRST] == x[:1]).all()) and bool((x == x[:1]).all()):
            return "its training examples are all alike; there is nothing to tell made ones from real ones by"
        if self._replay is not None and self._replay.size > len(x):
            return (
                f"objective.replay keeps {self._replay.size} made images, more than its {len(x)} real ones; a buffer "
                f"of at most {len(x)} is renewed within an epoch"
            )
        return None

    def compared(self, data: DataSet) -> dict[str, Interval]:
        return {GENERATOR: scale_of(data), DISCRIMINATOR: ANY}

    def phases(self, shapes: Mapping[str, tuple[int, ...]]) -> list[Phase]:
        makes, both, of = latents(shapes[GENERATOR]), (GENERATOR, DISCRIMINATOR), self._losses
        found = [Phase("real", (DISCRIMINATOR,), as_it_is, of.real, (DISCRIMINATOR,), update=False)]
        if of.penalty:
            penalty = slope_penalty(of.penalty)
            found += [Phase("penalty", both, with_real(makes), of.made, (DISCRIMINATOR,), update=False, of_net=penalty)]
        found += [Phase("fake", both, makes, of.made, (DISCRIMINATOR,), replay=self._replay)]
        return [*found, Phase("generator", both, makes, of.fooled, (GENERATOR,), every=self._steps)]

    def outcome(self, shapes: Mapping[str, tuple[int, ...]]) -> Phase:
        return Phase("images", (GENERATOR,), latents(shapes[GENERATOR]), self._losses.fooled)

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

    def figures_of_nets(self, trained: Trained) -> list[Path]:
        data, shape = trained.data, trained.shapes[GENERATOR]
        if len(data.in_shape) != 3:
            return []
        given = self.maker(trained), shape, data.class_names[:MOST_CLASSES], scale_of(data)
        folder = trained.folder
        return [
            latent_space.interpolation(*given, folder / "interpolation.png"),
            latent_space.arithmetic(*given, folder / "arithmetic.png"),
        ]

    def shown(self, outputs: Tensor, data: DataSet, split: str) -> Tensor | None:
        """One image of every class, always of the same latent_space."""
        y = getattr(data, split).y
        found = [int((y == c).nonzero()[0]) for c in range(min(data.n_outputs, MOST_CLASSES)) if bool((y == c).any())]
        return outputs[found] if len(data.in_shape) == 3 else None

    def figures_over_time(self, shown: Mapping[int, Tensor], data: DataSet, folder: Path) -> list[Path]:
        steps = sorted(shown)
        some = sorted({steps[round(i * (len(steps) - 1) / max(1, SHOWN_STEPS - 1))] for i in range(SHOWN_STEPS)})
        rows, names = [[*shown[step].numpy()] for step in some], [f"step {step}" for step in some]
        path = folder / "over_time.png"
        return [pictures.examples(rows, path, "Made images of the same latents", scale_of(data), names)]

    def maker(self, trained: Trained) -> latent_space.Make:
        """Images of latents and classes, on the path of the `outcome`."""
        path = [trained.nets[net] for net in self.outcome(trained.shapes).path]
        like = next(path[0].parameters())

        def make(z: Tensor, classes: Tensor) -> Tensor:
            batch = Batch(z.to(like), classes.to(like.device))
            h = batch.x
            with torch.inference_mode():
                for net in path:
                    h = net(h, batch)
            assert h is not None
            return h.float().cpu()

        return make

    def generate(
        self,
        trained: Trained,
        *,
        what: str = "samples",
        classes: list[str] = [],  # noqa: B006
        n: int = 10,
        seed: int = 0,
        out: str | None = None,
    ) -> list[Path]:
        """Images of asked classes, or what the latents between and beside two of them make, as `WHAT.png`.

        Args:
            what: samples, interpolation or arithmetic.
            classes: by name; empty: all.
            n: images of each class, of samples.
            seed: of the latent_space.
            out: folder; null: `generated` in the run folder.
        """
        data, folder = trained.data, Path(out) if out is not None else trained.folder
        draw = {"interpolation": latent_space.interpolation, "arithmetic": latent_space.arithmetic}
        if what != "samples" and what not in draw:
            raise ConfigError(f"what: {unknown('figure', what, ['samples', *draw])}")
        if n < 1:
            raise ConfigError(f"n: must be at least 1, got {n}")
        if len(data.in_shape) != 3:
            raise ConfigError(f"what is made of {data.name} has the shape {data.in_shape}, which is no image")
        for name in classes:
            if name not in data.class_names:
                raise ConfigError(f"classes: {unknown('class', name, data.class_names)}")
        names, make, shape = classes or data.class_names, self.maker(trained), trained.shapes[GENERATOR]
        ids, path = torch.tensor([data.class_names.index(name) for name in names]), folder / f"{what}.png"
        folder.mkdir(parents=True, exist_ok=True)
        if what in draw:
            of = latent_space.of_classes(make, ids)
            return [draw[what](of, shape, names, scale_of(data), path, seed)]
        generator = torch.Generator().manual_seed(seed)
        rows = [[*make(torch.randn(n, *shape, generator=generator), ids[i].expand(n)).numpy()] for i in range(len(ids))]
        return [pictures.examples(rows, path, "Made images", scale_of(data), names)]

    def context_shape(self, example: Example) -> tuple[int, ...]:
        return (example.n_outputs,)

    def context(self, rows: Rows, example: Example, like: Tensor) -> Tensor:
        return F.one_hot(rows.y, example.n_outputs).to(like.dtype)


def scale_of(data: DataSet) -> Interval:
    """The values between which the images lie."""
    return interval(data.train.x)


def latents(shape: tuple[int, ...]) -> Callable[[Batch, torch.Generator], Batch]:
    """In the place of x, z `(batch, *shape)`, standard normal."""

    def feed(batch: Batch, generator: torch.Generator) -> Batch:
        like = batch.x
        assert like is not None
        return replace(batch, x=torch.randn(len(like), *shape, generator=generator).to(like))

    return feed
