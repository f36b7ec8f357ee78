"""A set larger than memory: the training loop on rows that stay in their files, against the same rows in memory.

Three contenders train the same net, 64 rows of 3072 numbers a step, in turn within each round:

    memory   the first rows of a set made here, held as tensors
    mapped   the same rows, read from their files (`memory: mapped`); its losses must be equal to the last bit
    all      the whole set, read from its files
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from unlocked.bench.measured.measure import Spread, in_rounds, paired, torch_threads
from unlocked.config import Config, from_tree
from unlocked.engine.group import InProcessGroup
from unlocked.errors import ConfigError, RunFailed
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data

NUMBERS = 3072  # of a row: a colour image of 32 x 32
CLASSES = 10
BATCH = 64
STEPS = 50  # of a contender before the next one's turn
ROW = 4 * NUMBERS
SHARD = 2**28  # bytes of a file, at most
SPARE = 2**30  # bytes of the disk that are left


@dataclass(frozen=True)
class Memory:
    """Of this process, in bytes that are its own (USS: no page cache, no shared library)."""

    before: int  # the whole set was looked at
    loaded: int  # after it was
    steps: int  # and the most and least at the ends of stretches of training on it, of so many steps in all
    least: int
    most: int
    in_memory: int  # what the rows that are held took more


@dataclass(frozen=True)
class Result:
    rows: int
    size: int  # bytes of all rows
    held: int  # bytes of those in memory
    looked: float  # seconds of the pass over all of them
    rates: dict[str, Spread]  # steps per second
    ratios: dict[str, Spread]  # to memory, paired
    cpu: dict[str, Spread]  # seconds of the processor per step, threads included, over those of memory, paired
    disk: dict[str, float]  # bytes that came from the disk, not from the system's cache, per step
    memory: Memory
    foreign: list[float | None]


@contextmanager
def made(folder: Path | None, size: int, held: int) -> Iterator[tuple[Path, Path]]:
    """Folders of `size` bytes of rows, and of the first `held` of them; removed in the end. `ConfigError` if the disk
    has no room."""
    above = folder or Path(tempfile.gettempdir())
    if not above.is_dir():
        raise ConfigError(f"--folder: {above} is no folder")
    free = shutil.disk_usage(above).free
    if free < size + SPARE:
        raise ConfigError(
            f"--gigabytes: {size / 1e9:g} GB do not fit into {above}, where {free / 1e9:.1f} GB are free; "
            "--folder names another"
        )
    with tempfile.TemporaryDirectory(prefix="unlocked-bench-", dir=above) as within:
        whole, part = Path(within) / "all", Path(within) / "part"
        for each in (whole, part):
            each.mkdir()
        draw, rows, of_part = np.random.default_rng(0), size // ROW, held // ROW
        y = draw.integers(0, CLASSES, rows)
        noise = draw.standard_normal((min(rows, SHARD // ROW), NUMBERS), dtype=np.float32)
        firsts = sorted({*range(0, rows, SHARD // ROW), of_part})
        for i, (first, end) in enumerate(zip(firsts, [*firsts[1:], rows], strict=True)):
            if end > first:
                x = np.roll(noise, i)[: end - first] + y[first:end, None].astype(np.float32) / 4
                np.save(whole / f"x-{i:05}.npy", x)
                if end <= of_part:
                    os.link(whole / f"x-{i:05}.npy", part / f"x-{i:05}.npy")
        np.save(whole / "y.npy", y)
        np.save(part / "y.npy", y[:of_part])
        yield whole, part


def config_of(folder: Path, memory: str, hidden: list[int]) -> Config:
    options = {"file": str(folder), "memory": memory}
    return from_tree(
        {
            "name": f"rows-{memory}",
            "model": {"name": "mlp", "hidden": hidden},
            "scheme": {"name": "backprop"},
            "train": {"epochs": 1_000_000},
            "data": {"name": "arrays", "root": str(folder.parent), "batch_size": BATCH, "validation": 0.0,
                     "options": options},
            "parallel": {"engine": "inprocess", "device": "cpu"},
        }
    )  # fmt: skip


class Contender:
    """The training loop in this process, a stretch of steps after the other."""

    def __init__(self, config: Config):
        begin = time.perf_counter()
        data = load_data(config)
        self.looked = time.perf_counter() - begin
        self._group = InProcessGroup(make_plan(config, data), data)
        self._at = 0
        self.losses: list[Any] = []
        self.seconds = self.cpu = self.disk = 0.0

    def train(self, steps: int) -> None:
        begin, cpu, read = time.perf_counter(), time.process_time(), _from_disk()
        for stats in self._group.run([(self._at, self._at + steps)], self._at + steps):
            self.losses.append(stats[-1].series)
        self.seconds += time.perf_counter() - begin
        self.cpu += time.process_time() - cpu
        self.disk += _from_disk() - read
        self._at += steps

    @property
    def steps(self) -> int:
        return self._at


def measure(
    size: int,
    held: int,
    rounds: int = 7,
    seconds: float = 2.0,
    threads: int = 1,
    hidden: tuple[int, ...] = (512, 512),
    folder: Path | None = None,
    cold: bool = False,
    note: Callable[[str], None] = lambda text: None,
) -> Result:
    """`rounds` rounds of about `seconds` for each contender, which take turns.

    Args:
        size: bytes of all rows.
        held: of those that are held in memory too.
        cold: before every turn, the system's cache gives up the files.

    Raises `RunFailed` if rows in files and in memory do not give the same losses.
    """
    for what, given in (("--gigabytes", size), ("--in-memory", held)):
        if given < 10 * BATCH * ROW:
            raise ConfigError(f"{what}: at least {10 * BATCH * ROW / 1e9:.3f}, got {given / 1e9:g}")
    note(f"making {size / 1e9:g} GB of rows")
    with made(folder, size, min(held, size)) as (whole, part), torch_threads(threads):
        before = _uss()
        everything = Contender(config_of(whole, "mapped", [*hidden]))
        loaded = _uss()
        seen = []
        for _ in range(max(4, rounds)):
            everything.train(STEPS)
            seen.append(_uss())
        alone = seen[-1]
        found = {
            "memory": Contender(config_of(part, "loaded", [*hidden])),
            "mapped": Contender(config_of(part, "mapped", [*hidden])),
        }
        took = _uss() - alone
        contenders = {**found, "all": everything}
        for each in contenders.values():
            each.train(STEPS)
        turns = max(1, round(seconds / (everything.seconds / everything.steps * STEPS)))
        order, shuffle = list(contenders), random.Random(0).shuffle
        note(f"{rounds} rounds, {turns * STEPS} steps of each")

        def one_round() -> dict[str, tuple[float, float, float]]:
            for each in contenders.values():
                each.seconds = each.cpu = each.disk = 0.0
            for _ in range(turns):
                shuffle(order)
                for name in order:
                    if cold:
                        _give_up([*whole.glob("*.npy")])
                    contenders[name].train(STEPS)
            if found["memory"].losses != found["mapped"].losses:
                raise RunFailed("bench data: rows in memory and in files gave other losses; nothing was measured")
            seen.append(_uss() - took)
            return {name: (each.seconds, each.disk, each.cpu) for name, each in contenders.items()}

        done = in_rounds(rounds, one_round, note)
        count = turns * STEPS
        rates = {name: [count / each[name][0] for each in done.results] for name in contenders}
        cpu = {name: [each[name][2] for each in done.results] for name in contenders}
        return Result(
            size // ROW,
            size // ROW * ROW,
            min(held, size) // ROW * ROW,
            everything.looked,
            {name: Spread.of(each) for name, each in rates.items()},
            {name: paired(rates[name], rates["memory"]) for name in ("mapped", "all")},
            {name: paired(cpu[name], cpu["memory"]) for name in ("mapped", "all")},
            {name: sum(each[name][1] for each in done.results) / count / rounds for name in contenders},
            Memory(before, loaded, everything.steps, min(seen), max(seen), took),
            done.foreign,
        )


def _uss() -> int:
    return int(psutil.Process().memory_full_info().uss)


def _from_disk() -> float:
    """Bytes that this process made the disk give, threads included; 0 if the system does not say."""
    try:
        return float(psutil.Process().io_counters().read_bytes)
    except (AttributeError, OSError, psutil.Error):
        return 0.0


def _give_up(files: list[Path]) -> None:
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
