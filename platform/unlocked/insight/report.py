"""What `unlocked inspect` makes of runs: figures, a table, and their way to the runs' records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unlocked import strict_json
from unlocked.errors import ConfigError
from unlocked.files import write_whole
from unlocked.insight.attack import STEPS
from unlocked.insight.looking import draw_adversarial, draw_attributions, draw_filters
from unlocked.insight.robustness import Found, curves
from unlocked.insight.subject import Subject
from unlocked.tracking.after import add_to_finished

IDS = (
    "its inputs are ids of tokens: between two of them there is nothing, so an attack that changes an input by at most "
    "epsilon cannot be made"
)


@dataclass(frozen=True)
class Request:
    """What is asked of the attacks."""

    epsilons: Sequence[float] = (0.02, 0.05, 0.1, 0.2)
    steps: int = STEPS
    target: str | None = None
    seed: int = 0
    shown: int = 8  # examples in a figure
    insists: bool = False  # that attacks are made: for ids an error, not a note


@dataclass
class Report:
    files: list[Path] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    completeness: dict[str, float] = field(default_factory=dict)  # by run: see `looking.draw_attributions`
    notes: list[str] = field(default_factory=list)

    def rows(self) -> list[dict[str, Any]]:
        return [found.row() for found in self.found]


def inspect(
    subjects: Sequence[Subject], against: Sequence[Subject], request: Request, out: Path | None = None
) -> Report:
    """Looks into each of the subjects, and shows their adversarial examples to the runs of `against`.

    Files go to `out`, else to `inspect/` in the folder of each run (what compares several, to the first), from where
    they go with the run to MLflow. Raises `ConfigError` if the runs do not look at the same examples.
    """
    check_alike([*subjects, *against])
    report, folders = Report(), _folders(subjects, out)
    own: dict[Path, list[Path]] = {subject.run: [] for subject in subjects}
    for subject in subjects:
        filters = draw_filters(subject, folders[subject.run])
        drawn, missed = draw_attributions(subject, folders[subject.run], request.shown)
        own[subject.run] += [path for path in (filters, drawn) if path is not None]
        if missed is not None:
            report.completeness[subject.run.name] = missed
        else:
            report.notes.append(f"{subject.run.name}: no layer embeds its ids, so there is nothing to attribute to")
    if any(subject.reads_ids for subject in subjects):
        if request.insists:
            raise ConfigError(f"{subjects[0].run}: {IDS}; leave out --epsilon, --steps, --target and --against")
        report.notes.append(f"no attack: {IDS}")
    else:
        target = None if request.target is None else subjects[0].class_of(request.target)
        report.found = curves(subjects, against, request.epsilons, target, request.steps, request.seed)
        for subject in subjects:
            own[subject.run].append(draw_adversarial(subject, folders[subject.run], request, target))
        first = subjects[0].run
        shared = out or folders[first]
        own[first] += [draw_robustness(report.found, shared / "robustness.png"), write_table(report.found, shared)]
    report.files = [path for paths in own.values() for path in paths]
    if out is None:
        for run, paths in own.items():
            why_not = add_to_finished(run, paths, "inspect", metrics_of(report.found, run.name))
            report.notes += [why_not] if why_not else []
    return report


def check_alike(subjects: Sequence[Subject]) -> None:
    """Raises `ConfigError` if one of them looks at other examples than the first, or at others' classes."""
    first = subjects[0]
    for other in subjects[1:]:
        namesake = next((one.run for one in subjects if one.run.name == other.run.name and one.run != other.run), None)
        if namesake is not None:
            raise ConfigError(
                f"{other.run}: has the name of {namesake}, and figures and tables tell runs apart by it; rename the "
                f"folder of one"
            )
        same = (
            first.split.x.shape == other.split.x.shape
            and first.data.class_names == other.data.class_names
            and bool((first.split.y == other.split.y).all())
            and bool((first.split.x == other.split.x.to(first.split.x)).all())
        )
        if not same:
            raise ConfigError(
                f"{other.run}: its examples are not those of {first.run}: runs that are inspected together need the "
                f"same data, data.options, data.transforms and data.seed ({first.data.name}, {other.data.name})"
            )


def metrics_of(found: Sequence[Found], run: str) -> dict[str, float]:
    """Of examples made against this run and shown to it, as metrics."""
    return {
        f"inspect/{each.attack}/{each.epsilon:g}" if each.epsilon else "inspect/clean": each.accuracy
        for each in found
        if each.made == each.shown == run
    }


def write_table(found: Sequence[Found], folder: Path) -> Path:
    """`table.csv` and `table.json`; gives the first."""
    rows = [each.row() for each in found]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [",".join(columns), *(",".join(str(row.get(column, "")) for column in columns) for row in rows)]
    write_whole(folder / "table.json", strict_json.dumps(rows, indent=1))
    return write_whole(folder / "table.csv", "\n".join(lines) + "\n")


def draw_robustness(found: Sequence[Found], path: Path) -> Path:
    """Curves by scheme: the runs of one scheme are a mean and a band."""
    from unlocked.drawing import insight

    least = min(each.epsilon for each in found if each.attack != "none")
    clean = {each.shown: each.accuracy for each in found if each.attack == "none"}
    white: dict[str, dict[str, dict[float, list[float]]]] = {}
    transfer: dict[str, dict[float, list[float]]] = {}
    scheme = {each.shown: each.scheme for each in found}
    for each in found:
        if each.attack == "none":
            continue
        if each.made == each.shown:
            curve = white.setdefault(each.scheme, {}).setdefault(each.attack, {})
        elif each.attack == "pgd":
            label = f"of {scheme[each.made]}, shown to {each.scheme}"
            curve = transfer.setdefault(label, {})
        else:
            continue
        if each.epsilon == least:
            curve.setdefault(0.0, []).append(clean[each.shown])
        curve.setdefault(each.epsilon, []).append(each.accuracy)
    return insight.robustness(
        {label: {attack: sorted(curve.items()) for attack, curve in of.items()} for label, of in white.items()},
        {label: sorted(curve.items()) for label, curve in transfer.items()},
        path,
    )


def _folders(subjects: Sequence[Subject], out: Path | None) -> Mapping[Path, Path]:
    """Where the figures of each run go."""
    if out is None:
        return {subject.run: subject.run / "inspect" for subject in subjects}
    return {subject.run: out if len(subjects) == 1 else out / subject.run.name for subject in subjects}
