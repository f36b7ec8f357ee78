"""The progress display: a live picture on a terminal, a line per epoch anywhere."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from unlocked.cli import words
from unlocked.cli.alive import Alive
from unlocked.cli.terminal import Lossy
from unlocked.colors import scheme_color
from unlocked.metrics import by_module, higher_is_better
from unlocked.plan.plan import Plan
from unlocked.rich_text import PlainTable, plain_console
from unlocked.schema.keys import TrackingConfig

# what stands in a line of an epoch, module by module: its word, metric and format
_ALIGNMENT = (
    ("align", "align/", "+.2f"),
    ("per example", "align/per_example/", "+.2f"),
    ("norm ratio", "align/norm_ratio/", ".2g"),
)
_KEPT = 10_000  # points of a curve


class Display:
    """Reports one run to the person at the terminal."""

    def __init__(self, quiet: bool = False, alive: Alive | None = None):
        self._alive = alive if alive is not None else Alive(quiet)
        self.console = plain_console(file=Lossy(sys.stdout), quiet=quiet, highlight=False, soft_wrap=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
            console=self.console,
        )
        self._task: Any = None
        self._epochs, self.monitor, self.blocks = 0, "accuracy", 0
        self._losses: list[float] = []
        self._values: list[float] = []  # of the metric that the task follows, on the validation split
        self._latest: dict[str, float] = {}
        self.tracking = TrackingConfig()  # of the run that was started
        self._live = Live(get_renderable=self._picture, console=self.console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        self._alive.stop()

    def doing(self, text: str) -> None:
        if self._task is None:
            self._alive.say(text)
        else:
            self._bar.update(self._task, status=text)

    def started(self, plan: Plan, run_dir: Path, step: int) -> None:
        config = plan.config
        modules = f"{plan.modules} module{'s' * (plan.modules > 1)}"
        workers = plan.make_engine().place(plan.workers)
        at = f", from step {step}" if step else ""
        self.console.print(
            Text.assemble(
                (config.name, "bold"),
                f": {config.model['name']} on {config.data.name} under ",
                (config.scheme.name, f"bold {scheme_color(config.scheme.name)}"),
                f", {modules} in {workers}, {plan.schedule}, seed {config.seed}{at}",
            )
        )
        self.console.print(f"  {run_dir.absolute()}")  # a run that was begun elsewhere goes on there
        self._epochs, self.monitor, self.tracking = plan.epochs, plan.make_task().monitor, config.tracking
        self.blocks = len(plan.parameters)
        about: dict[str, Any] = {"description": config.scheme.name, "total": plan.total_steps, "completed": step}
        if self._task is None:
            self._task = self._bar.add_task(status="", **about)
            if self.console.is_terminal:
                self._live.start()
        else:
            self._bar.update(self._task, status="", **about)

    def segment(self, step: int, values: dict[str, float]) -> None:
        self._latest |= values
        if "train/loss" in values:  # a scheme may record none
            self._losses = [*self._losses[-_KEPT:], values["train/loss"]]
        self._bar.update(self._task, completed=step, status=words.steps_a_second(values["time/steps_per_second"]))

    def epoch(self, epoch: int, values: dict[str, float]) -> None:
        self._latest |= values
        if (value := values.get(f"val/{self.monitor}")) is not None:
            self._values.append(value)
        every = max(1, self._epochs // 10)  # ten lines a run, however long it is
        if epoch % every and epoch != self._epochs:
            return
        parts = [f"epoch {epoch:>{len(str(self._epochs))}}/{self._epochs}"]
        names = dict.fromkeys(("train/loss", "val/loss", "val/accuracy", f"val/{self.monitor}"))
        if self.monitor != "loss" and values.get("val/loss") == values.get(f"val/{self.monitor}"):
            del names["val/loss"]  # the same number, under a name that says less
        parts += [f"{name.removeprefix('train/')} {values[name]:.4f}" for name in names if name in values]
        parts.append(words.steps_a_second(values["time/steps_per_second"]))
        parts += [
            f"{word} {' '.join(numbers)}"
            for word, prefix, shown in _ALIGNMENT
            if (numbers := [format(value, shown) for value in by_module(values, prefix).values()])
        ]
        self.console.print(f"  {self._fitting(parts)}")

    def note(self, text: str) -> None:
        self.console.print(f"  {text}", style="yellow")

    def curves(self) -> list[tuple[str, str]]:
        """The loss and the metric that is followed, each with its first value, a line of bars and its latest."""
        plain = self.console.options.ascii_only
        found = []
        for name, values in (("loss", self._losses), (f"val/{self.monitor}", self._values)):
            finite = [value for value in values if math.isfinite(value)]
            if len(finite) > 1:
                found.append((name, f"{finite[0]:.4g} {words.spark(finite, plain=plain)} {finite[-1]:.4g}"))
        return found

    def _picture(self) -> Group:
        """The bar; below it curves, the alignment, and how long modules wait, with a word on each."""
        table = PlainTable.grid(padding=(0, 2))
        rows = self.curves()
        if rows and len(self._values) > 1 and rows[-1][0] == f"val/{self.monitor}":
            best = max(self._values) if higher_is_better(self.monitor) else min(self._values)
            rows[-1] = (rows[-1][0], f"{rows[-1][1]}  best {best:.4g}")
        rows += told(self._latest)
        for name, text in rows:
            table.add_row("", name, Text(text, overflow="ellipsis", no_wrap=True))
        return Group(self._bar.get_renderable(), table)

    def _fitting(self, parts: list[str]) -> str:
        """On a terminal as many as one line holds, the first ones."""
        if self.console.is_terminal:
            while len("  ".join(parts)) + 2 > self.console.width and len(parts) > 2:
                parts = parts[:-1]
        return "  ".join(parts)


def told(metrics: dict[str, float]) -> list[tuple[str, str]]:
    """What the alignment and the waits of a run say, in words."""
    waits = list(by_module(metrics, "time/wait_fraction/").values())
    rows = (("alignment", words.alignment(by_module(metrics, "align/"))), ("waiting", words.waiting(waits)))
    return [(name, text) for name, text in rows if text]
