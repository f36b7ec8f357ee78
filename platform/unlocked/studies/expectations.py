"""What presets promise (`expect`), held against what the trials of a study came to: the table of models and schemes.

    expect:
      cdni: {test/accuracy: {min: 0.9}}

A promise is of the mean over the seeds. The table has a row per configuration without its scheme and seed, a column per
scheme, each cell the mean [least, greatest] of the metric that the preset names first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

from unlocked.files import write_whole
from unlocked.studies.space import Point, Space
from unlocked.studies.study import Record

MATRIX = "matrix.md"
_OF_A_CELL = ("scheme.name", "seed")  # what does not make a row


@dataclass
class Cell:
    """One configuration under one scheme, over its seeds."""

    row: str
    scheme: str
    metric: str  # shown: the first that the preset expects of any scheme
    bounds: dict[str, dict[str, float]]  # promised of this scheme: metric -> min, max
    summaries: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def values(self, metric: str) -> list[float]:
        return [summary["metrics"].get(metric, math.nan) for summary in self.summaries]

    def broken(self) -> list[str]:
        """The promises that do not hold, in words."""
        found = [f"{self.row} {self.scheme}: {failure}" for failure in self.failures]
        for metric, bound in self.bounds.items():
            values = self.values(metric)
            mean = fmean(values) if values else math.nan
            low, high = bound.get("min", -math.inf), bound.get("max", math.inf)
            if not low <= mean <= high:
                wanted = f"at least {low:g}" if mean < low else f"at most {high:g}"
                found.append(
                    f"{self.row} {self.scheme}: {metric} is {mean:.4g} over {len(values)} seeds, expected {wanted}"
                )
        return found

    def words(self) -> str:
        values = self.values(self.metric)
        if not values:
            return "failed" if self.failures else ""
        mark = "" if not self.bounds else " ✗" if self.broken() else " ✓"
        spread = f" [{min(values):.4g}, {max(values):.4g}]" if len(values) > 1 else ""
        return f"{fmean(values):.4g}{spread}{mark}"


def cells_of(space: Space, records: Iterable[Record]) -> list[Cell]:
    """Every cell of a study whose configurations expect something, in the order of its trials."""
    cells: dict[tuple[str, str], Cell] = {}
    for record in records:
        row = " ".join(str(label) for name, label in record.point.items() if name not in _OF_A_CELL)
        scheme = space.shown(record.point, "scheme.name")
        cell = cells.get((row, scheme))
        if cell is None:
            cell = cells[row, scheme] = _cell(space, record.point, row, scheme)
        cell.summaries += record.summaries
        cell.failures += [record.failure] if record.failure is not None else []
    return [cell for cell in cells.values() if cell.metric]


def _cell(space: Space, point: Point, row: str, scheme: str) -> Cell:
    expect = space.config(point).expect
    first = next((metric for bounds in expect.values() for metric in bounds), "")
    return Cell(row, scheme, first, dict(expect.get(scheme, {})))


def write_table(cells: Sequence[Cell], path: Path) -> Path:
    """The table in Markdown."""
    schemes = list(dict.fromkeys(cell.scheme for cell in cells))
    rows: dict[str, dict[str, Cell]] = {}
    for cell in cells:
        rows.setdefault(cell.row, {})[cell.scheme] = cell
    lines = [f"| | metric | {' | '.join(schemes)} | parameters | steps/s |", "|" + "---|" * (len(schemes) + 4)]
    for row, of_row in rows.items():
        some = next(iter(of_row.values()))
        summaries = [summary for cell in of_row.values() for summary in cell.summaries]
        parameters = f"{summaries[0]['parameters']:,}" if summaries else ""
        own = [summary["steps_per_second"] for summary in (of_row.get("backprop") or some).summaries]
        speed = f"{median(own):.0f}" if own else ""
        cells_in_order = [of_row[scheme].words() if scheme in of_row else "" for scheme in schemes]
        lines.append(f"| {' | '.join([row, some.metric, *cells_in_order, parameters, speed])} |")
    return write_whole(path, "\n".join(lines) + "\n")
