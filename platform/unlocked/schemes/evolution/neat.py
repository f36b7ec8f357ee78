"""NEAT: nets begin without hidden units and grow; species protect what is new until it has had time to get good.

    Stanley & Miikkulainen 2002, "Evolving Neural Networks through Augmenting Topologies"

The kinds of hidden units make a CPPN of it, and a model that paints another net with it HyperNEAT. Against the paper:
fitness is (worst - loss) / (worst - best) of a generation, shared within species; of two equally good parents the
smaller one counts as the fitter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from unlocked.errors import ConfigError
from unlocked.schemes.evolution.graph import Gene, Graph, GraphSpace, Innovations, crossover, distance
from unlocked.schemes.evolution.strategy import Strategy, Trial, register_strategy
from unlocked_models.contract.chain import Chain
from unlocked_models.contract.registry import unknown
from unlocked_models.evolved import UNITS

SHARES = ("mutate", "add_node", "add_link", "survive", "alone")


@dataclass
class Species:
    number: int
    like: Graph  # a member of the last generation
    best: float = float("inf")  # loss
    since: int = 0  # generations without a better one
    members: tuple[int, ...] = ()


@register_strategy("neat")
class NEAT(Strategy):
    """NEAT: weights, connections and units evolve together, in species; for models `grown` and `hyperneat`.

    Options: `population`; `units`, the kinds of hidden units, one of which is drawn for each (several make a CPPN);
    `sigma`, the size of changes of a weight, and `mutate`, the share of genomes whose weights change; `add_node` and
    `add_link`, shares that grow; `threshold`, the distance within a species, of `excess`, `disjoint` and `weights`;
    `survive`, the share of a species that has children, and `alone` of them have one parent; `patience`, generations
    after which a species that does not get better has none.
    """

    space: GraphSpace

    def __init__(
        self,
        space: GraphSpace,
        population: int = 150,
        units: list[str] = ["steep"],  # noqa: B006  (read, never changed)
        sigma: float = 0.8,
        mutate: float = 0.8,
        add_node: float = 0.03,
        add_link: float = 0.1,
        threshold: float = 3.0,
        excess: float = 1.0,
        disjoint: float = 1.0,
        weights: float = 0.4,
        survive: float = 0.2,
        alone: float = 0.25,
        patience: int = 15,
    ):
        super().__init__(space)
        self._size, self._units, self._sigma, self._mutate = population, list(units), sigma, mutate
        self._add_node, self._add_link, self._threshold = add_node, add_link, threshold
        self._coefficients = (excess, disjoint, weights)
        self._survive, self._alone, self._patience = survive, alone, patience
        self._innovations = Innovations(space.n_in + 1 + space.n_out)
        self._people: list[Graph] = []
        self.species: list[Species] = []
        self._born = 0  # species so far
        self._sizes: list[dict[int, int]] = []  # of species, by number, generation by generation

    @classmethod
    def check(cls, options: dict[str, Any]) -> None:
        super().check(options)
        for name in SHARES:
            if not 0 <= options.get(name, 0.5) <= 1:
                raise ConfigError(f"scheme.strategy.{name}: must be from 0 to 1, got {options[name]}")
        if options.get("threshold", 1.0) <= 0:
            raise ConfigError(f"scheme.strategy.threshold: must be above 0, got {options['threshold']}")
        for name in ("excess", "disjoint", "weights"):
            if not 0 <= options.get(name, 1.0) < float("inf"):
                raise ConfigError(f"scheme.strategy.{name}: must be at least 0 and finite, got {options[name]}")
        if options.get("patience", 1) < 1:
            raise ConfigError(f"scheme.strategy.patience: must be at least 1, got {options['patience']}")
        units = options.get("units", ["steep"])
        if not units:
            raise ConfigError("scheme.strategy.units: must name at least one kind of unit")
        for unit in units:
            if unit not in UNITS:
                raise ConfigError(f"scheme.strategy.units: {unknown('kind of unit', unit, list(UNITS))}")

    @classmethod
    def unfit(cls, blocks: Sequence[nn.Module]) -> str | None:
        if len(blocks) == 1 and getattr(blocks[0], "grows", False):
            return None
        return "has layers of one wiring, which neat would have to change; take model grown or hyperneat"

    @classmethod
    def begin_of(cls, chain: Chain) -> Any:
        return None

    @classmethod
    def space_of(cls, chain: Chain, begin: Any) -> GraphSpace:
        return GraphSpace(chain)

    def ask(self, random: np.random.Generator) -> list[Graph]:
        if not self._people:
            self._people = [self._first(random) for _ in range(self._size)]
        return list(self._people)

    def _first(self, random: np.random.Generator) -> Graph:
        """Every input, and the constant, with every output."""
        n_in, n_out = self.space.n_in, self.space.n_out
        genes = {}
        for target in range(n_in + 1, n_in + 1 + n_out):
            for source in range(n_in + 1):
                weight = float(self._sigma * random.standard_normal())
                genes[self._innovations.link(source, target)] = Gene(source, target, weight)
        return Graph(genes)

    def tell(self, candidates: list[Graph], trials: list[Trial], random: np.random.Generator) -> None:
        losses = [trial.loss for trial in trials]
        self._speciate(candidates, losses, random)
        self._sizes.append({one.number: len(one.members) for one in self.species})
        shares = self._offspring(losses)
        people = []
        for one, number in zip(self.species, shares, strict=True):
            ranked = sorted(one.members, key=lambda i: losses[i])
            parents = ranked[: max(1, round(self._survive * len(ranked)))]
            if number and len(ranked) > 5:
                people.append(candidates[ranked[0]])  # the champion of a species of some size stays as it is
                number -= 1
            people += [self._child(candidates, losses, parents, random) for _ in range(number)]
        self._people = people

    # species ---------------------------------------------------------------------------------------------

    def _speciate(self, people: list[Graph], losses: list[float], random: np.random.Generator) -> None:
        """Each genome joins the first species that it is near enough to."""
        members: dict[int, list[int]] = {one.number: [] for one in self.species}
        for i, genome in enumerate(people):
            near = (one for one in self.species if distance(genome, one.like, *self._coefficients) < self._threshold)
            home = next(near, None)
            if home is None:
                home = Species(self._born, genome)
                self._born += 1
                self.species.append(home)
                members[home.number] = []
            members[home.number].append(i)
        self.species = [one for one in self.species if members[one.number]]
        for one in self.species:
            one.members = tuple(members[one.number])
            one.like = people[one.members[int(random.integers(len(one.members)))]]
            best = min(losses[i] for i in one.members)
            one.since = 0 if best < one.best else one.since + 1
            one.best = min(one.best, best)

    def _offspring(self, losses: list[float]) -> list[int]:
        """How many children each species has: by the mean fitness of its members."""
        finite = [loss for loss in losses if np.isfinite(loss)]
        worst, best = max(finite, default=1.0), min(finite, default=0.0)
        span = (worst - best) or 1.0
        shared = []
        for one in self.species:
            has_best = min(losses[i] for i in one.members) == best
            mean = sum(max(0.0, (worst - losses[i]) / span) for i in one.members) / len(one.members)
            shared.append(0.0 if one.since >= self._patience and not has_best else mean + 1e-3)
        exact = [self._size * each / sum(shared) for each in shared]
        numbers = [int(each) for each in exact]
        rest = sorted(range(len(exact)), key=lambda k: numbers[k] - exact[k])
        for k in rest[: self._size - sum(numbers)]:
            numbers[k] += 1
        return numbers

    # children --------------------------------------------------------------------------------------------

    def _child(
        self, people: list[Graph], losses: list[float], parents: list[int], random: np.random.Generator
    ) -> Graph:
        one, other = (parents[int(k)] for k in random.integers(len(parents), size=2))
        if random.random() < self._alone or one == other:
            child = people[one].copy()
        else:
            fitter = min((one, other), key=lambda i: (losses[i], len(people[i].genes)))
            child = crossover(people[fitter], people[one + other - fitter], random)
        if random.random() < self._add_node:
            self._grow_node(child, random)
        if random.random() < self._add_link:
            self._grow_link(child, random)
        if random.random() < self._mutate:
            self._change_weights(child, random)
        return child

    def _change_weights(self, child: Graph, random: np.random.Generator) -> None:
        for number, gene in child.genes.items():
            drawn = float(self._sigma * random.standard_normal())
            child.genes[number] = replace(gene, weight=drawn if random.random() < 0.1 else gene.weight + drawn)

    def _grow_node(self, child: Graph, random: np.random.Generator) -> None:
        """A connection becomes two with a unit between them: weight 1 into it, and its own weight out of it."""
        live = [number for number, gene in sorted(child.genes.items()) if gene.enabled]
        if len(child.hidden) >= self.space.room or not live:
            return
        split = live[int(random.integers(len(live)))]
        gene = child.genes[split]
        unit = self._innovations.unit(split, child.hidden)
        child.hidden[unit] = self._units[int(random.integers(len(self._units)))]
        child.genes[split] = replace(gene, enabled=False)
        child.genes[self._innovations.link(gene.source, unit)] = Gene(gene.source, unit, 1.0)
        child.genes[self._innovations.link(unit, gene.target)] = Gene(unit, gene.target, gene.weight)

    def _grow_link(self, child: Graph, random: np.random.Generator) -> None:
        """Between two units that have none, or one that is off, if no loop arises."""
        n = self.space.n_in + 1
        outputs = list(range(n, n + self.space.n_out))
        sources, targets = [*range(n), *sorted(child.hidden)], [*sorted(child.hidden), *outputs]
        for _ in range(20):
            source, target = (some[int(random.integers(len(some)))] for some in (sources, targets))
            number = self._innovations.link(source, target) if source != target else -1
            if number < 0 or (number in child.genes and child.genes[number].enabled):
                continue
            if number in child.genes:
                child.genes[number] = replace(child.genes[number], enabled=True)
            elif child.reaches(target, source):
                continue
            else:
                child.genes[number] = Gene(source, target, float(self._sigma * random.standard_normal()))
            return

    def numbers(self) -> dict[str, float]:
        best = self.found[0] if self.found is not None else self._people[0]
        return {
            "species": float(len(self.species)),
            "hidden": float(len(best.hidden)),
            "links": float(sum(gene.enabled for gene in best.genes.values())),
        }

    def figures(self, folder: Path) -> list[Path]:
        from unlocked.drawing import evolved

        return [evolved.species(self._sizes, folder / "species.png")] if self._sizes else []
