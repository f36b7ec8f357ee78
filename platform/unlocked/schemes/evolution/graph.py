"""A genome of NEAT: genes of connections with innovation numbers, and how two of them mate and differ.

Stanley & Miikkulainen 2002, sections 3.1 to 3.3
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from unlocked.schemes.evolution.strategy import Space
from unlocked_models.contract.chain import Chain
from unlocked_models.evolved import KINDS, GrownNet


@dataclass(frozen=True)
class Gene:
    """A connection."""

    source: int
    target: int
    weight: float
    enabled: bool = True


@dataclass
class Graph:
    """`genes` by innovation number; `hidden`: the kind of every hidden unit, by its number. Inputs are 0 .. n - 1, the
    constant n, then the outputs."""

    genes: dict[int, Gene]
    hidden: dict[int, str] = field(default_factory=dict)

    def copy(self) -> Graph:
        return Graph(dict(self.genes), dict(self.hidden))

    def reaches(self, one: int, other: int) -> bool:
        """Whether there is a way from one unit to another, over connections that are switched off too."""
        seen, todo = {one}, [one]
        while todo:
            at = todo.pop()
            if at == other:
                return True
            for gene in self.genes.values():
                if gene.source == at and gene.target not in seen:
                    seen.add(gene.target)
                    todo.append(gene.target)
        return False

    def ordered(self) -> list[int]:
        """The hidden units, each after all that it sees."""
        before = dict.fromkeys(self.hidden, 0)
        inside = [gene for gene in self.genes.values() if gene.source in before and gene.target in before]
        for gene in inside:
            before[gene.target] += 1
        order, ready = [], sorted(unit for unit, number in before.items() if not number)
        while ready:
            order.append(at := ready.pop(0))
            for gene in inside:
                if gene.source == at:
                    before[gene.target] -= 1
                    if not before[gene.target]:
                        ready = sorted([*ready, gene.target])
        return order


class Innovations:
    """Numbers of what has appeared: the same connection, or the same unit in the same place, has the same in all."""

    def __init__(self, first_unit: int):
        self._links: dict[tuple[int, int], int] = {}
        self._units: dict[tuple[int, int], int] = {}
        self._first_unit = first_unit

    def link(self, source: int, target: int) -> int:
        return self._links.setdefault((source, target), len(self._links))

    def unit(self, split: int, taken: Iterable[int]) -> int:
        """Of a unit within connection `split`; another one if that is among those `taken`."""
        taken, nth = set(taken), 0
        while (number := self._units.setdefault((split, nth), self._first_unit + len(self._units))) in taken:
            nth += 1
        return number


def crossover(fitter: Graph, other: Graph, random: np.random.Generator) -> Graph:
    """Matching genes come from either parent, all others from the fitter one. A gene that is off in one of them is off
    in three of four children. The child is wired as the fitter parent, so no loop can arise."""
    genes = {}
    for number, gene in sorted(fitter.genes.items()):
        match = other.genes.get(number)
        if match is not None:
            chosen = gene if random.random() < 0.5 else match
            enabled = gene.enabled and match.enabled
            if not enabled:
                enabled = bool(random.random() >= 0.75)
            gene = replace(chosen, enabled=enabled)
        genes[number] = gene
    return Graph(genes, dict(fitter.hidden))


def distance(one: Graph, other: Graph, excess: float, disjoint: float, weights: float) -> float:
    """delta = c1 E / N + c2 D / N + c3 W (equation 1), with N = 1 for fewer than 20 genes; a hidden unit of another
    kind counts as a disjoint gene does."""
    a, b = one.genes.keys(), other.genes.keys()
    both = a & b
    last = min(max(a, default=-1), max(b, default=-1))
    apart = (a | b) - both
    beyond = sum(number > last for number in apart)
    kinds = sum(other.hidden.get(unit, kind) != kind for unit, kind in one.hidden.items())
    n = max(len(a), len(b))
    n = n if n >= 20 else 1
    w = sum(abs(one.genes[number].weight - other.genes[number].weight) for number in both) / max(len(both), 1)
    return excess * beyond / n + disjoint * (len(apart) - beyond + kinds) / n + weights * w


class GraphSpace(Space):
    """Of a chain whose one block grows."""

    def __init__(self, chain: Chain):
        net = graph_of(chain)
        self.n_in, self.n_out, self.room = net.n_in, net.n_out, net.room
        self.begin = None

    def write(self, genome: Graph, chain: Chain) -> None:
        block, net = chain[0], graph_of(chain)
        nodes = len(net.kinds)
        first = nodes - self.n_out
        place = {unit: self.n_in + 1 + k for k, unit in enumerate(genome.ordered())}
        place |= {i: i for i in range(self.n_in + 1)}
        place |= {self.n_in + 1 + k: first + k for k in range(self.n_out)}
        weight, links, kinds = np.zeros((nodes, nodes)), np.zeros((nodes, nodes), dtype=bool), net.kinds.clone()
        for gene in genome.genes.values():
            if gene.enabled:
                at = place[gene.source], place[gene.target]
                weight[at], links[at] = gene.weight, True
        for unit, kind in genome.hidden.items():
            kinds[place[unit]] = KINDS.index(kind)
        with torch.no_grad():
            net.weight.copy_(torch.from_numpy(weight))
            net.links.copy_(torch.from_numpy(links))
            net.kinds.copy_(kinds)
            block.express()  # type: ignore[operator]


def graph_of(chain: Chain) -> GrownNet:
    net = chain[0].graph
    assert isinstance(net, GrownNet)
    return net
