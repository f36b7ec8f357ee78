"""What all measurements share: spreads over rounds, paired ratios, and how busy others kept the CPU."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Generic, TypeVar

import torch

from unlocked.tracking.tags import cores as cores

PROC = Path("/proc")
SPOILT = 0.1  # foreign share of the CPU above which a round is measured again

T = TypeVar("T")


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


def in_rounds(rounds: int, measure: Callable[[], T], note: Callable[[str], None]) -> Rounds[T]:
    """`measure()` once per round; spoilt rounds are measured again, up to three times as many in all.

    The rounds in which others took least are kept, in their order: chosen by the neighbours' CPU time, never
    by what was measured.
    """
    results: list[T] = []
    cpu = ForeignCPU()
    while len(results) < rounds or (
        sum(map(is_spoilt, cpu.shares)) > len(results) - rounds and len(results) < 3 * rounds
    ):
        results.append(measure())
        share = cpu.end_round()
        note(f"round {len(results)}" + ("" if share is None else f": others took {share:.0%} of the CPU"))
    kept = sorted(sorted(range(len(results)), key=lambda i: cpu.shares[i] or 0.0)[:rounds])
    return Rounds([results[i] for i in kept], [cpu.shares[i] for i in kept], len(results))


@dataclass(frozen=True)
class Rounds(Generic[T]):
    """What the kept rounds gave."""

    results: list[T]
    foreign: list[float | None]  # share of the CPU that others took in each; None if that is unknown
    measured: int  # the spoilt ones too


def is_spoilt(share: float | None) -> bool:
    """Whether a round says more about the neighbours than about what was measured."""
    return share is not None and share > SPOILT


class ForeignCPU:
    """Share of the whole machine that other programs (and other guests of the host) take, round by round.

    Linux only; elsewhere the shares are None. A process of this one that ends within a round counts as
    foreign.
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


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Sets the number of torch threads inside; restores it afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def peak_rss_mb() -> float:
    """The most memory that this process has held, in MB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


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
