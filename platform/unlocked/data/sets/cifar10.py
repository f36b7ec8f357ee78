"""CIFAR-10: 50,000 + 10,000 colour images of 32x32, 10 classes (Krizhevsky, 2009)."""

from __future__ import annotations

import tarfile
import zlib
from pathlib import Path

import numpy as np

from unlocked.data.dataset import RawData, register_data
from unlocked.data.files.cifar import read_batch
from unlocked.data.files.source import DataFile, Source
from unlocked.errors import DataError

MIRROR = "https://www.cs.toronto.edu/~kriz/"
ARCHIVE = DataFile("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a")
FOLDER = "cifar-10-batches-py"
BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
PLACES = (".", "cifar10", "CIFAR10", "cifar-10")


@register_data("cifar10", task="classification", family="images")
def cifar10(source: Source, mirror: str = MIRROR) -> RawData:
    """Images `(3, 32, 32)` / 255, then per channel by the training set's own constants.

    Mean (0.4914, 0.4822, 0.4465), deviation (0.2470, 0.2435, 0.2616). Read from the folder
    `cifar-10-batches-py` or straight from `cifar-10-python.tar.gz`; the pickles inside are not trusted
    (`unlocked.data.files.cifar`).
    """
    unpacked = source.find([DataFile(name) for name in BATCHES], [f"{place}/{FOLDER}" for place in PLACES])
    if unpacked:
        batches = [read_batch(_bytes(path), str(path)) for path in unpacked]
    else:
        (archive,) = source.files([ARCHIVE], PLACES, mirror, hint=f" or its folder {FOLDER}")
        batches = [read_batch(data, f"{archive}: {name}") for name, data in _members(archive)]
    *train, (x_test, y_test) = batches
    x_train, y_train = (np.concatenate(arrays) for arrays in zip(*train, strict=True))
    return RawData(
        x_train,
        y_train,
        x_test,
        y_test,
        class_names=NAMES,
        normalise=((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    )


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def _members(archive: Path) -> list[tuple[str, bytes]]:
    """Batches of the archive in the order of `BATCHES`, read in one pass; nothing is written to disk."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(archive, "r:*") as tar:
            for member in tar:
                name = member.name.removeprefix(f"{FOLDER}/")
                if name in BATCHES and member.isreg() and (stream := tar.extractfile(member)):
                    found[name] = stream.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(f"{archive}: damaged or truncated archive ({error}); fetch it again") from None
    missing = [name for name in BATCHES if name not in found]
    if missing:
        raise DataError(f"{archive}: has no {', '.join(missing)}; fetch it again")
    return [(name, found[name]) for name in BATCHES]
