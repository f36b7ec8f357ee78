"""A SQLite store that is whole or absent: MLflow makes its tables in dozens of steps, and a kill may come at any.

So a new one is made under another name and renamed; one that a killed process left half made is made again. One that is
damaged is named in one line: the records of its runs are still in their folders.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unlocked.errors import UnlockedError
from unlocked.files import locked, written_whole
from unlocked.tracking.uris import sqlite_path, sqlite_uri

_BESIDE = ("-journal", "-wal", "-shm")  # of SQLite: applied to whatever bears the database's name
WAY_OUT = "move it away: the next command makes it again from the run folders"


@contextmanager
def opening(uri: str) -> Iterator[None]:
    """Held while a store is opened for the first time: MLflow's migrations do not bear company.

    Inside it a SQLite store is whole. Raises `UnlockedError`, one line, for a damaged one.
    """
    with contextlib.ExitStack() as held:
        if (lock := _lock_of(uri)) is not None:
            with contextlib.suppress(PermissionError, FileNotFoundError):  # of another user, and only to be read
                held.enter_context(locked(lock))
        if (database := sqlite_path(uri)) is not None and not _is_whole(database):
            _make(database)
        yield


def _lock_of(uri: str) -> Path | None:
    if uri.startswith(("http://", "https://")):
        return None
    if (database := sqlite_path(uri)) is not None:
        return database.with_name(database.name + ".lock")
    name = hashlib.sha256(uri.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"unlocked-tracking-{os.getuid()}-{name}.lock"


def _is_whole(database: Path) -> bool:
    """Whether MLflow has opened it once: its last step makes an experiment. A database of somebody else's is theirs."""
    if not database.exists() or not database.stat().st_size:
        return False
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=20)) as connection:
            tables = {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
            if "experiments" in tables:
                return connection.execute("select 1 from experiments").fetchone() is not None
            return bool(tables)
    except sqlite3.OperationalError:  # locked by somebody: MLflow waits for it
        return True
    except sqlite3.DatabaseError as error:
        raise UnlockedError(f"{database}: {error}; {WAY_OUT}") from None


def _make(database: Path) -> None:
    from mlflow.tracking import MlflowClient

    draft = database.with_name(f".{database.name}.made-by-{os.getpid()}")
    for unfinished in database.parent.glob(f".{database.name}.made-by-*"):
        unfinished.unlink()
    try:
        MlflowClient(sqlite_uri(draft)).search_experiments(max_results=1)
        for ending in _BESIDE:
            database.with_name(database.name + ending).unlink(missing_ok=True)
        with written_whole(database) as part:
            shutil.copyfile(draft, part)  # its connections stay with the draft
    finally:
        for ending in ("", *_BESIDE):
            draft.with_name(draft.name + ending).unlink(missing_ok=True)
