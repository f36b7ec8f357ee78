"""Searches side by side: the best value so far, against trials and against training steps, by sampler and pruner."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich import box

from unlocked.colors import PALETTE
from unlocked.config import Config
from unlocked.drawing.style import drawing
from unlocked.errors import ConfigError
from unlocked.metrics import axis_label
from unlocked.rich_text import PlainTable
from unlocked.studies.search import is_grid, words_of
from unlocked.studies.space import Space
from unlocked.studies.status import find_study
from unlocked.studies.study import Record, Study, directions_of, stored_config


@dataclass(frozen=True)
class Search:
    """One study: after each trial, the best value so far and the training steps spent so far."""

    name: str
    label: str  # sampler, and pruner if there is one
    metric: str
    maximize: bool
    best: list[float]
    steps: list[int]

    @classmethod
    def of(cls, study: tuple[str, Config, list[Record]]) -> Search:
        name, config, records = study
        maximize = directions_of(config)[0] == "maximize"
        best, steps, spent, top = [], [], 0, -math.inf if maximize else math.inf
        per_epoch = next((s["steps"] / s["epochs"] for r in records for s in r.summaries if s.get("epochs")), 0.0)
        for record in records:
            if record.summaries and record.values and record.feasible:
                top = max(top, record.values[0]) if maximize else min(top, record.values[0])
            spent += sum(summary["steps"] for summary in record.summaries)
            spent += round(per_epoch * record.pruned) if record.pruned is not None else 0
            best.append(top)
            steps.append(spent)
        return cls(name, words_of(config), config.sweep.metrics()[0], maximize, best, steps)


def read(name: str, runs: Path) -> tuple[str, Config, list[Record]]:
    """The finished trials of a search. Raises `ConfigError` if there is none of this name."""
    folder = find_study(name, runs)
    config = stored_config(folder)
    if is_grid(config):
        raise ConfigError(f"--compare: {name} is a grid, which has no order to compare")
    records = list(Study(folder, config, Space(config), writes=False).records())
    if not any(record.summaries for record in records):
        raise ConfigError(f"--compare: no trial of {name} is complete")
    return name, config, records


def table(searches: Sequence[Search]) -> PlainTable:
    """A row per sampler and pruner; values are medians over its studies, with the least and the greatest."""
    _check(searches)
    trials = min(len(search.best) for search in searches)
    shown = PlainTable(
        title=f"{searches[0].metric}: the best so far, median over studies [least, greatest]", box=box.SIMPLE
    )
    for heading in ("", "studies", f"after {trials // 2} trials", f"after {trials} trials", "training steps"):
        shown.add_column(heading, justify="right" if heading else "left")
    for label, group in grouped(searches).items():
        half, full = ([search.best[n - 1] for search in group] for n in (max(1, trials // 2), trials))
        shown.add_row(
            label,
            str(len(group)),
            _spread(half),
            _spread(full),
            f"{median(search.steps[trials - 1] for search in group):,.0f}",
        )
    return shown


def grouped(searches: Sequence[Search]) -> dict[str, list[Search]]:
    groups: dict[str, list[Search]] = {}
    for search in searches:
        groups.setdefault(search.label, []).append(search)
    return groups


def draw(searches: Sequence[Search], path: Path) -> Path:
    """Two panels: against trials the mean with its spread, against training steps a line per study."""
    _check(searches)
    with drawing(path, columns=2) as (_, (by_trial, by_steps)):
        for colour, (label, group) in zip(PALETTE * len(searches), grouped(searches).items(), strict=False):
            count = min(len(search.best) for search in group)
            trials = range(1, count + 1)
            values = [[search.best[i] for search in group] for i in range(count)]
            by_trial.step(trials, [math.fsum(v) / len(v) for v in values], where="post", color=colour, label=label)
            by_trial.fill_between(
                trials,
                [min(v) for v in values],
                [max(v) for v in values],
                step="post",
                color=colour,
                alpha=0.13,
                linewidth=0,
            )
            for search in group:
                by_steps.step(search.steps, search.best, where="post", color=colour, alpha=0.8, linewidth=1.2)
        # all begin alike, far off: what is worth seeing comes after the first quarter of the trials
        known = [value for search in searches for value in search.best[len(search.best) // 4 :] if math.isfinite(value)]
        room = 0.05 * (max(known) - min(known)) or 0.01
        for panel, words in ((by_trial, "trials"), (by_steps, "training steps")):
            panel.set(xlabel=words, ylabel=axis_label(searches[0].metric), ylim=(min(known) - room, max(known) + room))
        studies = {len(group) for group in grouped(searches).values()}
        over = f"mean and spread of {max(studies)} studies" if max(studies) > 1 else "one study each"
        by_trial.set(title=f"Best {searches[0].metric} so far, {over}")
        by_steps.set(title="The same, each study")
        by_trial.legend(loc="lower right" if searches[0].maximize else "upper right")
    return path


def _check(searches: Sequence[Search]) -> None:
    for search in searches:
        if (search.metric, search.maximize) != (searches[0].metric, searches[0].maximize):
            raise ConfigError(
                f"--compare: {search.name} is about {search.metric}, {searches[0].name} about {searches[0].metric}"
            )


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.4f} [{min(values):.4f}, {max(values):.4f}]"
