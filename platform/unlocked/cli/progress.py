"""The progress display: a bar on a terminal, a line per epoch elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from unlocked.cli.alive import Alive
from unlocked.cli.next_steps import looking
from unlocked.cli.terminal import Lossy
from unlocked.engines import ENGINES
from unlocked.metrics import by_module
from unlocked.plan.plan import Plan
from unlocked.rich_text import plain_console
from unlocked.schema.keys import TrackingConfig

# what stands in a line of an epoch, module by module: its word, metric and format
_ALIGNMENT = (
    ("align", "align/", "+.2f"),
    ("per example", "align/per_example/", "+.2f"),
    ("norm ratio", "align/norm_ratio/", ".2g"),
)


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
            transient=True,
        )
        self._task: Any = None
        self._epochs, self._monitor = 0, "accuracy"
        self.tracking = TrackingConfig()  # of the run that was started

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
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
                (config.scheme.name, "bold"),
                f", {modules} in {workers}, {plan.schedule}, seed {config.seed}{at}",
            )
        )
        self.console.print(f"  {run_dir.absolute()}")  # a run that was begun elsewhere goes on there
        self._epochs, self._monitor, self.tracking = plan.epochs, plan.make_task().monitor, config.tracking
        if self._task is None:
            self._task = self._bar.add_task(config.scheme.name, total=plan.total_steps, completed=step, status="")
            if self.console.is_terminal:
                self._bar.start()
        else:
            self._bar.update(
                self._task, description=config.scheme.name, total=plan.total_steps, completed=step, status=""
            )

    def segment(self, step: int, values: dict[str, float]) -> None:
        loss = f"loss {values['train/loss']:.4f}  " if "train/loss" in values else ""  # a scheme may record none
        status = f"{loss}{values['time/steps_per_second']:.0f} steps/s"
        self._bar.update(self._task, completed=step, status=status)

    def epoch(self, epoch: int, values: dict[str, float]) -> None:
        every = max(1, self._epochs // 10)  # ten lines a run, however long it is
        if epoch % every and epoch != self._epochs:
            return
        parts = [f"epoch {epoch:>{len(str(self._epochs))}}/{self._epochs}"]
        names = dict.fromkeys(("train/loss", "val/loss", "val/accuracy", f"val/{self._monitor}"))
        if self._monitor != "loss" and values.get("val/loss") == values.get(f"val/{self._monitor}"):
            del names["val/loss"]  # the same number, under a name that says less
        parts += [f"{name.removeprefix('train/')} {values[name]:.4f}" for name in names if name in values]
        parts.append(f"{values['time/steps_per_second']:.0f} steps/s")
        parts += [
            f"{word} {' '.join(numbers)}"
            for word, prefix, shown in _ALIGNMENT
            if (numbers := [format(value, shown) for value in by_module(values, prefix).values()])
        ]
        self.console.print("  " + "  ".join(parts))

    def note(self, text: str) -> None:
        self.console.print(f"  {text}", style="yellow")


def print_summary(summary: dict[str, Any], tracking: TrackingConfig) -> None:
    console = plain_console(highlight=False, soft_wrap=True)
    tests = "  ".join(f"{name} {value:.4f}" for name, value in summary["metrics"].items() if name.startswith("test/"))
    waits = [f"{w:.0%}" for w in summary["wait_fraction"] or []]
    waited = f", waiting {' '.join(waits)}" if len(waits) > 1 and ENGINES.get(summary["engine"]).on_workers else ""
    rate = summary["steps_per_second"]  # None if a finished run was resumed
    speed = f"{rate:.0f} steps/s{waited}, " if rate is not None else ""
    console.print(
        Text.assemble(
            (summary["scheme"], "bold"),
            f": {tests} ({summary['tested']} weights), {speed}{summary['seconds']:.1f} s in all",
        )
    )
    run = Path(summary["run_dir"]).absolute()
    console.print(f"  run folder: {run}", style="dim")
    if drawn := sorted(path.stem for path in (run / "figures").glob("*.png")):
        console.print(f"  in figures/: {', '.join(drawn)}", style="dim")
    if look := looking(tracking):
        console.print(f"  {look}", style="dim")
