"""Pairs of nodes without a link, drawn anew in every minibatch, beside the links that a network is to find."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from unlocked.data.transform import PerExample
from unlocked_models.contract.batch import Batch

TRIES = 8  # draws per pair; the first that is no link and no loop is taken


class NegativeLinks(PerExample):
    """Of pairs `y (batch, pairs, 3)` of two nodes and a label, other nodes for those whose label is 0: any two that no
    edge of the graph `edges (2, edges)` joins. All pairs of nodes are equally likely."""

    def __init__(self, edges: np.ndarray, nodes: int):
        self.nodes = nodes
        self._linked = torch.from_numpy(np.unique(edges[0].astype(np.int64) * nodes + edges[1]))

    def draw(self, n: int, batch: Batch, generator: torch.Generator) -> tuple[Tensor, ...]:
        return (torch.randint(self.nodes, (n, batch.y.shape[1], TRIES, 2), generator=generator),)

    def apply(self, batch: Batch, *choices: Tensor) -> Batch:
        (pairs,) = choices
        key, linked = pairs[..., 0] * self.nodes + pairs[..., 1], self._linked.to(pairs.device)
        bad = torch.isin(key, linked) | (pairs[..., 0] == pairs[..., 1])  # (batch, pairs, tries)
        first = bad.long().argmin(-1)[..., None, None].expand(-1, -1, 1, 2)
        drawn = torch.cat([pairs.gather(2, first).squeeze(2), torch.zeros_like(batch.y[..., 2:])], -1)
        return replace(batch, y=torch.where(batch.y[..., 2:] == 0, drawn, batch.y))
