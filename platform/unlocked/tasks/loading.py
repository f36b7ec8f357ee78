"""From a name to a `DataSet`, whose targets its own task checks and reads: `load("digits", validation=0.1)`."""

from __future__ import annotations

from typing import Any

from unlocked.data import DataSet, load_as
from unlocked.errors import DataError
from unlocked.tasks.base import TASKS, Task
from unlocked_models.contract.registry import UnknownName


def load(name: str, **options: Any) -> DataSet:
    """The registered data set `name`, split and normalised, with the keywords of `unlocked.data.load_as`: `root`,
    `validation`, `seed`, `download`, and the set's own options. Raises `DataError`, one line."""

    def task_of(task: str) -> Task:
        try:
            return TASKS.get(task)()
        except UnknownName as error:
            raise DataError(f"data {name!r}: it is registered for an {error}") from None

    return load_as(name, task_of, **options)
