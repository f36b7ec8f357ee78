"""Mean and spread over seeds, the interval of the mean, and differences paired by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """One metric over the seeds of a group. `std` is that of the sample (n - 1), 0 for one seed."""

    n: int
    mean: float
    std: float
    low: float
    high: float

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean by Student's t with n - 1 degrees of freedom; None for one seed.

        >>> [round(end, 3) for end in summarise([1.0, 2.0, 3.0]).interval]
        [-0.484, 4.484]
        """
        if self.n < 2:
            return None
        from scipy.special import stdtrit

        half = float(stdtrit(self.n - 1, 0.975)) * self.std / math.sqrt(self.n)
        return self.mean - half, self.mean + half


def summarise(values: Sequence[float]) -> Summary | None:
    """Of finite values; None of none."""
    if not values:
        return None
    n, mean = len(values), math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1) if n > 1 else 0.0
    return Summary(n, mean, math.sqrt(variance), min(values), max(values))


def paired(values: Mapping[str, float], baseline: Mapping[str, float]) -> Summary | None:
    """Of the differences to a baseline over the seeds that both have; None if they have none in common.

    >>> paired({"0": 0.5, "1": 0.75, "2": 0.1}, {"0": 0.25, "1": 0.5}).mean
    0.25
    """
    return summarise([value - baseline[seed] for seed, value in values.items() if seed in baseline])
