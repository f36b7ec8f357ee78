"""A report from the tracking store: what it says, and the files that it is written to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unlocked.comparing.store import addressed
from unlocked.errors import UnlockedError
from unlocked.reporting import html, latex, markdown
from unlocked.reporting.answer import Reference
from unlocked.reporting.chapters import write
from unlocked.reporting.document import Document
from unlocked.reporting.gather import Gathered, gather
from unlocked.security import redact
from unlocked.tracking.identity import BASELINE, CONTROL

FORMATS = {"html": (".html", html.render), "markdown": (".md", markdown.render), "latex": (".tex", latex.render)}


@dataclass(frozen=True)
class Report:
    path: Path
    answers: list[str]  # one for each data set and task
    kept: str | None  # the run whose artifact it is
    problem: str | None = None  # why it is no artifact


def report(
    source: str | Path = "runs",
    names: Sequence[str] = (),
    *,
    experiment: str | None = None,
    conditions: Sequence[str] = (),
    metrics: Sequence[str] | None = None,
    baseline: str = BASELINE,
    control: str = CONTROL,
    quality: float | None = None,
    format: str = "html",
    out: Path | None = None,
    runs_root: Path = Path("runs"),
    command: str = "unlocked report",
) -> Report:
    """Writes the report of the runs that `gather` finds, and keeps it as an artifact of the study, or of the best run.

    Args:
        baseline, control: schemes to which every row's differences are taken, paired by seed.
        quality: of the metric that the task follows, the time to which is told; None: what all above the control
            reach.
        command: that writes it anew, as the report says it.
        out: the file; None: `report-<what>` in the runs folder.

    Raises ConfigError if no finished run matches, UnlockedError if there is no store.
    """
    found = gather(source, names, experiment, conditions, metrics, runs_root)
    references = (Reference(baseline, "baseline"), Reference(control, "control"))
    asked = [*names, *([experiment] if experiment else [])]
    document, answers = write(found, references, quality, asked, redact(command))
    ending, render = FORMATS[format]
    path = out or runs_root / f"report-{_plain(document)}{ending}"
    path.parent.mkdir(parents=True, exist_ok=True)
    render(document, path)
    run = _best(found)
    if run is None:
        return Report(path, answers, None)
    try:
        for each in (path, *([figures] if (figures := markdown.figures_of(path)).is_dir() else [])):
            _keep(source, run[0], each)
    except UnlockedError as error:
        return Report(path, answers, None, str(error))
    return Report(path, answers, run[1])


def _keep(source: str | Path, run: str, path: Path) -> None:
    store = addressed(source)
    for each in sorted(path.iterdir()) if path.is_dir() else [path]:
        store.keep(run, each, f"report/{path.name}" if path.is_dir() else "report")


def _best(found: Sequence[Gathered]) -> tuple[str, str] | None:
    """Id and name of the run that keeps the report: the study, if all are trials of one; else the best."""
    parents = {run.tags.get("mlflow.parentRunId") for gathered in found for run in gathered.runs}
    if len(parents) == 1 and (study := parents.pop()) is not None:
        return study, f"the study {found[0].runs[0].word('name')}"
    for gathered in found:
        for group in gathered.groups:  # the best first
            for member in group.members.values():
                return member.run.id, member.run.name
    return None


def _plain(document: Document) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in document.title.lower()).strip("-")[:60]
