"""Easy examples first: over a share of the run, epochs are drawn from a growing part of the training split.

    c(p) = min(1, sqrt((1 - c_0^2) p / share + c_0^2)),    c_0 = 0.1

is the part, of the easiest examples, from which an epoch that begins at progress p is drawn (Platanios et al. 2019,
arXiv:1903.09848, equation 7; the idea: Bengio et al. 2009). How hard an example is, the data set says by an extra
`difficulty (n,)`; of sequences without one it is their length. Or it is the loss that the net has on it when the epoch
begins (Kumar et al. 2010, "Self-paced learning"), which the training loop measures.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from unlocked.data.dataset import Split
from unlocked_models.contract.batch import LENGTHS

DIFFICULTY = "difficulty"
START = 0.1


def difficulty_of(split: Split) -> Tensor | None:
    """`(n,)`, on the CPU; None if the data does not say."""
    found = split.extras.get(DIFFICULTY, split.extras.get(LENGTHS))
    return found.cpu() if isinstance(found, Tensor) and found.dim() == 1 else None


def competence(progress: float, share: float) -> float:
    """c(p).

    >>> [round(competence(p, 0.5), 3) for p in (0.0, 0.125, 0.5, 1.0)]
    [0.1, 0.507, 1.0, 1.0]
    """
    return min(1.0, math.sqrt((1 - START**2) * progress / share + START**2))


def ranks(losses: Tensor) -> list[int]:
    """The place of each example among all, the least loss first; as exact as a checkpoint keeps it.

    >>> ranks(torch.tensor([0.3, 0.1, 0.2]))
    [2, 0, 1]
    """
    found: list[int] = losses.argsort(stable=True).argsort().tolist()
    return found


def drawn_from_easiest(difficulty: Tensor, part: float, count: int, least: int, generator: Generator) -> Tensor:
    """`count` rows of the easiest `part`, of `least` at least: one permutation of them after the other."""
    pool = difficulty.argsort(stable=True)[: max(least, round(part * len(difficulty)))]
    rounds = -(-count // len(pool))
    return torch.cat([pool[torch.randperm(len(pool), generator=generator)] for _ in range(rounds)])[:count]
