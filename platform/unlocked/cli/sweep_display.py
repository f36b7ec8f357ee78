"""The progress of a study: a live table on a terminal, a line per trial anywhere."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Group
from rich.live import Live
from rich.text import Text

from unlocked.cli.alive import Alive
from unlocked.cli.terminal import Lossy
from unlocked.config import Config
from unlocked.rich_text import PlainTable, plain_console
from unlocked.studies.driver import Progress


@dataclass
class _Running:
    words: str
    began: float = field(default_factory=time.monotonic)
    epoch: str = ""
    value: float | None = None


class Display:
    """A line for every trial that ends; below them, on a terminal, those under way and how long the rest will take."""

    def __init__(self, config: Config, quiet: bool = False, alive: Alive | None = None):
        self._alive = alive if alive is not None else Alive(quiet)
        self.console = plain_console(file=Lossy(sys.stdout), quiet=quiet, highlight=False, soft_wrap=True)
        self._metric = config.sweep.metrics()[0]
        self._running: dict[int, _Running] = {}
        self._latest: Progress | None = None
        self._live = Live(get_renderable=self._table, console=self.console, refresh_per_second=2, transient=True)

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        self._alive.stop()

    def started(self, folder: Path, done: int, total: int | None, at_once: int) -> None:
        before = f", {done} of them done before" if done else ""
        many = f"{total} trials" if total is not None else "trials until the time is up"
        together = f", {at_once} at once" if at_once > 1 else ""
        self.console.print(Text.assemble((folder.name, "bold"), f": {many}{together}{before}\n  {folder}"))
        if self.console.is_terminal and at_once:
            self._live.start()

    def began(self, number: int, trial: str) -> None:
        self._running[number] = _Running(trial)

    def epoch(self, number: int, epoch: int, epochs: int, value: float | None) -> None:
        if running := self._running.get(number):
            running.epoch = f"{epoch}/{epochs}"
            running.value = value if value is not None else running.value

    def finished(self, progress: Progress) -> None:
        self._running.pop(progress.number, None)
        self._latest = progress
        values = "  ".join(f"{value:.4f}" for value in progress.values or [])
        if progress.failure is not None:
            result, style = f"failed: {progress.failure}", "yellow"
        elif progress.pruned is not None:
            result, style = f"{values}  ended at epoch {progress.pruned}", "dim"
        else:
            result, style = values, None
        best = f"  best {progress.best}" if progress.best is not None else ""
        left = f"  left {duration(progress.left)}" if progress.left is not None else ""
        of = f"/{progress.total}" if progress.total is not None else ""
        line = f"  {progress.done:>{len(of[1:])}}{of}  {progress.trial}  {result}  {progress.seconds:.1f} s{best}{left}"
        self.console.print(line, style=style)

    def retried(self, number: int, text: str) -> None:
        self._running.pop(number, None)
        self.note(text)

    def note(self, text: str) -> None:
        self.console.print(f"  {text}", style="yellow")

    def _table(self) -> Group:
        table = PlainTable.grid(padding=(0, 2))
        now = time.monotonic()
        for number, running in sorted(self._running.items()):
            value = "" if running.value is None else f"{self._metric} {running.value:.4f}"
            table.add_row(
                f"trial {number}",
                Text(running.words, overflow="fold"),  # the scheme stands at its end
                running.epoch,
                value,
                duration(now - running.began),
            )
        if self._latest is None:
            return Group(table)
        done = self._latest
        parts = [f"{done.done}" + (f"/{done.total}" if done.total is not None else "") + " trials"]
        parts += [f"best {done.best}"] if done.best is not None else []
        parts += [f"about {duration(done.left)} left"] if done.left is not None else []
        return Group(table, Text("  ".join(parts), style="bold"))


def duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"
