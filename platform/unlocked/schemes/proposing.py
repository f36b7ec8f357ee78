"""Training without gradients: weights are proposed, and kept if the loss of the minibatch is better, or by chance.

* weight_search: random search. A draw replaces the weights if its loss is lower (`scheme.search`).
* annealing: simulated annealing (Kirkpatrick et al. 1983). A proposal that raises the loss by dL is kept with
  probability exp(-dL / T), at step t = 1, 2, ... with

      boltzmann  T = T0 / log(1 + t),  dw ~ scale * sqrt(T) * N(0, 1)        Geman & Geman 1984
      cauchy     T = T0 / (1 + t),     dw ~ scale * T * Cauchy(0, 1)         Szu & Hartley 1987

  Mixed with backprop (Wasserman 1988): w' = w - m lr dL/dw + (1 - m) dw, with m = `scheme.anneal.backprop`.

Both losses of a step are of the same minibatch with the same draws of dropout. What they search grows with the number
of weights: they are for nets of some hundred.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from unlocked.errors import ConfigError
from unlocked.schema.facts import group, key
from unlocked.schema.keys import Config
from unlocked.schemes.base import ModuleLearner, Ports
from unlocked.schemes.declarations import AT_REST
from unlocked.schemes.registry import register_scheme
from unlocked.schemes.spec import ModuleSpec
from unlocked.seeding import derive_seed, step_seed
from unlocked.tasks import Task
from unlocked_models.contract.batch import Batch


class Proposer(ModuleLearner):
    """A subclass gives `proposed` and `accepts`."""

    why_no_lag: ClassVar[str | None] = "it sends nothing back"
    why_no_fp16: ClassVar[str | None] = "it compares losses that differ by less than float16 can tell"
    refuses: ClassVar[Mapping[str, str]] = {**ModuleLearner.refuses, "associative": AT_REST}
    gradient_share = 0.0  # of the step that follows the gradient

    @classmethod
    def refuse(cls, config: Config, task: Task, blocks: Sequence[nn.Module], specs: Sequence[ModuleSpec]) -> str | None:
        why = f"{config.scheme.name} keeps weights or not by the loss of the whole net on the whole minibatch"
        for name, value in (("modules", len(specs)), ("replicas", config.parallel.replicas)):
            if value > 1:
                raise ConfigError(f"parallel.{name}: {value}, but {why}; set 1")
        return None

    @abstractmethod
    def proposed(self, t: int, weight: Tensor, generator: torch.Generator) -> Tensor:
        """In place of one of the weights, at step t = 1, 2, ..."""

    @abstractmethod
    def accepts(self, t: int, rise: Tensor, generator: torch.Generator) -> bool:
        """Whether proposed weights stay, whose loss is higher by `rise`."""

    def step(self, t: int, h_in: Tensor, batch: Batch, ports: Ports) -> None:
        carried = self.carried()
        generator = torch.Generator().manual_seed(step_seed(derive_seed(self.config.seed, "proposals"), t))
        with torch.set_grad_enabled(self.gradient_share > 0):
            now = self._evaluate(t, h_in, batch)
        if self.gradient_share:
            now.backward()
        kept = [p.detach().clone() for p in self.trainable]
        ended = self.carried()
        with torch.no_grad():
            for p in self.trainable:
                p.copy_(self.proposed(t + 1, p, generator))
            self.carry(carried)
            then = self._evaluate(t, h_in, batch)
            accepted = self.accepts(t + 1, then - now.detach(), generator)
            if not accepted:
                self.carry(ended)
                for p, before in zip(self.trainable, kept, strict=True):
                    p.copy_(before)
        self.chain.zero_grad()
        self.record("loss", then if accepted else now)
        self.record("accepted", torch.tensor(float(accepted)))
        if self.average is not None:
            self.average.update()

    def _evaluate(self, t: int, h_in: Tensor, batch: Batch) -> Tensor:
        self.seed_step(t)
        self._probing = True
        try:
            h, local = self.run_chain(h_in, batch)
        finally:
            self._probing = False
        loss = self.objective.loss(h, batch)
        return loss if local is None else loss + local

    def _normal(self, like: Tensor, generator: torch.Generator) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=like.dtype).to(like.device)


@dataclass
class SearchConfig:
    """Random search among weights."""

    around: bool = key(False, "draws are added to the best weights so far; false: they replace them")
    scale: float = key(1.0, "deviation of the draws", above=0)


@dataclass
class SearchOptions:
    search: SearchConfig = group(SearchConfig)


@register_scheme("weight_search")
class WeightSearch(Proposer):
    """Random weight search: drawn weights replace the best so far if their loss is lower. For small nets."""

    Options = SearchOptions
    options: SearchOptions

    def proposed(self, t: int, weight: Tensor, generator: torch.Generator) -> Tensor:
        drawn = self.options.search.scale * self._normal(weight, generator)
        return weight + drawn if self.options.search.around else drawn

    def accepts(self, t: int, rise: Tensor, generator: torch.Generator) -> bool:
        return bool(rise < 0)


@dataclass
class AnnealConfig:
    """Simulated annealing of the weights."""

    schedule: str = key("boltzmann", "of temperature and proposals", choices=("boltzmann", "cauchy"))
    temperature: float = key(1.0, "T0, in units of the loss", above=0)
    scale: float = key(1.0, "of the proposed changes", above=0)
    backprop: float = key(0.0, "share of optimizer.lr times the gradient in a proposal", low=0, high=1)

    def at(self, t: int) -> float:
        """The temperature of step t = 1, 2, ..."""
        return self.temperature / (math.log(1 + t) if self.schedule == "boltzmann" else 1 + t)


@dataclass
class AnnealOptions:
    anneal: AnnealConfig = group(AnnealConfig)


@register_scheme("annealing")
class Annealing(Proposer):
    """Simulated annealing, by Boltzmann's or Cauchy's schedule, alone or mixed with backprop. For small nets."""

    Options = AnnealOptions
    options: AnnealOptions

    @property
    def gradient_share(self) -> float:  # type: ignore[override]
        return self.options.anneal.backprop

    def step(self, t: int, h_in: Tensor, batch: Batch, ports: Ports) -> None:
        super().step(t, h_in, batch, ports)
        self.record("temperature", torch.tensor(self.options.anneal.at(t + 1)))

    def proposed(self, t: int, weight: Tensor, generator: torch.Generator) -> Tensor:
        given = self.options.anneal
        change = self._change(given, t, weight, generator)
        if not given.backprop or self.optimizer is None:
            moved: Tensor = weight + change
            return moved
        slope = weight.grad if weight.grad is not None else torch.zeros_like(weight)
        rate = given.backprop * self.optimizer.param_groups[0]["lr"]
        mixed: Tensor = weight - rate * slope + (1 - given.backprop) * change
        return mixed

    def _change(self, given: AnnealConfig, t: int, weight: Tensor, generator: torch.Generator) -> Tensor:
        if given.schedule == "boltzmann":
            normal: Tensor = given.scale * given.at(t) ** 0.5 * self._normal(weight, generator)
            return normal
        cauchy = torch.empty(weight.shape, dtype=weight.dtype).cauchy_(generator=generator)
        return given.scale * given.at(t) * cauchy.to(weight.device)

    def accepts(self, t: int, rise: Tensor, generator: torch.Generator) -> bool:
        chance = math.exp(min(0.0, -float(rise) / self.options.anneal.at(t))) if bool(rise.isfinite()) else 0.0
        return bool(torch.rand((), generator=generator) < chance)
