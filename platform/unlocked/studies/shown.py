"""A study in the dashboard: its tags, by which its trials' view is made."""

from __future__ import annotations

import json

from unlocked.config import Config
from unlocked.studies.space import Space
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
