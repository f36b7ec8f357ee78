"""The figures of a search, from Optuna's study: in the house style as PNG and SVG, and interactive in one page."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlocked.colors import BLUE
from unlocked.drawing import search as figures
from unlocked.drawing.search import Parameter, Search, Try
from unlocked.drawing.style import about, with_svg
from unlocked.files import write_whole
from unlocked.metrics import axis_label

if TYPE_CHECKING:
    from optuna import Study

PAGE = "study.html"
_LOG = logging.getLogger("unlocked.studies")
_FAULTS = (ValueError, RuntimeError, ZeroDivisionError, IndexError)  # of a plot that such a study does not have


def draw_search(study: Study, metrics: Sequence[str], folder: Path, subject: str = "") -> list[Path]:
    """History, importances, slices, contours and parallel coordinates of one metric; the Pareto front of several.

    The paths of what was written: PNG, each with its SVG, and `study.html`, which holds all interactive plots and
    needs no network and no other file. A plot that such a study does not have is left out: importances need two trials
    that differ, and contours two parameters. `subject`: which study it is, as the second line of its figures.
    """
    folder.mkdir(exist_ok=True)
    written: list[Path] = []
    with warnings.catch_warnings(), about(subject or study.study_name):
        warnings.simplefilter("ignore")  # "experimental"; and what a plot leaves out
        if len(metrics) == 1:
            found = _search(study, metrics[0])
            wanted: list[tuple[str, Callable[[Search, Path], Path | None]]] = [("history", figures.history)]
            wanted += [("importances", figures.importances)] * bool(found.importances)
            if found.parameters:
                wanted += [("slices", figures.slices), ("parallel coordinates", figures.parallel)]
                wanted += [("contours", figures.contours)]
            wanted += [("intermediate values", figures.reported)] * any(each.reported for each in found.tries)
            drawn = [draw(found, folder / f"{name}.png") for name, draw in wanted] if found.complete else []
        else:
            drawn = _of_several(study, metrics, folder)
        written += with_svg([path for path in drawn if path is not None])
        page = _page(study, metrics, folder / PAGE, subject or study.study_name)
    return [*written, *([page] if page is not None else [])]


def _of_several(study: Study, metrics: Sequence[str], folder: Path) -> list[Path | None]:
    drawn: list[Path | None] = []
    if len(metrics) == 2:
        trials = [trial for trial in study.get_trials(deepcopy=False) if trial.values and _finite(trial.values)]
        front = {trial.number for trial in study.best_trials}
        best = [place for place, trial in enumerate(trials) if trial.number in front]
        values = [(trial.values[0], trial.values[1]) for trial in trials]
        drawn += [figures.front(values, best, metrics, folder / "pareto.png")] if values else []
    for i, metric in enumerate(metrics):
        found, name = _search(study, metric, i), metric.replace("/", " ")
        if found.complete:
            drawn.append(figures.history(found, folder / f"history {name}.png"))
            if found.importances:
                drawn.append(figures.importances(found, folder / f"importances {name}.png"))
    return drawn


def _search(study: Study, metric: str, i: int = 0) -> Search:
    trials = study.get_trials(deepcopy=False)
    tries = [
        Try(
            trial.number,
            trial.params,
            trial.values[i] if trial.state.name == "COMPLETE" and trial.values else None,
            dict(sorted(trial.intermediate_values.items())),
        )
        for trial in trials
    ]
    return Search(metric, study.directions[i].name == "MAXIMIZE", tries, _swept(trials), _importances(study, i))


def _swept(trials: Sequence[Any]) -> list[Parameter]:
    """What has more than one value in the space."""
    from optuna.distributions import CategoricalDistribution

    space = {name: one for trial in trials for name, one in trial.distributions.items() if not one.single()}
    return [
        Parameter(
            name,
            getattr(one, "log", False),
            [str(choice) for choice in one.choices] if isinstance(one, CategoricalDistribution) else (),
        )
        for name, one in space.items()
    ]


def _importances(study: Study, i: int) -> dict[str, float]:
    """Empty where they cannot be told."""
    from optuna.importance import get_param_importances

    try:
        found = get_param_importances(study, target=_value(i) if len(study.directions) > 1 else None)
    except _FAULTS:
        return {}
    swept = {parameter.name for parameter in _swept(study.get_trials(deepcopy=False))}
    return {name: share for name, share in found.items() if name in swept}


# the page ---------------------------------------------------------------------------------------------------


def _page(study: Study, metrics: Sequence[str], path: Path, subject: str) -> Path | None:
    """All interactive plots, with the one script that they need."""
    parts: list[str] = []
    for title, draw, arguments in _plots(study, metrics):
        try:
            from optuna import visualization

            drawn = getattr(visualization, draw)(study, **arguments)
        except _FAULTS as error:
            _LOG.info("no plot %s: %s", title, error)
            continue
        drawn.update_layout(
            title=None,
            width=None,  # as wide as the page
            autosize=True,
            height=820 if draw == "plot_contour" else 430,
            template="plotly_white",
            font={"family": "system-ui, 'DejaVu Sans', sans-serif", "size": 13, "color": "#222222"},
            colorway=[BLUE],
            margin={"l": 70, "r": 40, "t": 20, "b": 70},
        )
        drawn.update_xaxes(automargin=True)
        drawn.update_yaxes(automargin=True)
        parts.append(f"<h2>{escape(title)}</h2>")
        parts.append(drawn.to_html(full_html=False, include_plotlyjs=len(parts) == 1, config={"responsive": True}))
    if not parts:
        return None
    style = (
        "body{margin:0 auto;max-width:1100px;padding:1.5rem;background:#fff;color:#222;font:16px/1.5 system-ui,"
        "'DejaVu Sans',sans-serif}h1{font-size:1.6rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .3rem}p{color:#5f5f5f}"
    )
    done = sum(trial.state.name == "COMPLETE" for trial in study.get_trials(deepcopy=False))
    words = f"{done} complete trials, by {' and '.join(axis_label(metric) for metric in metrics)}"
    body = f"<h1>{escape(subject)}</h1><p>{escape(words)}</p>" + "\n".join(parts)
    head = f'<meta charset="utf-8"><title>{escape(subject)}</title><style>{style}</style>'
    return write_whole(path, f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n')


def _plots(study: Study, metrics: Sequence[str]) -> list[tuple[str, str, dict[str, Any]]]:
    """Title, Optuna's function, and its arguments."""
    found: list[tuple[str, str, dict[str, Any]]] = []
    if len(metrics) > 1:
        if len(metrics) <= 3:
            found.append(("Front", "plot_pareto_front", {"target_names": list(metrics)}))
        for i, metric in enumerate(metrics):
            target: dict[str, Any] = {"target": _value(i), "target_name": metric}
            found.append((f"History of {metric}", "plot_optimization_history", target))
            found.append((f"Importances for {metric}", "plot_param_importances", target))
        return found
    named: dict[str, Any] = {"target_name": metrics[0]}
    swept = [parameter.name for parameter in _swept(study.get_trials(deepcopy=False))]
    found = [("History", "plot_optimization_history", named), ("Importances", "plot_param_importances", named)]
    if swept:
        found.append(("Each parameter alone", "plot_slice", named | {"params": swept}))
        found.append(("All parameters", "plot_parallel_coordinate", named | {"params": swept}))
    if len(swept) > 1:
        leading = [parameter.name for parameter in _search(study, metrics[0]).leading(figures.MOST)]
        found.append(("Two parameters at a time", "plot_contour", named | {"params": leading}))
    if any(trial.intermediate_values for trial in study.get_trials(deepcopy=False)):
        found.append(("What trials reported", "plot_intermediate_values", {}))
    return found


def _value(i: int) -> Callable[[Any], float]:
    return lambda trial: trial.values[i]


def _finite(values: Sequence[float]) -> bool:
    return all(map(math.isfinite, values))
