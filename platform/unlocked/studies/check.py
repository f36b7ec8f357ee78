"""A whole study is checked before its first trial starts: its search, its trials, its metrics and its plot."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from unlocked.config import Config, to_dict
from unlocked.data import DataSet
from unlocked.errors import ConfigError
from unlocked.loop.transfer import plan_run
from unlocked.numerals import is_number
from unlocked.plan.plan import Plan, load_data
from unlocked.studies.report import group_keys, group_of
from unlocked.studies.search import check_search, is_grid
from unlocked.studies.space import Point, Space, name_of
from unlocked.tasks.chosen import names_of
from unlocked.tracking import flatten
from unlocked_models.contract.registry import unknown

SHOWN = 10  # refused trials of which each gets its line
LOOKED_AT = 200  # corners of a search's space that are drawn and checked


@dataclass(frozen=True)
class Checked:
    """`queued` are the points that a study begins with; `warnings` name what cannot run, a line each."""

    queued: list[Point]
    warnings: list[str]


def check_study(config: Config, space: Space) -> Checked:
    """The points to begin with: of a grid all, without those that cannot run if `sweep.refused` is skip. The sampler of
    a search knows nothing of what cannot run: those trials will fail.

    Raises `ConfigError`: a line per reason, with the first trial that it stops; or one line about the rest.
    """
    check_search(config)
    grid = is_grid(config)
    for i, point in enumerate(config.sweep.enqueue):
        space.check_point(point, f"sweep.enqueue[{i}]")
    points = (
        space.grid()
        if grid
        else [*_corners(space), *(point for point in config.sweep.enqueue if len(point) == len(space.dimensions))]
    )
    refused = _refused(config, space, points)
    stopped, lines = sum(map(len, refused.values())), _lines(refused)
    skipped = grid and config.sweep.refused == "skip"
    if (points and stopped == len(points)) or (grid and stopped and not skipped):
        remedy = "" if stopped == len(points) else "\nsweep.refused=skip leaves them out"
        raise ConfigError(f"sweep.space: {stopped} of {len(points)} trials cannot run:\n" + "\n".join(lines) + remedy)
    if grid:
        left_out = [point for cannot in refused.values() for point in cannot]
        points = [point for point in points if point not in left_out]
        _check_plot(config, space, points)
    elif config.sweep.plot.x is not None or config.sweep.plot.lines:
        raise ConfigError("sweep.plot: a search has the plots of its study; x and lines are for grids")
    if not stopped:
        return Checked(list(points) if grid else config.sweep.enqueue, [])
    if grid:
        total = stopped + len(points)
        return Checked(list(points), [f"{stopped} of {total} trials cannot run and are left out:", *lines])
    found = f"{stopped} of {len(points)} corners of the space cannot run; such trials will fail:"
    return Checked(config.sweep.enqueue, [found, *lines])


def _corners(space: Space) -> list[Point]:
    """Some of the points that have every range at one of its ends: their number grows with that of the dimensions."""
    draws = random.Random(0)
    drawn = (space.suggest(lambda dimension: draws.choice(dimension.ends())) for _ in range(LOOKED_AT))
    return list({tuple(point.items()): point for point in drawn}.values())


def _refused(config: Config, space: Space, points: Sequence[Point]) -> dict[str, list[Point]]:
    """Those that cannot run, by reason."""
    refused: dict[str, list[Point]] = {}
    seen: dict[str, str | None] = {}  # a plan costs some milliseconds and does not depend on the seed
    data: dict[str, DataSet] = {}
    for point in points:
        try:
            trial = space.config(point)
            key = json.dumps(to_dict(replace(trial, seed=0)), sort_keys=True)
            if key not in seen:
                seen[key] = _reason_against(trial, _asked_for(config), data)
            reason = seen[key]
        except ConfigError as error:
            reason = str(error)
        if reason is not None:
            refused.setdefault(reason, []).append(point)
    return refused


def _lines(refused: Mapping[str, Sequence[Point]]) -> list[str]:
    lines = [
        f"  {name_of(stopped[0])}: {reason}" + (f" (and {len(stopped) - 1} more)" if len(stopped) > 1 else "")
        for reason, stopped in refused.items()
    ]
    if len(lines) > SHOWN:
        lines[SHOWN:] = [f"  and {len(lines) - SHOWN} more reasons"]
    return lines


def _asked_for(config: Config) -> list[tuple[str, str]]:
    """The metrics that a study wants of its trials, each with the key that names it."""
    sweep = config.sweep
    return [
        *(("sweep.metric", metric) for metric in sweep.metrics()),
        *(("sweep.constraints", metric) for metric in sweep.constraints),
        *([("sweep.plot.y", sweep.plot.y)] if sweep.plot.y is not None else []),
    ]


def _reason_against(trial: Config, metrics: Sequence[tuple[str, str]], data: dict[str, DataSet]) -> str | None:
    key = json.dumps(to_dict(trial)["data"], sort_keys=True)
    if key not in data:
        data[key] = load_data(trial)
    try:
        plan = plan_run(trial, data[key])
    except ConfigError as error:
        return str(error)
    return next(
        (f"{key}: {reason}" for key, metric in metrics if (reason := _reason_against_metric(metric, plan))), None
    )


def _reason_against_metric(metric: str, plan: Plan) -> str | None:
    """Metrics of evaluations are known beforehand; others are looked for in the first trial that ends."""
    task = plan.make_task()
    monitor = task.monitor
    known = [
        f"{split}/{name}"
        for split in ("test", "val")
        for name in ("loss", monitor, *task.also, *names_of(plan.config.metrics))
    ] + [
        f"best/val_{monitor}",
        "train/loss",
        "time/steps_per_second",
        "time/examples_per_second",
    ]
    if plan.config.train.curriculum is not None:
        known.append("curriculum/level")
    if plan.config.callbacks and not metric.startswith(("val/", "test/", "best/", "train/")):
        return None  # a callback may log it: it is looked for in the first trial that ends
    of_module = re.search(r"/module_\d+$", metric) or metric.startswith("time/")
    if metric not in known and not of_module:
        return unknown("metric", metric, known)
    if metric.startswith(("val/", "best/")) and plan.config.data.validation == 0:
        return f"{metric} needs a validation split; data.validation is 0"
    return None


def _check_plot(config: Config, space: Space, points: Sequence[Point]) -> None:
    plot = config.sweep.plot
    known = [
        *(dimension.name for dimension in space.dimensions),
        *sorted({key for dimension in space.dimensions for key in dimension.keys}),
        *flatten(to_dict(space.base)),
    ]
    for field, keys in (("x", [plot.x] if plot.x is not None else []), ("lines", plot.lines)):
        for key in keys:
            if key not in known:
                raise ConfigError(f"sweep.plot.{field}: {unknown('key', key, known)}")
    if plot.x is not None and not any(is_number(space.shown(point, plot.x)) for point in points):
        raise ConfigError(f"sweep.plot.x: no trial has a number for {plot.x}; leave x out for bars")
    keys, taken = group_keys(config, space), dict[tuple[str, ...], Point]()
    for point in points:
        group = (*group_of(space, point, keys).values(), space.shown(point, "seed"))
        if group in taken:
            raise ConfigError(
                f"sweep.plot.lines: {', '.join(keys)} are the same for {name_of(taken[group])} and "
                f"{name_of(point)}; name what tells them apart"
            )
        taken[group] = point
