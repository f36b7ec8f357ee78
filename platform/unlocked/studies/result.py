"""What `sweep` gives back: the summary of a study as a mapping, its trials as a table, its figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlocked.runs.result import Picture, picture_of

if TYPE_CHECKING:
    import pandas

TRIALS, PLOTS = "trials.csv", "plots"  # in a study's folder


class StudyResult(dict[str, Any]):
    """The summary: `study["best"]`, `study["complete"]`, paths of its files."""

    @property
    def folder(self) -> Path:
        return Path(self["study_dir"])

    @property
    def best(self) -> dict[str, Any] | None:
        """The trial, its parameters and value; of a grid the group, its mean and number of seeds."""
        found: dict[str, Any] | None = self["best"]
        return found

    def frame(self) -> pandas.DataFrame:
        """A row for each trial: number, state, what was varied, values, seconds, run folders."""
        import pandas

        return pandas.read_csv(self.folder / TRIALS)

    def figure(self, name: str = "results") -> Picture:
        """`results` of a grid, or a plot of a search; raises `ConfigError` that names those there are."""
        plots = self.folder / PLOTS
        return picture_of(name, plots if plots.is_dir() and not (self.folder / f"{name}.png").exists() else self.folder)
