"""Data sets by name: what they hold, and how it is split, normalised and drawn. `unlocked.tasks.load` loads one.

A set of your own is one function that returns its arrays; `register_data` shows the whole of it.
"""

from unlocked.data import sets as _sets  # noqa: F401  (registers the built-in sets)
from unlocked.data import transforms as _transforms  # noqa: F401  (and transforms)
from unlocked.data.dataset import DATA, DataSet, RawData, Split, asks_for_task, register_data, task_of_data
from unlocked.data.files.source import DataFile, Source
from unlocked.data.loading.datasets import from_dataset
from unlocked.data.loading.load import check_data_options, load_as
from unlocked.data.rows import RowSource, RowTensor
from unlocked.data.rows.files import open_rows
from unlocked.data.sampler import TrainBatches, eval_rows, in_order
from unlocked.data.transform import (
    TRANSFORMS,
    PerExample,
    Transform,
    check_transforms,
    register_transform,
    with_float_options,
)
from unlocked_models.contract.batch import Ragged

__all__ = [
    "DATA",
    "TRANSFORMS",
    "DataFile",
    "DataSet",
    "PerExample",
    "Ragged",
    "RawData",
    "RowSource",
    "RowTensor",
    "Source",
    "Split",
    "TrainBatches",
    "Transform",
    "asks_for_task",
    "check_data_options",
    "check_transforms",
    "eval_rows",
    "from_dataset",
    "in_order",
    "load_as",
    "open_rows",
    "register_data",
    "register_transform",
    "task_of_data",
    "with_float_options",
]
