"""Optuna's own plots of a search, interactive as HTML and as PNG."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna import Study

MOST = 4  # parameters in a contour plot: there is a panel for every two
_LOG = logging.getLogger("unlocked.studies")


def draw_search(study: Study, metrics: Sequence[str], folder: Path) -> list[Path]:
    """History, importances, slices, contours and parallel coordinates of one metric; the Pareto front of several.

    The paths of what was written, PNG before HTML. A plot that such a study does not have is left out: importances need
    two trials that differ, and contours two parameters.
    """
    import matplotlib

    matplotlib.use("Agg")  # a terminal has no window; Optuna draws by pyplot
    from optuna import visualization as html
    from optuna.visualization import matplotlib as png

    folder.mkdir(exist_ok=True)
    written: list[Path] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "experimental"; and what a plot leaves out
        for name, draw, arguments in _plots(study, metrics):
            for kind, module in (("png", png), ("html", html)):
                path = folder / f"{name}.{kind}"
                try:
                    _save(getattr(module, draw)(study, **arguments), path)
                except (ValueError, RuntimeError, ZeroDivisionError, IndexError) as error:
                    _LOG.info("no plot %s: %s", path.name, error)
                else:
                    written.append(path)
    script = folder / "plotly.min.js"
    return [*sorted(written, key=lambda path: path.suffix != ".png"), *([script] if script.exists() else [])]


def _plots(study: Study, metrics: Sequence[str]) -> list[tuple[str, str, dict[str, Any]]]:
    """Name, Optuna's function, and its arguments."""
    found: list[tuple[str, str, dict[str, Any]]] = []
    if len(metrics) > 1:
        if len(metrics) <= 3:
            found.append(("pareto", "plot_pareto_front", {"target_names": list(metrics)}))
        for i, metric in enumerate(metrics):
            target: dict[str, Any] = {"target": _value(i), "target_name": metric}
            found.append((f"importances {metric.replace('/', ' ')}", "plot_param_importances", target))
            found.append((f"history {metric.replace('/', ' ')}", "plot_optimization_history", target))
        return found
    named: dict[str, Any] = {"target_name": metrics[0]}
    found = [
        ("history", "plot_optimization_history", named),
        ("importances", "plot_param_importances", named),
        ("slices", "plot_slice", named),
        ("parallel coordinates", "plot_parallel_coordinate", named),
    ]
    trials = study.get_trials(deepcopy=False)
    if len({name for trial in trials for name in trial.params}) > 1:
        found.append(("contours", "plot_contour", named | {"params": _most_important(study)}))
    if any(trial.intermediate_values for trial in trials):
        found.append(("intermediate values", "plot_intermediate_values", {}))
    return found


def _value(i: int) -> Callable[[Any], float]:
    return lambda trial: trial.values[i]


def _most_important(study: Study) -> list[str] | None:
    """Those worth a panel; None for all of few."""
    from optuna.importance import get_param_importances

    try:
        return list(get_param_importances(study))[:MOST]
    except (ValueError, RuntimeError, ZeroDivisionError):
        return None


def _save(drawn: Any, path: Path) -> None:
    if path.suffix == ".html":
        drawn.write_html(path, include_plotlyjs="directory")  # one copy beside them: no network when it is opened
        return
    from matplotlib import pyplot

    figure = getattr(drawn, "flat", [drawn])[0].figure
    if getattr(drawn, "ndim", 0) == 2:  # a panel for every two parameters
        figure.set_size_inches(13, 11)
        figure.subplots_adjust(wspace=0.6, hspace=0.45)
    elif getattr(drawn, "ndim", 0) == 1:
        figure.set_size_inches(13, 4)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    pyplot.close(figure)
