"""What all measurements share: spreads over rounds, paired ratios, and how busy others kept the CPU."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

PROC = Path("/proc")


@dataclass(frozen=True)
class Spread:
    """Median, least and greatest over the rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(median(values), min(values), max(values))


def paired(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """Ratios of what was measured in the same round.

    >>> paired([2.0, 3.0, 8.0], [1.0, 2.0, 2.0]).median
    2.0
    """
    return Spread.of([a / b for a, b in zip(numerators, denominators, strict=True)])


class ForeignCPU:
    """Share of the whole machine that other programs (and other guests of the host) take, round by round.

    A round above 10 % is spoilt: its ratios say more about the neighbours. Linux only; elsewhere the shares
    are None. Processes of this one that end within a round count as foreign.
    """

    def __init__(self) -> None:
        self.shares: list[float | None] = []
        self._before = _ticks()

    def end_round(self) -> float | None:
        after, before = _ticks(), self._before
        share = None
        if after is not None and before is not None and after[2] > before[2]:
            foreign = (after[0] - before[0]) - (after[1] - before[1])
            share = min(1.0, max(0.0, foreign / (after[2] - before[2])))
        self._before = after
        self.shares.append(share)
        return share


def peak_rss_mb() -> float:
    """The most memory that this process has held, in MB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _ticks() -> tuple[float, float, float] | None:
    """Clock ticks since boot: of all programs, of this process and its descendants, and with idle time."""
    try:
        numbers = [int(n) for n in (PROC / "stat").read_text().splitlines()[0].split()[1:9]]
    except (OSError, ValueError, IndexError):
        return None
    idle = numbers[3] + numbers[4]  # idle and iowait; the eighth is time stolen by the host's other guests
    return sum(numbers) - idle, _own_ticks(), sum(numbers)


def _own_ticks() -> float:
    spent: dict[int, int] = {}
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:  # the name in brackets may hold anything: fields count from the last bracket
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # ended meanwhile
            continue
        spent[int(entry.name)] = int(fields[11]) + int(fields[12])
        children.setdefault(int(fields[1]), []).append(int(entry.name))
    total, waiting = 0, [os.getpid()]
    while waiting:
        pid = waiting.pop()
        total += spent.get(pid, 0)
        waiting += children.get(pid, [])
    return total
