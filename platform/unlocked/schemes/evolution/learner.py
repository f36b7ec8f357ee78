"""Evolution as a scheme: in every step one generation of candidates is tried, and no gradient is asked for.

    candidates = ask()      from (seed, generation)
    trials                  the loss of the minibatch under each, in evaluation mode; of a task that acts, episodes
    tell(candidates, trials)

A generation is a step, its minibatch the same for all its candidates: luck of the draw does not choose between them.
Trials are independent of each other, so an engine may share them out (`parallel.engine=population`), to equal numbers.

What is saved is the weights that the search began with and the table of all trials. A resumed run tells its strategy
the table again, and is where it was.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from unlocked.errors import ConfigError, RunFailed
from unlocked.options import as_annotated, check_options
from unlocked.schema.facts import key
from unlocked.schema.keys import Config
from unlocked.schemes.base import ModuleLearner, Ports
from unlocked.schemes.declarations import AT_REST
from unlocked.schemes.evolution.strategy import STRATEGIES, Genome, Strategy, Trial
from unlocked.schemes.registry import register_scheme
from unlocked.schemes.spec import ModuleSpec
from unlocked.schemes.without_error import WithoutError
from unlocked.seeding import derive_seed, step_seed
from unlocked.tasks import Task
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.chain import Chain
from unlocked_models.contract.registry import unknown

Trying = Callable[[int, list[Genome]], list[Trial]]  # of a generation's candidates, wherever they are tried


@dataclass
class EvolutionOptions:
    strategy: dict[str, Any] = key({"name": "cma_es"}, "name, and its own keywords: `unlocked list strategies`")
    target: float | None = key(None, "a loss of a candidate at which the search rests; null: none")
    keep: str = key(
        "best",
        "the weights after a generation: best: of all candidates so far; last: of this generation; centre: of the "
        "distribution that they are drawn from",
        choices=("best", "last", "centre"),
    )


@register_scheme("evolution")
class Evolution(WithoutError):
    """Evolution: a strategy (CMA-ES, SNES, CoSyNE, NEAT) proposes nets and learns which are better; no gradients."""

    Options = EvolutionOptions
    options: EvolutionOptions
    proposes: ClassVar[bool] = True
    why_no_lag: ClassVar[str | None] = "it sends nothing back"
    why_no_fp16: ClassVar[str | None] = "it compares losses that differ by less than float16 can tell"
    helps: ClassVar[str] = "a larger scheme.strategy.population or sigma, or another strategy"
    refuses: ClassVar[Mapping[str, str]] = {
        "boltzmann": "the likelihood that a candidate would be judged by holds a sum over all states of its units, "
        "which a sample does not give",
        "adversarial": "no net of a game has a loss of its own to be ranked by: that of each depends on the others, "
        "which move too",
        "associative": AT_REST,
    }
    series_words: ClassVar[Mapping[str, str]] = {
        **ModuleLearner.series_words,
        "population/mean": "the mean loss of a generation",
    }

    def __init__(self, spec: ModuleSpec, chain: Chain, task: Task, config: Config, lag: int = 0):
        super().__init__(spec, chain, task, config, lag)
        self.trying: Trying | None = None  # where candidates are tried; None: here
        self._strategy: Strategy | None = None
        self._begin: Any = None
        self._table: list[list[Trial]] = []
        self.holds("trials", None, self._save, self._load)

    @classmethod
    def check(cls, config: Config) -> None:
        given = config.scheme.strategy
        name, options = given.get("name"), {k: v for k, v in given.items() if k != "name"}
        if not isinstance(name, str) or name not in STRATEGIES:
            raise ConfigError(f"scheme.strategy.name: {unknown('strategy', name, STRATEGIES.names())}")
        kind = STRATEGIES.get(name)
        check_options("scheme.strategy", name, kind, options, skip=1)
        kind.check(options)
        if config.train.curriculum is not None and (config.scheme.keep == "best" or config.scheme.target is not None):
            key = "keep: best" if config.scheme.keep == "best" else f"target: {config.scheme.target:g}"
            raise ConfigError(
                f"scheme.{key} compares losses of several levels of train.curriculum; set scheme.keep to last or "
                f"centre, and no target"
            )
        if config.train.adversary.attack != "none":
            raise ConfigError("train.adversary.attack: follows the gradient at the inputs, and evolution asks for none")

    @classmethod
    def refuse(cls, config: Config, task: Task, blocks: Sequence[nn.Module], specs: Sequence[ModuleSpec]) -> str | None:
        why = "but a candidate is the whole net, and is judged by its loss on the whole minibatch"
        for name, value in (("modules", len(specs)), ("replicas", config.parallel.replicas)):
            if value > 1:
                raise ConfigError(
                    f"parallel.{name}: {value}, {why}; set 1, and parallel.engine=population shares out candidates"
                )
        unfit = STRATEGIES.get(config.scheme.strategy["name"]).unfit(blocks)
        return None if unfit is None else f"cannot train {config.model['name']}, which {unfit}"

    @classmethod
    def memory(cls, config: Config, spec: ModuleSpec, rows: int, lag: int) -> int:
        return 0

    # a generation ----------------------------------------------------------------------------------------

    @property
    def strategy(self) -> Strategy:
        """After all generations so far."""
        if self._strategy is None:
            if self._begin is None:
                self._begin = STRATEGIES.get(self.options.strategy["name"]).begin_of(self.chain)
            self._strategy = searched(self.config, self.chain, self._begin, self._table)
        return self._strategy

    def step(self, t: int, h_in: Tensor, batch: Batch, ports: Ports) -> None:
        strategy = self.strategy
        if self._rests():
            self._record_rest()
            return
        generation, began = len(self._table), time.perf_counter()
        candidates = strategy.ask(_random(self.config.seed, generation, "ask"))
        if self.trying is None:
            trials = [self.tried(t, candidate, h_in, batch) for candidate in candidates]
        else:
            trials = self.trying(t, candidates)
        _tell(strategy, self.config.seed, generation, candidates, trials)
        self._table.append(trials)
        strategy.space.write(self._kept(candidates, trials), self.chain)
        if self.average is not None:
            self.average.update()
        self._record_generation(trials, time.perf_counter() - began)

    def tried(self, t: int, candidate: Genome, h_in: Tensor, batch: Batch) -> Trial:
        """One candidate; the chain holds its weights afterwards."""
        self.strategy.space.write(candidate, self.chain)
        self.seed_step(t)
        self.chain.eval()
        try:
            with torch.no_grad():
                loss, behaviour = self.task.tried(self.chain, h_in, batch)
        finally:
            self.chain.train()
        value = float(loss)
        looks = STRATEGIES.get(self.options.strategy["name"]).looks
        seen = tuple(behaviour.double().flatten().tolist()) if looks else ()
        return Trial(value if math.isfinite(value) else math.inf, seen)

    def _kept(self, candidates: list[Genome], trials: list[Trial]) -> Genome:
        strategy = self.strategy
        assert strategy.found is not None
        if self.options.keep == "centre" and strategy.centre is not None:
            return strategy.centre
        if self.options.keep == "best":
            return strategy.found[0]
        return candidates[min(range(len(trials)), key=lambda i: trials[i].loss)]

    def _rests(self) -> bool:
        found, target = self.strategy.found, self.options.target
        return found is not None and target is not None and found[1] <= target

    # what is recorded ------------------------------------------------------------------------------------

    @property
    def trials(self) -> list[list[Trial]]:
        """Of all candidates so far, by generation."""
        return self._table

    @property
    def evaluations(self) -> int:
        """So far."""
        return sum(map(len, self._table))

    def _record_generation(self, trials: list[Trial], seconds: float) -> None:
        finite = [trial.loss for trial in trials if math.isfinite(trial.loss)]
        if not finite:
            raise RunFailed("no candidate of a generation had a finite loss; a smaller scheme.strategy.sigma may help")
        self._note("loss", min(finite))
        self._note("population/mean", sum(finite) / len(finite))
        for name, value in self.strategy.numbers().items():
            self._note(f"population/{name}", value)
        self._record_rest(loss=False)
        self._note("time/evaluations_per_second", len(trials) / max(seconds, 1e-9))

    def _record_rest(self, loss: bool = True) -> None:
        assert self.strategy.found is not None
        if loss:
            self._note("loss", self.strategy.found[1])
        self._note("population/best", self.strategy.found[1])
        self._note("population/evaluations", float(self.evaluations))

    def _note(self, name: str, value: float) -> None:
        self.record(name, torch.tensor(value, dtype=torch.float64))

    # gradients: none -------------------------------------------------------------------------------------

    # state -----------------------------------------------------------------------------------------------

    def _save(self) -> dict[str, Any]:
        """Begins, losses generation by generation, and behaviours of strategies that look at them."""
        return {
            "begin": self._begin,
            "losses": [torch.tensor([trial.loss for trial in trials], dtype=torch.float64) for trials in self._table],
            "behaviours": [
                torch.tensor([trial.behaviour for trial in trials], dtype=torch.float64) for trials in self._table
            ],
        }

    def _load(self, state: Mapping[str, Any]) -> None:
        self._begin, self._strategy = state["begin"], None
        self._table = _table(state)

    @classmethod
    def figures(cls, config: Config, chain: Chain, state: Mapping[str, Any], folder: Path) -> list[Path]:
        from unlocked.drawing import evolved

        told, numbers = state["trials"], list[dict[str, float]]()
        if not told["losses"]:
            return []
        strategy = searched(config, chain, told["begin"], _table(told), lambda each: numbers.append(each.numbers()))
        losses = [each.tolist() for each in told["losses"]]
        return [evolved.search(losses, numbers, folder / "search.png"), *strategy.figures(folder)]


def searched(
    config: Config,
    chain: Chain,
    begin: Any,
    table: list[list[Trial]],
    after: Callable[[Strategy], None] = lambda strategy: None,
) -> Strategy:
    """The strategy after these trials, of a search that began with `begin`; `after` each generation as it then is."""
    given = config.scheme.strategy
    kind = STRATEGIES.get(given["name"])
    options = as_annotated(kind, {k: v for k, v in given.items() if k != "name"})
    strategy = kind(kind.space_of(chain, begin), **options)
    for generation, trials in enumerate(table):
        candidates = strategy.ask(_random(config.seed, generation, "ask"))
        _tell(strategy, config.seed, generation, candidates, trials)
        after(strategy)
    return strategy


def _tell(strategy: Strategy, seed: int, generation: int, candidates: list[Genome], trials: list[Trial]) -> None:
    best = min(range(len(trials)), key=lambda i: trials[i].loss)
    if strategy.found is None or trials[best].loss < strategy.found[1]:
        strategy.found = (candidates[best], trials[best].loss)
    strategy.tell(candidates, trials, _random(seed, generation, "tell"))


def _random(seed: int, generation: int, purpose: str) -> np.random.Generator:
    return np.random.default_rng(step_seed(derive_seed(seed, "evolution", purpose), generation))


def _table(state: Mapping[str, Any]) -> list[list[Trial]]:
    return [
        [Trial(loss, tuple(did)) for loss, did in zip(losses.tolist(), behaviours.tolist(), strict=True)]
        for losses, behaviours in zip(state["losses"], state["behaviours"], strict=True)
    ]
