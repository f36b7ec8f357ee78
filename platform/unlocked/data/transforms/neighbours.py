"""Neighbourhoods of nodes, drawn anew in every minibatch (Hamilton et al. 2017, arXiv:1706.02216, algorithm 2).

The example is one node. Its graph is a tree: up to f_1 neighbours of it, up to f_2 of each of those, and so on, drawn
without replacement; all of them if a node has no more. Messages go up the tree, so a network of as many layers whose
aggregate is a mean or a sum over neighbours sees of the root what it would see of the whole graph, if all are taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from unlocked.data.transform import PerExample
from unlocked.errors import DataError
from unlocked_models.contract.batch import EDGES, LENGTHS, Batch, Extra, Ragged

NODE = "node"  # the extra that says which node of the graph an example is


class Neighbourhoods(PerExample):
    """Of nodes, `x (batch, 1, features)` and `batch["node"]`, their trees `x (batch, nodes, features)`, the root first.

    Targets are those of the roots, and `none` elsewhere. `edges (2, edges)` of the whole graph, in both directions.
    """

    purpose = "neighbours"
    evaluates = True

    def __init__(self, x: np.ndarray, edges: np.ndarray, fanouts: Sequence[int], none: int):
        wrong = [f for f in fanouts if not isinstance(f, int) or isinstance(f, bool) or f < 1]
        if wrong:
            raise DataError(f"data.options.neighbours: must be a whole number of at least 1, got {wrong[0]!r}")
        order = np.argsort(edges[1], kind="stable")
        counts = np.bincount(edges[1], minlength=len(x))
        self.x, self.none, self.fanouts = torch.from_numpy(x.astype(np.float32)), none, tuple(fanouts)
        self._sources = torch.from_numpy(edges[0, order].astype(np.int64))
        self._first = torch.from_numpy(np.concatenate([[0], counts.cumsum()]))

    @property
    def nodes(self) -> int:
        """Of the largest tree."""
        level = total = 1
        for fanout in self.fanouts:
            level *= fanout
            total += level
        return total

    def draw(self, n: int, batch: Batch, generator: torch.Generator) -> tuple[Tensor, ...]:
        return (torch.randint(2**62, (n,), generator=generator),)

    def apply(self, batch: Batch, *choices: Tensor) -> Batch:
        device = batch.y.device
        roots = batch[NODE].cpu()
        nodes, edges = self._trees(roots, choices[0].cpu())  # rows of (tree, node) and (tree, child, parent), by tree
        trees = len(roots)
        size = torch.bincount(nodes[:, 0], minlength=trees)
        x = torch.zeros(trees, self.nodes, self.x.shape[1])
        x[nodes[:, 0], _places(nodes[:, 0], size)] = self.x[nodes[:, 1]]
        y = torch.full((trees, self.nodes), self.none, dtype=batch.y.dtype, device=device)
        y[:, 0] = batch.y[:, 0]
        offsets = torch.cat([size.new_zeros(1), torch.bincount(edges[:, 0], minlength=trees).cumsum(0)])
        graph: dict[str, Extra] = {EDGES: Ragged(edges[:, 1:].to(device), offsets.to(device)), LENGTHS: size.to(device)}
        assert batch.x is not None
        return replace(batch, x=x.to(batch.x), y=y, extras={**batch.extras, **graph})

    def _trees(self, roots: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
        tree, node, place = torch.arange(len(roots)), roots, torch.zeros_like(roots)
        size = torch.ones_like(roots)  # of each tree so far
        levels, edges = [torch.stack([tree, node], 1)], []
        for fanout in self.fanouts:
            start, many = self._first[node], self._first[node + 1] - self._first[node]
            parent = torch.arange(len(node)).repeat_interleave(many)
            nth = _places(parent, many)
            key = _mixed(seeds[tree][parent] + place[parent] * 0x9E3779B97F4A7C1 + nth * 0x2545F4914F6CDD1)
            order = key.argsort()
            order = order[parent[order].argsort(stable=True)]  # by parent, there by key
            taken = order[nth < fanout]  # as many of each parent as before, so nth is the rank now
            parent = parent[taken]
            child, above = self._sources[(start[parent] + nth[taken])], place[parent]
            tree = tree[parent]
            place = size[tree] + _places(tree, torch.bincount(tree, minlength=len(roots)))
            size = size + torch.bincount(tree, minlength=len(roots))
            node = child
            levels.append(torch.stack([tree, node], 1))
            edges.append(torch.stack([tree, place, above], 1))
        nodes, links = torch.cat(levels), torch.cat([edge.view(-1, 3) for edge in edges] or [roots.new_zeros(0, 3)])
        return nodes[nodes[:, 0].argsort(stable=True)], links[links[:, 0].argsort(stable=True)]


def _places(group: Tensor, many: Tensor) -> Tensor:
    """Of rows sorted by `group`, of which group g has `many[g]`, the place of each in its group."""
    return torch.arange(len(group)) - (many.cumsum(0) - many)[group]


def _mixed(x: Tensor) -> Tensor:
    """A pseudo-random number of each; the finaliser of SplitMix64 (Steele et al. 2014), on 62 bits."""
    mask = 2**62 - 1
    for shift, factor in ((30, 0x3F58476D1CE4E5B9), (27, 0x14D049BB133111EB)):
        x = x & mask
        x = (x ^ (x >> shift)) * factor
    x = x & mask
    return x ^ (x >> 31)
