"""A tracking store by its address: names of its experiments, series of its runs, and a place for files of a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from unlocked.comparing.finished import FinishedRun, address_of
from unlocked.errors import UnlockedError
from unlocked.metrics import by_module
from unlocked.network import spare_loopback
from unlocked.security import redact
from unlocked.tracking.environment import MLFLOW_ENVIRONMENT
from unlocked.tracking.uris import NOBODY, reachable

_SERIES = ("align/", "time/compute_ms/", "time/wait_ms/", "time/communicate_ms/", "sg/relative_loss/")  # of modules


@dataclass
class Store:
    uri: str

    @property
    def shown(self) -> str:
        return redact(self.uri)

    @cached_property
    def _client(self) -> Any:
        if not reachable(self.uri, timeout=3.0):
            raise UnlockedError(NOBODY.format(self.shown))
        spare_loopback()
        for name, value in MLFLOW_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow.tracking import MlflowClient

        return MlflowClient(self.uri)

    def experiments(self) -> dict[str, str]:
        """Their ids, by name."""
        with _one_line(f"cannot read experiments from {self.shown}"):
            return {found.name: found.experiment_id for found in self._client.search_experiments()}

    def series(self, run: FinishedRun) -> dict[str, list[tuple[int, float, float]]]:
        """`(step, seconds since the run began, value)` of what a report shows."""
        wanted = [key for key in run.metrics if key.startswith(("val/", "train/loss", "test/"))]
        wanted += [f"{prefix}module_{k}" for prefix in _SERIES for k in by_module(run.metrics, prefix)]
        with _one_line(f"cannot read the series of {run.name} from {self.shown}"):
            points = {key: self._client.get_metric_history(run.id, key) for key in wanted}
        return {
            key: [(point.step, (point.timestamp - run.started) / 1000, point.value) for point in found]
            for key, found in points.items()
        }

    def keep(self, run: str, path: Path, folder: str) -> None:
        """A file as an artifact of a run."""
        with _one_line(f"cannot keep {path.name} in {self.shown}"):
            self._client.log_artifact(run, str(path), folder)


def addressed(source: str | Path) -> Store:
    """By its address, or of the runs root that its database lies in."""
    return Store(address_of(source))


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise UnlockedError(f"{what}: {redact(' '.join(str(error).split()))[:200]}") from error
