"""Density: how likely a model finds its input. What Boltzmann machines learn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from unlocked.data import DataSet
from unlocked.drawing.boltzmann import down, fields, machines, samples, walks
from unlocked.errors import ConfigError
from unlocked.tasks.base import Rows, Task, Trained, register_task
from unlocked_models.boltzmann import RBM, BoltzmannBlock, LabelRBM, annealed
from unlocked_models.boltzmann.restricted import GaussianRBM
from unlocked_models.contract.batch import Batch, Example
from unlocked_models.contract.chain import Chain

DRAWS = 100  # of every example's hidden units, for the bound of a stack


@register_task("density")
class Density(Task):
    """Of any data set whose inputs are zeros and ones, by a chain of Boltzmann machines; labels are not looked at.

    One machine whose partition function can be summed has `log_likelihood`, in nats, the mean over examples, and its
    negative is the `loss`; of a deep Boltzmann machine it is a lower bound, `log_likelihood_bound`. Of more units, and
    of several machines, the loss is `unit_error`: the squared error of a unit of the last machine's input, down from
    its own hidden units. At the end of a run annealed importance sampling estimates what could not be summed: `log_z`
    with its standard error `log_z_error`, and the likelihood, of a stack its bound. `mse` is that of a pixel, down from
    the top.
    """

    monitor = "loss"
    higher_is_better = False
    also = ("log_likelihood", "log_likelihood_bound", "unit_error")
    asks_network = True
    real: ClassVar[bool] = False

    def __init__(self, chains: int = 100, steps: int = 1000) -> None:
        """`chains` and `steps` of annealed importance sampling."""
        for name, value in (("chains", chains), ("steps", steps)):
            if not 2 <= value <= 1_000_000:
                raise ConfigError(f"objective.{name}: must be from 2 to 1000000, got {value}")
        self._chains, self._steps = chains, steps

    @classmethod
    def misfit(cls, data_task: str, example: Example) -> str | None:
        return "its inputs are ids, not numbers" if example.vocabulary else None

    def unsuited(self, x: Tensor) -> str | None:
        if ((x == 0) | (x == 1)).all():
            return None
        return (
            "its inputs are not all 0 or 1; of digits, data.options.threshold=0.5 makes them so, and real ones have "
            "the task real_density"
        )

    def unfit(self, blocks: Sequence[nn.Module]) -> str | None:
        if not all(isinstance(block, BoltzmannBlock) for block in blocks):
            return "says nothing of how likely its input is; density needs Boltzmann machines (model.name=rbm)"
        if isinstance(blocks[-1], LabelRBM):
            return "has units for labels, which density does not look at; its task is labelled_density"
        if isinstance(blocks[0], GaussianRBM) != self.real:
            kind, task = ("binary", "density") if self.real else ("real", "real_density")
            return f"has {kind} visible units (model.visible); its task is {task}"
        return None

    def takes_output(self, shape: tuple[int, ...], example: Example) -> bool:
        return True

    def output_shape(self, example: Example) -> tuple[int, ...]:
        return ()

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        raise AssertionError("no loss of a Boltzmann machine's output exists; schemes that need one are refused")

    def observe(self, chain: Chain, h_in: Tensor, output: Tensor, batch: Batch) -> Tensor:
        """`(batch, 4)`: free energy, squared error of a unit, log Z, NaN unless the machine's input is the data, and
        whether the free energy is a bound."""
        *below, top = chain
        assert isinstance(top, BoltzmannBlock)
        v = top.visible(Chain(below)(h_in) if below else h_in)
        log_z = top.log_z() if not below and h_in is batch.x else None
        error = (top.reconstruction(v) - v).square().mean(1).double()
        whole = (torch.full_like(error, value) for value in (_number(log_z), float(top.bounded)))
        return torch.stack([top.free_energy(v).double(), error, *whole], 1)

    def metrics(self, kept: Tensor, target: Tensor) -> dict[str, float]:
        energy, error, log_z, bounded = kept.double().mean(0).tolist()
        if math.isnan(log_z):
            return {"loss": error, "unit_error": error}
        return {"loss": energy + log_z, _likelihood(bool(bounded)): -energy - log_z, "unit_error": error}

    def final_metrics(self, chain: Chain, data: DataSet, split: str) -> dict[str, float]:
        first, *_ = machines(chain)
        x = getattr(data, split).x.to(first.visible_bias)
        with torch.no_grad():
            v = down(machines(chain), chain(x)) if _stack(chain) else first.reconstruction(first.visible(x))
            given_back = first.shown(v)
            found = {"mse": float((given_back - x.flatten(1)).square().mean())}
            found |= self._estimated(chain, data.train.x.to(x), x)
        return found

    def _estimated(self, chain: Chain, train: Tensor, x: Tensor) -> dict[str, float]:
        """The likelihood of `x`, if log Z has to be sampled; chains begin at the rates of the top machine's input."""
        *below, top = machines(chain)
        exact = top.log_z()
        if exact is not None and not below:
            return {}
        generator = torch.Generator(x.device).manual_seed(0)
        if exact is not None:
            log_z, error = float(exact), 0.0
        else:
            v = top.visible(Chain(below)(train) if below else train)
            mean = v.double().mean(0)
            base = mean if isinstance(top, GaussianRBM) else torch.logit((mean * len(v) + 1) / (len(v) + 2))
            log_z, error = annealed(top, base, self._steps, self._chains, generator)
        minus_energy = _bound(below, top, x, generator) if below else -top.free_energy(top.visible(x)).double()
        name = _likelihood(bool(below) or top.bounded)
        return {name: float(minus_energy.mean()) - log_z, "log_z": log_z, "log_z_error": error}

    def figures(self, data: DataSet, outputs: Tensor, chain: Chain | None, folder: Path) -> list[Path]:
        if chain is None:
            return []
        shape = data.in_shape
        return [
            samples(chain, shape, folder / "samples.png", rows=2, steps=1000, seed=0),
            walks(chain, shape, folder / "steps.png", seed=0),
            fields(chain, shape, folder / "weights.png"),
        ]

    def generate(
        self, trained: Trained, *, rows: int = 5, steps: int = 1000, seed: int = 0, out: str | None = None
    ) -> list[Path]:
        """Pictures of what the machines dream of, ten a row, and of their weights.

        Args:
            rows: of samples.
            steps: of Gibbs sampling, from noise on.
            seed: of what is drawn.
            out: folder; null: `generated` in the run folder.
        """
        check_amounts(rows=rows, steps=steps)
        folder, shape = Path(out) if out is not None else trained.folder, trained.data.in_shape
        sampled = samples(trained.chain, shape, folder / "samples.png", rows, steps, seed)
        return [sampled, fields(trained.chain, shape, folder / "weights.png")]

    def context_shape(self, example: Example) -> tuple[int, ...]:
        return ()

    def context(self, rows: Rows, example: Example, like: Tensor) -> Tensor:
        raise AssertionError("no scheme that conditions on a target trains a Boltzmann machine")


@register_task("real_density")
class RealDensity(Density):
    """As density, of real inputs: a restricted Boltzmann machine whose visible units are (model.visible=gaussian)."""

    real = True

    def unsuited(self, x: Tensor) -> str | None:
        return None


def check_amounts(**given: int) -> None:
    """`ConfigError` for numbers of pictures or steps that nobody means."""
    for name, value in given.items():
        if not 1 <= value <= 100_000:
            raise ConfigError(f"{name}: must be from 1 to 100000, got {value}")


def _bound(below: Sequence[BoltzmannBlock], top: BoltzmannBlock, x: Tensor, generator: torch.Generator) -> Tensor:
    """log p(x) + log Z of the top machine is at least this, `(batch,)`: E_q[log p(h_below | h) - log q(h | h_below)]
    over the machines below, less E_q[F(h)] of the top one (Salakhutdinov and Murray 2008, section 3)."""
    total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for _ in range(DRAWS):
        v, first = below[0].visible(x), True
        for block in below:
            assert isinstance(block, RBM)
            q = block(block.shown(v) if first else v)
            h = torch.bernoulli(q, generator=generator)
            total += (block.log_down(v, h) - _log_p(h, q)).double()
            v, first = h, False
        total -= top.free_energy(v).double()
    return total / DRAWS


def _log_p(h: Tensor, q: Tensor) -> Tensor:
    """Of binary units with means q."""
    return (torch.xlogy(h, q) + torch.xlogy(1 - h, 1 - q)).sum(1)


def _stack(chain: Chain) -> bool:
    """Whether every hidden unit is the next machine's input, and the last one's has a mean down from it."""
    return all(isinstance(block, RBM) for block in chain)


def _likelihood(bounded: bool) -> str:
    return "log_likelihood_bound" if bounded else "log_likelihood"


def _number(log_z: Tensor | None) -> float:
    return math.nan if log_z is None else float(log_z)
