"""The data set of a run, as MLflow's own kind of input: its name, digest, sizes and source."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def log_data(client: Any, run_id: str, data: Mapping[str, Any]) -> None:
    """Logs the data set; again, it is the same input.

    `data`: `name`, `digest`, and what its profile says: the number of examples of each split, shapes, classes.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    profile = {key: value for key, value in data.items() if key not in ("name", "digest", "source")}
    entry = Dataset(
        name=str(data.get("name", "data"))[:500],
        digest=str(data.get("digest", ""))[:36],
        source_type="code",
        source=json.dumps({"data": data.get("source") or data.get("name")})[:60_000],
        schema=None,
        profile=json.dumps(profile)[:60_000],
    )
    client.log_inputs(run_id, [DatasetInput(entry, [InputTag("mlflow.data.context", "train")])])
