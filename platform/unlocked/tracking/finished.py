"""The finished runs of a tracking store."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from unlocked.errors import ConfigError, UnlockedError
from unlocked.network import spare_loopback
from unlocked.security import redact
from unlocked.tracking.environment import MLFLOW_ENVIRONMENT
from unlocked.tracking.sink import init_lock
from unlocked.tracking.uris import reachable, resolve_uri, sqlite_path

NO_DATABASE = "no tracking database at {}; train something first: unlocked train quickstart"
NOBODY = "nobody answers at {}; is the tracking server up?"
_FINISHED = "attributes.status = 'FINISHED'"


class FinishedRun:
    """A finished run, reduced to what comparing needs."""

    def __init__(self, run: Any, metrics: Sequence[str]) -> None:
        self.tags, self.params, self.name = run.data.tags, run.data.params, run.info.run_name
        self.started = run.info.start_time or 0
        self.is_trial = "mlflow.parentRunId" in self.tags or "unlocked.parent" in self.tags
        self.seed = self.word("seed") or "-"
        finals = {metric: _final(run.data.metrics, metric) for metric in metrics}
        self.metrics = {metric: value for metric, value in finals.items() if value is not None}

    def word(self, key: str) -> str:
        return self.tags.get(key) or self.params.get(key) or ""


def finished_runs(source: str | Path, experiment: str | None, metrics: Sequence[str]) -> list[FinishedRun]:
    """All finished runs of a store, or of one experiment. Raises as `tracking.compare` does."""
    return [FinishedRun(run, metrics) for run in _search(source, experiment)]


def _final(metrics: dict[str, float], metric: str) -> float | None:
    if metric in metrics:
        return metrics[metric]
    of_module = re.compile(re.escape(metric) + r"/module_\d+")
    modules = [value for key, value in metrics.items() if of_module.fullmatch(key)]
    return math.fsum(modules) / len(modules) if modules else None


def _search(source: str | Path, experiment: str | None) -> Iterable[Any]:
    uri = _address(source)
    if not reachable(uri, timeout=3.0):
        raise UnlockedError(NOBODY.format(redact(uri)))
    spare_loopback()
    for name, value in MLFLOW_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    try:
        with init_lock(uri):
            client = MlflowClient(uri)
            known = {found.name: found.experiment_id for found in client.search_experiments()}
        if experiment is not None and experiment not in known:
            names = ", ".join(sorted(known)) or "none"
            raise ConfigError(f"--experiment: no experiment '{experiment}' in {redact(uri)} (known: {names})")
        ids = [known[experiment]] if experiment is not None else list(known.values())
        runs: list[Any] = []
        token = None
        while True:
            page = client.search_runs(ids, _FINISHED, page_token=token, max_results=1000)
            runs += page
            if not (token := page.token):
                return runs
    except MlflowException as error:
        reason = redact(" ".join(str(error).split()))[:200]
        raise UnlockedError(f"cannot read runs from {redact(uri)}: {reason}") from error


def _address(source: str | Path) -> str:
    text = str(source)
    uri = resolve_uri(text, Path()) if "://" in text else resolve_uri(None, Path(text))
    database = sqlite_path(uri)
    if database is not None and not database.exists():
        raise UnlockedError(NO_DATABASE.format(database))
    return uri
