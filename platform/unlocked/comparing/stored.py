"""A finished run as a store has it, and all of a SQLite store in four queries.

Asked through MLflow, 1,000 runs cost an import of a second and 80,000 objects. A database whose tables are not as these
queries know them is left to MLflow, as is every store that is no file; a test holds both answers to be equal.
"""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_RUNS = (
    "select {columns} from runs join experiments using (experiment_id){table} "
    "where runs.status = 'FINISHED' and runs.lifecycle_stage = 'active' and experiments.lifecycle_stage = 'active'"
)
_KNOWN = "select experiment_id, name from experiments where lifecycle_stage = 'active'"
_LATEST_FIRST = " order by runs.start_time is null, runs.start_time desc, runs.run_uuid"


@dataclass(frozen=True)
class StoredRun:
    """What comparing reads of a run."""

    id: str
    name: str
    experiment: str  # its id
    started: int  # milliseconds since 1970
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)  # the last value of each


def of_database(database: Path) -> tuple[dict[str, str], list[StoredRun]] | None:
    """Ids of experiments by name, and all finished runs, the latest first; None if MLflow has to be asked."""
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=20)) as connection:
            connection.execute("begin")  # one state for all queries
            known = {name: str(number) for number, name in connection.execute(_KNOWN)}
            chosen = "runs.run_uuid, runs.name, runs.experiment_id, runs.start_time"
            found = {
                run: StoredRun(run, name or "", str(experiment), started or 0)
                for run, name, experiment, started in connection.execute(
                    _RUNS.format(columns=chosen, table="") + _LATEST_FIRST
                )
            }
            for run, key, value in _entries(connection, "tags", ("value",)):
                if value is not None:
                    found[run].tags[key] = value
            for run, key, value in _entries(connection, "params", ("value",)):
                found[run].params[key] = value
            for run, key, value, is_nan in _entries(connection, "latest_metrics", ("value", "is_nan")):
                found[run].metrics[key] = math.nan if is_nan else float(value)
    except (sqlite3.Error, TypeError, ValueError):
        return None
    return known, list(found.values())


def _entries(connection: sqlite3.Connection, table: str, columns: Sequence[str]) -> sqlite3.Cursor:
    chosen = ", ".join(f"{table}.{column}" for column in ("run_uuid", "key", *columns))
    return connection.execute(_RUNS.format(columns=chosen, table=f" join {table} using (run_uuid)"))
