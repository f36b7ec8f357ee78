"""Views of an experiment in MLflow's dashboard: which columns, which order, which charts; written as tags of it.

MLflow keeps a shared view as a tag of the experiment: a name and the state of the page, packed. That is no documented
interface; it is as MLflow 3.17 reads it (`tests/tracking/test_views.py`, `test_screenshots.py`). A dashboard that does
not know such a view opens the experiment without it, and a store that refuses the tags keeps its runs all the same.
"""

from __future__ import annotations

import base64
import json
import time
import uuid
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from unlocked.metrics import higher_is_better
from unlocked.tracking.keys import DIRECTION_TAG, KIND_TAG, METRIC_TAG, STUDY, STUDY_TAG, SWEPT_TAG

_SHARED = "mlflow.sharedViewState."
_KNOWN = "mlflow.unlocked.views"  # tag of an experiment: what its views were written for
_VERSION = 3  # of the views below: another one writes them anew
_OURS = "unlocked"  # key of a view: a checksum, which one that somebody changed no longer fits
_MOST_MODULES, _MOST_METRICS = 16, 4
RESULTS, BY_SCHEME, CHARTS, CHARTS_BY_SCHEME, TRIALS = "results", "by-scheme", "charts", "charts-by-scheme", "trials"
_NAMES = {
    RESULTS: "Results: best first",
    BY_SCHEME: "By scheme: mean over its runs",
    CHARTS: "Charts",
    CHARTS_BY_SCHEME: "Charts by scheme",
    TRIALS: "Trials of the latest study",
}
_KEY = "unlocked-{}"
_NO_STUDIES = f"tags.`{STUDY_TAG}` IS NULL"
_NO_TRIALS = f"{_NO_STUDIES} AND tags.`unlocked.parent` IS NULL"  # a mean over rates that a search tried says nothing
_WITHOUT_STUDY = (RESULTS, BY_SCHEME, CHARTS, CHARTS_BY_SCHEME)


@dataclass(frozen=True)
class Shape:
    """What the runs of an experiment have, as far as its views depend on it."""

    metrics: list[str] = field(default_factory=list)  # that their tasks follow, the latest first
    falling: list[str] = field(default_factory=list)  # those of them that are better low
    modules: int = 1
    study: str | None = None  # the folder of the latest
    study_metric: str | None = None
    swept: list[str] = field(default_factory=list)

    def with_run(self, tags: Mapping[str, str]) -> Shape:
        monitor = tags.get("monitor")
        metrics = [name for name in self.metrics if name != monitor]
        falling = [name for name in self.falling if name != monitor]
        if monitor is not None:
            known = tags.get(DIRECTION_TAG)
            metrics.insert(0, monitor)
            is_falling = known == "min" if known else not higher_is_better(f"test/{monitor}")
            falling += [monitor] if is_falling else []
        count = tags.get("modules", "")
        modules = min(max(self.modules, int(count) if count.isdigit() else 1), _MOST_MODULES)
        return replace(self, metrics=metrics[:_MOST_METRICS], falling=falling, modules=modules)

    def with_study(self, folder: str, metric: str, swept: Sequence[str]) -> Shape:
        return replace(self, study=folder, study_metric=metric, swept=list(swept))


@dataclass(frozen=True)
class Kept:
    """What an experiment notes of its views: what they were written for, by which version, and which."""

    shape: Shape
    version: int = 0
    written: Sequence[str] = ()


def shape_after(shape: Shape, tags: Mapping[str, str], folder: str) -> Shape:
    """What an experiment has after a run or a study with these tags, in a folder of this name."""
    if METRIC_TAG in tags:
        return shape.with_study(folder, tags[METRIC_TAG], json.loads(tags.get(SWEPT_TAG, "[]")))
    return shape.with_run(tags) if tags.get(KIND_TAG) != STUDY else shape


def keep(client: Any, experiment_id: str, change: Callable[[Shape], Shape]) -> bool:
    """Writes the views of an experiment if `change`, a function of its `Shape`, asks for others; whether it did.

    A view that somebody has changed or deleted since stays so. The note comes last: a server that dies before it gets
    all of them the next time.
    """
    tags = client.get_experiment(experiment_id).tags
    known = read(tags) or Kept(Shape())
    shape = change(known.shape)
    if shape == known.shape and known.version == _VERSION:
        return False
    found = states(shape)
    for key, state in found.items():
        tag = _SHARED + _KEY.format(key)
        if key not in known.written or _is_ours(tags.get(tag, "")):
            client.set_experiment_tag(experiment_id, tag, _packed(_NAMES[key], state))
    note = {"version": _VERSION, "written": list(found), **asdict(shape)}
    client.set_experiment_tag(experiment_id, _KNOWN, json.dumps(note))
    return True


def read(tags: Mapping[str, str]) -> Kept | None:
    """For which runs the views of an experiment were written, by which version; None if there is no such note."""
    try:
        found = json.loads(tags[_KNOWN])
        version, written = found.pop("version"), found.pop("written", [])
        if not all(isinstance(each, list) for each in (written, found["metrics"], found["falling"], found["swept"])):
            return None
        return Kept(Shape(**found), version, written)
    except (KeyError, ValueError, TypeError, AttributeError):
        return None


def has_trials(tags: Mapping[str, str]) -> bool:
    """Whether an experiment with these tags has the view of a study's trials."""
    return _SHARED + _KEY.format(TRIALS) in tags


def links(url: str, experiment_id: str | None, with_trials: bool = False) -> list[tuple[str, str]]:
    """Names of views and where they are; `url`: of the dashboard. Without an experiment, the list of them.

    >>> links("http://127.0.0.1:5000", "1")[0]  # doctest: +ELLIPSIS
    ('Results', 'http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=...')
    """
    if experiment_id is None:
        return [("Experiments", f"{url}/#/experiments?{_TRAINING}")]
    keys = [TRIALS, *_WITHOUT_STUDY] if with_trials else [*_WITHOUT_STUDY]
    return [
        (
            _NAMES[key].partition(":")[0].partition(" of ")[0],
            f"{url}/#/experiments/{experiment_id}/runs?{_TRAINING}{mode}&viewStateShareKey={_KEY.format(key)}",
        )
        for key in keys
        for mode in ("&compareRunsMode=CHART" if key in (CHARTS, CHARTS_BY_SCHEME) else "",)
    ]


_TRAINING = "workflowType=machine_learning"  # else MLflow opens on traces of language models


def run_link(experiment_id: str, run_id: str) -> str:
    """Of a run's page, from any page of the dashboard."""
    return f"#/experiments/{experiment_id}/runs/{run_id}?{_TRAINING}"


def states(shape: Shape) -> dict[str, dict[str, Any]]:
    """The state of the page of every view."""
    metric = shape.metrics[0] if shape.metrics else "accuracy"
    order = {"orderByKey": f"metrics.`test/{metric}`", "orderByAsc": metric in shape.falling}
    columns = _columns(
        ["scheme", "seed", "model", "dataset", "modules", "lag", "replicas", "engine"],
        [
            *(f"{split}{name}" for name in shape.metrics or [metric] for split in ("test/", "best/val_")),
            "time/median_steps_per_second",
            *(f"time/wait_fraction/module_{k}" for k in range(min(shape.modules, 4))),
        ],
        ["optimizer.lr", "train.epochs"],
    )
    plain = {"searchFilter": _NO_STUDIES, "selectedColumns": columns, **order}
    by_scheme = {
        "searchFilter": _NO_TRIALS,
        "groupBy": {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": "scheme"}]},
        "groupsExpanded": {},
    }
    charts = _charts(shape, metric)
    found = {
        RESULTS: plain,
        BY_SCHEME: {**plain, **by_scheme},
        CHARTS: {**plain, **charts},
        CHARTS_BY_SCHEME: {**plain, **by_scheme, **charts},
    }
    if shape.study is not None and shape.study_metric is not None:
        found[TRIALS] = _trials(shape.study, shape.study_metric, shape.swept)
    return {key: {**_PAGE, **state} for key, state in found.items()}


def _trials(study: str, metric: str, swept: Sequence[str]) -> dict[str, Any]:
    return {
        "searchFilter": f"tags.`unlocked.parent` = '{study}'",
        "orderByKey": f"metrics.`{metric}`",
        "orderByAsc": not higher_is_better(metric),
        "selectedColumns": _columns(
            ["trial", "best", "scheme", "seed"], list(dict.fromkeys([metric, "time/train_seconds"])), swept
        ),
        "compareRunSections": [_section("search", "1 Search"), _section("learning", "2 Learning")],
        "compareRunCharts": [
            _chart("search", "PARALLEL", metric, selectedParams=list(swept), selectedMetrics=[metric]),
            _bar("search", metric),
            _line("learning", [metric]),
            _line("learning", ["train/loss", "val/loss"], "log"),
        ],
    }


def _charts(shape: Shape, metric: str) -> dict[str, Any]:
    per_module = [f"module_{k}" for k in range(shape.modules)]

    def all_modules(series: str) -> list[str]:
        return [f"{series}/{module}" for module in per_module]

    speed = "time/median_steps_per_second"
    return {
        "compareRunSections": [
            _section("result", "1 Result"),
            _section("learning", "2 Learning: train and validation"),
            _section("decoupling", "3 Decoupling: all modules"),
            _section("speed", "4 Speed and waiting"),
            _section("system", "5 System"),
        ],
        "compareRunCharts": [
            _bar("result", f"test/{metric}"),
            _chart("result", "SCATTER", speed, xaxis=_axis(speed), yaxis=_axis(f"test/{metric}")),
            *(_bar("result", f"test/{name}") for name in shape.metrics[1:]),
            _line("learning", ["train/loss", "val/loss"], "log"),
            _line("learning", [f"val/{metric}"]),
            _line("decoupling", all_modules("align")),
            _line("decoupling", all_modules("sg/loss"), "log"),
            _line("decoupling", all_modules("align/norm_ratio"), "log"),
            _bar("speed", speed),
            _line("speed", all_modules("time/wait_fraction")),
            _line("speed", ["time/steps_per_second"]),
            _line("system", ["system/cpu_percent"]),
            _line("system", ["system/memory_mb"]),
        ],
    }


_PAGE: dict[str, Any] = {
    "startTime": "ALL",
    "lifecycleFilter": "Active",
    "datasetsFilter": [],
    "modelVersionFilter": "All Runs",
    "columnOrder": [],
    "columnWidths": {},
    "runsHiddenMode": "FIRST_20_RUNS",
    "viewMaximized": False,
    "runListHidden": False,
    "isAccordionReordered": False,
    "useGroupedValuesInCharts": True,
    "hideEmptyCharts": True,
    "groupBy": None,
    "groupsExpanded": {},
    "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
}


def _columns(tags: Sequence[str], metrics: Sequence[str], params: Sequence[str]) -> list[str]:
    return [
        *(f"tags.`{key}`" for key in tags),
        *(f"metrics.`{key}`" for key in metrics),
        *(f"params.`{key}`" for key in params),
    ]


def _axis(metric: str) -> dict[str, str]:
    return {"key": metric, "type": "METRIC"}


def _section(key: str, name: str) -> dict[str, Any]:
    return {"uuid": key, "name": name, "display": True, "isReordered": False, "deleted": False}


def _chart(section: str, kind: str, metric: str, **own: Any) -> dict[str, Any]:
    named = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([section, kind, metric, own], sort_keys=True))
    return {
        "uuid": named.hex,
        "type": kind,
        "deleted": False,
        "isGenerated": False,
        "metricSectionId": section,
        "metricKey": metric,
        **own,
    }


def _bar(section: str, metric: str) -> dict[str, Any]:
    return _chart(section, "BAR", metric)


def _line(section: str, metrics: list[str], scale: str = "linear") -> dict[str, Any]:
    return _chart(
        section,
        "LINE",
        metrics[0],
        selectedMetricKeys=metrics,
        xAxisKey="step",
        scaleType=scale,
        lineSmoothness=0,
        useGlobalXaxisKey=True,
        useGlobalLineSmoothing=True,
        selectedXAxisMetricKey="",
        yAxisKey="metric",
        selectedYAxisMetricKey=metrics[0],
        xAxisScaleType="linear",
        range={},
    )


def _packed(name: str, state: Mapping[str, Any]) -> str:
    now = int(time.time() * 1000)
    whole = base64.b64encode(zlib.compress(json.dumps(state).encode(), 9)).decode()
    state_tag = f"deflate;{whole}"
    view = {"name": name, "createdAt": now, "updatedAt": now, "state": state_tag}
    return json.dumps({**view, _OURS: _mark(name, state_tag)})


def _is_ours(view: str) -> bool:
    """Whether a view is as it was written here, and was not deleted."""
    try:
        found = json.loads(view)
        return bool(found[_OURS] == _mark(found["name"], found["state"]))
    except (KeyError, ValueError, TypeError):
        return False


def _mark(name: str, state: str) -> str:
    return f"{zlib.crc32(f'{name} {state}'.encode()):08x}"
