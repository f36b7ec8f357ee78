"""The configuration of a run whose data Python hands over."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from unlocked.config import Config
from unlocked.data.loading.datasets import batch_size_of
from unlocked.data.sets.handed import NAME, options_for


def with_handed(config: Config, data: Any) -> Config:
    """With `dataset` as its data set, and the batch size of a `DataLoader`. Options of another set are left behind.

    Raises `DataError`, one line, for what is no data set.
    """
    own = config.data
    options = options_for(data, own.options if own.name == NAME else {})
    size = batch_size_of(data) or own.batch_size
    return replace(config, data=replace(own, name=NAME, options=options, batch_size=size))
