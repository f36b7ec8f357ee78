"""What every data set keeps: splits of one shape that are the same whenever they are loaded."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from unlocked.data import DataSet
from unlocked.data.digest import digest
from unlocked.tasks import load


class DataContract:
    """Inherit and name the data set:

    class TestMine(DataContract):
        data = "mine"
        options = {"window": 16}
        root = "tests/files"        # where its files lie
    """

    data: ClassVar[str]
    options: ClassVar[dict[str, Any]] = {}
    root: ClassVar[str | None] = None

    def load(self, **more: Any) -> DataSet:
        return load(self.data, root=self.root, **{"validation": 0.2, "seed": 0, **self.options, **more})

    def test_splits_have_one_shape(self) -> None:
        data = self.load()
        assert data.validation is not None
        splits = {"train": data.train, "validation": data.validation, "test": data.test}
        for name, split in splits.items():
            assert len(split) > 0, f"{name} has no example"
            assert split.x.shape[1:] == data.train.x.shape[1:], name
            assert split.y.dtype == data.train.y.dtype, name
            assert split.extras.keys() == data.train.extras.keys(), name

    def test_inputs_are_finite_numbers_or_ids(self) -> None:
        x = self.load().train.x
        assert x.dtype in (torch.float32, torch.int64)
        assert bool(x.isfinite().all())

    def test_it_is_the_same_whenever_it_is_loaded(self) -> None:
        assert digest(self.load()) == digest(self.load())
