"""A study in the dashboard: its tags, by which its trials' view is made."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from unlocked.comparing.rows import Row
from unlocked.config import Config
from unlocked.studies.space import Space
from unlocked.studies.study import Record
from unlocked.tracking import collect_tags
from unlocked.tracking.keys import KIND_TAG, METRIC_TAG, NAME_TAG, STUDY, STUDY_TAG, SWEPT_TAG


def study_tags(config: Config, space: Space) -> dict[str, str]:
    """Of the study's own run."""
    keys = dict.fromkeys(key for dimension in space.dimensions for key in sorted(dimension.keys) if key != "seed")
    return {
        STUDY_TAG: config.name,
        "name": config.name,
        "model": str(config.model.get("name", "")),
        "dataset": config.data.name,
        **collect_tags(),
        KIND_TAG: STUDY,
        NAME_TAG: f"study {config.name}",
        METRIC_TAG: config.sweep.metrics()[0],
        SWEPT_TAG: json.dumps(list(keys)),
    }


def study_page(summary: Mapping[str, Any], records: Iterable[Record], mean: Callable[[Row], float]) -> dict[str, Any]:
    """What the study's page is made from."""
    folder, runs = Path(summary["study_dir"]), {}
    for record in records:
        for name, one in zip(record.runs, record.summaries, strict=False):
            runs[name] = one
    best = []
    config = summary.get("best_config")
    for row in summary["rows"][:10]:
        found = [name for name, one in runs.items() if any(one["metrics"] == kept for kept in row.seeds.values())]
        value = mean(row)
        if math.isfinite(value):
            best.append(
                {"label": _label(row), "value": value, "runs": [(name, f"s{runs[name]['seed']}") for name in found]}
            )
    return {
        "kind": STUDY,
        "study": summary["study"],
        "metric": summary["metric"] if isinstance(summary["metric"], str) else summary["metric"][0],
        "trials": summary["trials"],
        "complete": summary["complete"],
        "pruned": summary["pruned"],
        "failed": len(summary["failed"]),
        "best": best,
        "best_config": config and str(Path(config).absolute()),  # the page is read elsewhere
        "figures": [path.stem for path in shown_figures(summary)],
        "folder": str(folder),
    }


def shown_figures(summary: Mapping[str, Any]) -> list[Path]:
    """The figures that the page shows."""
    drawn = [Path(path) for path in summary.get("files", []) if path.endswith(".png")]
    return sorted(drawn, key=lambda path: _place(path.stem))[:4]


def _place(name: str) -> int:
    first = ("results", "history", "importances")
    return next((place for place, word in enumerate(first) if name.startswith(word)), len(first))


def _label(row: Row) -> str:
    """A trial of a search by its number, a group of a grid by its values."""
    trial = row.group.get("trial")
    if trial is None:
        return row.label
    rest = {key: value for key, value in row.group.items() if key != "trial"}
    return f"#{trial} {Row(rest).label}"
