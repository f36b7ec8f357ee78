"""A run's model under a name in MLflow's registry."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from unlocked.errors import ConfigError, RunFailed, reason
from unlocked.files import read_json
from unlocked.runs.folder import MODEL
from unlocked.tracking.environment import MLFLOW_ENVIRONMENT
from unlocked.tracking.folder import TrackingFolder
from unlocked.tracking.uris import reachable, resolve_uri, split_credentials


def register(run_dir: Path, name: str, uri: str | None = None) -> str:
    """The model's address, such as `models:/digits/3`: a new version under `name`.

    `uri`: the store; by default the one that the run was sent to. Raises `ConfigError` for a run without a model there,
    `RunFailed` for a store that does not answer or does not take it.
    """
    if not name.strip() or any(sign in name for sign in "/:"):
        raise ConfigError(f"--register: {name!r} is no name of a model; it is not empty and has no / and no :")
    files = TrackingFolder(run_dir)
    run_id = read_json(files.mlflow).get("run_id")
    target = files.destination() or {}
    if run_id is None or (uri is None and not target):
        raise ConfigError(f"--register: {run_dir} is in no MLflow store (tracking was off, or nothing is sent yet)")
    if not (run_dir / MODEL).is_dir():
        raise ConfigError(f"--register: {run_dir} has no model/ yet: it has not finished, or is from an older version")
    address, credentials = split_credentials(resolve_uri(uri or target.get("uri"), run_dir.parent))
    if not reachable(address, timeout=3.0):
        raise RunFailed(f"--register: nobody answers at {address}")
    os.environ.update({**MLFLOW_ENVIRONMENT, **credentials})
    import mlflow
    from mlflow.exceptions import MlflowException

    mlflow.set_tracking_uri(address)
    try:
        found: Any = mlflow.register_model(f"runs:/{run_id}/{MODEL}", name)
    except MlflowException as error:
        raise RunFailed(f"--register: {address} does not take it: {reason(error)}") from None
    return f"models:/{found.name}/{found.version}"
