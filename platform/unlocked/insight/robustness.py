"""How accuracy falls as an attack may change more, of one run or several, and what of it carries over to others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from unlocked.insight.attack import ATTACKS, make
from unlocked.insight.subject import Subject
from unlocked.schemes.adversary import Limits
from unlocked.seeding import derive_seed


@dataclass(frozen=True)
class Found:
    """One figure: examples `made` against one run, `shown` to it or to another.

    `accuracy`: the share that is still classified rightly. `hit`: with a target, the share of examples of other
    classes that is taken for it.
    """

    made: str
    shown: str
    scheme: str  # of the run that they are shown to
    attack: str  # "none" for the examples as they are
    epsilon: float
    accuracy: float
    hit: float | None = None

    def row(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None}


def attacked(subject: Subject, attack: str, epsilon: float, target: int | None, steps: int, seed: int) -> Tensor:
    """Every example of the subject's split, changed against its own net."""
    lowest, highest = subject.range
    generator = Generator().manual_seed(derive_seed(seed, "attack", attack, str(epsilon)))
    changed = []
    for batch in subject.batches():
        assert batch.x is not None
        limits = Limits.around(batch.x, epsilon, lowest, highest, subject.free(batch))
        changed.append(make(attack, subject.logits(batch), batch.x, batch.y, limits, target, steps, generator))
    return torch.cat(changed)


@torch.no_grad()
def predictions(subject: Subject, x: Tensor) -> Tensor:
    """Of inputs in the place of the split's."""
    parts = zip(subject.batches(), x.split([len(batch.y) for batch in subject.batches()]), strict=True)
    return torch.cat([subject.logits(batch)(part).argmax(1) for batch, part in parts])


def curves(
    subjects: Sequence[Subject],
    against: Sequence[Subject],
    epsilons: Sequence[float],
    target: int | None,
    steps: int,
    seed: int,
) -> list[Found]:
    """Of each subject white box, and of its examples shown to each run of `against`."""
    found = []
    for subject in subjects:
        found.append(_judged(subject, subject, subject.split.x, "none", 0.0, target))
        for attack in ATTACKS:
            for epsilon in epsilons:
                x = attacked(subject, attack, epsilon, target, steps, seed)
                shown_to = [subject, *(other for other in against if other.run != subject.run)]
                found += [_judged(subject, other, x, attack, epsilon, target) for other in shown_to]
    clean = [other for other in against if other.run not in [subject.run for subject in subjects]]
    return found + [_judged(other, other, other.split.x, "none", 0.0, target) for other in clean]


def _judged(made: Subject, shown: Subject, x: Tensor, attack: str, epsilon: float, target: int | None) -> Found:
    y, given = made.split.y, predictions(shown, x)
    accuracy, hit = float((given == y).double().mean()), None
    if target is not None and bool((others := y != target).any()):
        hit = float((given[others] == target).double().mean())
    return Found(made.run.name, shown.run.name, shown.scheme, attack, epsilon, accuracy, hit)
