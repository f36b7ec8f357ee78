"""The end of a run: its result beside the control, where its model is, and what to do next."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from unlocked.cli.next_steps import command, looking
from unlocked.cli.progress import told
from unlocked.cli.words import steps_a_second
from unlocked.colors import scheme_color
from unlocked.engines import ENGINES
from unlocked.errors import UnlockedError
from unlocked.metrics import higher_is_better
from unlocked.rich_text import plain_console
from unlocked.runs.checkpoint import WEIGHTS, Checkpoints
from unlocked.runs.control import control_of
from unlocked.runs.folder import MODEL
from unlocked.schema.keys import TrackingConfig
from unlocked.tracking.identity import CONTROL


def print_summary(
    summary: dict[str, Any],
    tracking: TrackingConfig,
    curves: Sequence[tuple[str, str]] = (),
    monitor: str | None = None,
    control: str = "",
) -> None:
    """`monitor`: the metric of the task, such as accuracy. `control`: the command that trains the control."""
    console = plain_console(highlight=False, soft_wrap=True)
    metrics, run = summary["metrics"], Path(summary["run_dir"]).absolute()
    tests = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items() if name.startswith("test/"))
    rate = summary["steps_per_second"]  # None if a finished run was resumed
    speed = f"{steps_a_second(rate)}, " if rate is not None else ""
    console.print(
        Text.assemble(
            (summary["scheme"], f"bold {scheme_color(summary['scheme'])}"),
            f": {tests} ({summary['tested']} weights), {speed}{summary['seconds']:.1f} s in all",
        )
    )
    waits = {} if ENGINES.get(summary["engine"]).on_workers else {"waiting": ""}
    rows = [*curves, *(row for row in told(metrics) if row[0] not in waits)]
    if beyond := beyond_training(summary, monitor):
        rows.append(("test split", beyond))
    if beside := against_control(run, summary, monitor):
        rows.append((f"{CONTROL} control", beside))
    elif control:
        rows.append((f"{CONTROL} control", f"no run of this configuration yet; to get one:\n    {control}"))
    checkpoints = Checkpoints(run)
    weights = checkpoints.best() if summary["tested"] == "best" else checkpoints.last()
    if weights is not None:
        rows.append(("model", str(run / MODEL if (run / MODEL).is_dir() else weights / WEIGHTS)))
        rows.append(("new inputs", f"{command('predict', run, 'FILE')}"))
    rows.append(("run folder", str(run)))
    if drawn := sorted(path.stem for path in (run / "figures").glob("*.png")):
        rows.append(("in figures/", ", ".join(drawn)))
    for name, text in rows:
        console.print(f"  {name}: {text}", style="dim")
    if look := looking(tracking, folder=run):
        console.print(f"  {look}", style="dim")


def beyond_training(summary: dict[str, Any], monitor: str | None) -> str:
    """Of a test split that is not as the training split: `level 40, ...: test/accuracy 0.9982, of the validation split
    1.0000`; empty of any other."""
    if not (words := summary.get("tested_on")):
        return ""
    test, validation = (summary["metrics"].get(f"{split}/{monitor}") for split in ("test", "val"))
    if test is None or validation is None:
        return str(words)
    return f"{words}: {monitor} {test:.4f}, and {validation:.4f} of the validation split, which is as trained on"


def against_control(run: Path, summary: dict[str, Any], monitor: str | None) -> str:
    """`test/accuracy 0.4521 (mean of 3 seeds); cdni is better by 0.1146`; empty if there is no control."""
    metric = f"test/{monitor}"
    value = summary["metrics"].get(metric)
    if summary["scheme"] == CONTROL or value is None or (control := control_of(run, metric)) is None:
        return ""
    seeds = f"mean of {control.seeds} seeds" if control.seeds > 1 else "one seed"
    better = control.beaten_by(value)
    verdict = (
        f"{summary['scheme']} is better by {abs(value - control.value):.4f}"
        if better
        else f"{summary['scheme']} is NO better: what it taught the lower modules does not help"
    )
    side = "higher" if higher_is_better(metric) else "lower"
    return f"{metric} {control.value:.4f} ({seeds}, {side} is better); {verdict}"


def how_to_get_the_control(arguments: argparse.Namespace, blocks: int) -> str:
    """The same command under the control; empty if there is none, as for Boltzmann machines and for a net of one block,
    which learns whatever the scheme, and of a search, whose candidates no gradient teaches."""
    from unlocked.config import load_config
    from unlocked.schemes import SCHEMES

    if not arguments.config or arguments.resume or blocks == 1:
        return ""
    kept = [word for word in arguments.overrides if not word.startswith("scheme.")]
    words = [arguments.config, *kept, f"scheme.name={CONTROL}"]
    try:
        begun = load_config(arguments.config, arguments.overrides)
        if begun.scheme.name == CONTROL or SCHEMES.get(begun.scheme.name).proposes:
            return ""
        if begun.parallel.modules == 1:  # it would be the last, and learn
            words = [*(word for word in words if not word.startswith("parallel.modules=")), "parallel.modules=2"]
        load_config(words[0], words[1:])
    except UnlockedError:
        return ""
    imports = [word for module in arguments.imports for word in ("--import", module)]
    return command("train", *words, *imports)
