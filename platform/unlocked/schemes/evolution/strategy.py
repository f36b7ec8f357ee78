"""What proposes candidates and learns from what they came to: a strategy, by name.

    @register_strategy("hill_climbing")
    class HillClimbing(VectorStrategy):
        \"""One parent, and a mutant of it that takes its place if it is better.\"""

        def ask(self, random): ...
        def tell(self, candidates, trials, random): ...

A strategy draws from the generator that it is given alone, which follows from (seed, generation): what it is after t
generations follows from the seed, the weights that it began with and the trials, so no strategy has a state to save.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from torch import nn

from unlocked.entries import check_entry
from unlocked.errors import ConfigError
from unlocked_models.contract.chain import Chain
from unlocked_models.contract.registry import Registry

MOST_CANDIDATES = 100_000
WIDEST = 1e6  # deviation of anything that is drawn

Genome = Any  # weights `(n,)` float64, or what another space has
Vector = np.ndarray


@dataclass(frozen=True)
class Trial:
    """What a candidate came to."""

    loss: float  # the lower the better; infinite if it was no number
    behaviour: tuple[float, ...] = ()  # what it did, for strategies that compare this


class Space(ABC):
    """How a genome becomes weights of the chain."""

    begin: Genome  # what the chain held when the search began

    @abstractmethod
    def write(self, genome: Genome, chain: Chain) -> None: ...


class Strategy(ABC):
    """The keywords of a subclass, after `space`, are its options in `scheme.strategy`. The first line of its docstring
    is its line in `unlocked list strategies`."""

    looks: ClassVar[bool] = False  # at what candidates do, not only at their losses
    found: tuple[Genome, float] | None = None  # the best candidate so far, and its loss

    def __init__(self, space: Any):
        self.space = space

    @classmethod
    def check(cls, options: dict[str, Any]) -> None:
        """Raises `ConfigError` for options that no search can have."""
        size = options.get("population")
        if size is not None and size < 2:
            raise ConfigError(f"scheme.strategy.population: must be at least 2, got {size}")
        for name in ("sigma", "rate", "spread"):
            if options.get(name) is not None and options[name] <= 0:
                raise ConfigError(f"scheme.strategy.{name}: must be above 0, got {options[name]}")
        for name, most in (("population", MOST_CANDIDATES), ("sigma", WIDEST), ("rate", WIDEST), ("spread", WIDEST)):
            if options.get(name) is not None and options[name] > most:
                raise ConfigError(f"scheme.strategy.{name}: must be at most {most:g}, got {options[name]:g}")

    @classmethod
    def unfit(cls, blocks: Sequence[nn.Module]) -> str | None:
        """Why it cannot search among nets of these blocks; None if it can."""
        return None

    @classmethod
    @abstractmethod
    def space_of(cls, chain: Chain, begin: Any) -> Space:
        """Of a chain whose search began with `begin`, what `begin_of` gave."""

    @classmethod
    @abstractmethod
    def begin_of(cls, chain: Chain) -> Any:
        """What the search begins with, as tensors and plain values."""

    @abstractmethod
    def ask(self, random: np.random.Generator) -> list[Genome]:
        """The candidates of the next generation."""

    @abstractmethod
    def tell(self, candidates: list[Genome], trials: list[Trial], random: np.random.Generator) -> None:
        """What they came to, in the same order."""

    @property
    def centre(self) -> Genome | None:
        """Where it searches now, if there is such a place; None: among its candidates alone."""
        return None

    def numbers(self) -> dict[str, float]:
        """Of the generation that was just told, for its curves."""
        return {}

    def figures(self, folder: Path) -> list[Path]:
        """Of the whole search, at the end of a run, as PNG files in `folder`."""
        return []


class VectorSpace(Space):
    """All weights of the chain that learn, one after the other."""

    def __init__(self, chain: Chain, begin: Vector):
        self.begin = begin
        self.shapes = [tuple(p.shape) for p in _learning(chain)]

    def write(self, genome: Genome, chain: Chain) -> None:
        import torch

        with torch.no_grad():
            at = 0
            for p in _learning(chain):
                piece = torch.from_numpy(np.ascontiguousarray(genome[at : at + p.numel()]))
                p.copy_(piece.view_as(p).to(p.dtype))
                at += p.numel()


class VectorStrategy(Strategy):
    """Base of those that search among the weights of a net whose layers stay as they are."""

    space: VectorSpace

    @property
    def n(self) -> int:
        return len(self.space.begin)

    @classmethod
    def unfit(cls, blocks: Sequence[nn.Module]) -> str | None:
        if any(getattr(block, "grows", False) for block in blocks):
            return "has no weights of its own to search among: its wiring is what evolves; take strategy neat"
        if not any(True for block in blocks for _ in block.parameters()):
            return "has no weights"
        return None

    @classmethod
    def begin_of(cls, chain: Chain) -> Any:
        import torch

        return torch.cat([p.detach().double().cpu().flatten() for p in _learning(chain)])

    @classmethod
    def space_of(cls, chain: Chain, begin: Any) -> VectorSpace:
        return VectorSpace(chain, begin.numpy().copy())


def default_population(n: int) -> int:
    """Of as many weights, as CMA-ES has it (Hansen 2016, equation 48)."""
    return 4 + math.floor(3 * math.log(n))


def ranking(trials: Sequence[Trial]) -> list[int]:
    """Places of the trials, the best first; equal ones in their order."""
    return sorted(range(len(trials)), key=lambda i: trials[i].loss)


def _learning(chain: Chain) -> list[nn.Parameter]:
    return [p for p in chain.parameters() if p.requires_grad]


STRATEGIES: Registry[type[Strategy]] = Registry("strategy")
S = TypeVar("S", bound=type[Strategy])


def register_strategy(name: str, **facts: Any) -> Callable[[S], S]:
    """Register a strategy, a whole subclass of `Strategy`; `TypeError`, one line, for anything else."""

    def add(entry: S) -> S:
        check_entry("strategy", name, entry, Strategy)
        STRATEGIES.register(name, **facts)(entry)
        return entry

    return add
