"""MNIST and Fashion-MNIST: 60,000 + 10,000 grey images of 28x28, 10 classes, each as four IDX files.

LeCun, Cortes & Burges (1998); Xiao, Rasul & Vollgraf, arXiv:1708.07747 (2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unlocked.data.dataset import RawData, register_data
from unlocked.data.files.idx import read_idx
from unlocked.data.files.source import DataFile, Source
from unlocked.errors import DataError

MNIST_MIRROR = "https://storage.googleapis.com/cvdf-datasets/mnist/"
FASHION_MIRROR = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")  # package dataset-fashion-mnist

FASHION_NAMES = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]


@register_data("mnist", task="classification", family="images")
def mnist(source: Source, mirror: str = MNIST_MIRROR) -> RawData:
    """Images `(1, 28, 28)` / 255, then (x - 0.1307) / 0.3081, the training set's own constants."""
    return RawData(*_read(source, MNIST, mirror), class_names=list("0123456789"), normalise=(0.1307, 0.3081))


@register_data("fashion_mnist", task="classification", family="images")
def fashion_mnist(source: Source, mirror: str = FASHION_MIRROR) -> RawData:
    """Images `(1, 28, 28)` / 255, then (x - 0.2860) / 0.3530, the training set's own constants."""
    return RawData(*_read(source, FASHION, mirror), class_names=FASHION_NAMES, normalise=(0.2860, 0.3530))


@dataclass(frozen=True)
class _Published:
    md5: tuple[str, str, str, str]  # of the gzipped files at the mirror, in the order of STEMS
    folders: tuple[str | Path, ...]  # own folders first, root last: the file names are not unique
    labels_begin: bytes  # of the training labels: tells the two sets apart
    other: str


STEMS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",  # the same names in both sets
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)

MNIST = _Published(
    md5=(
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
    folders=("mnist", "mnist/raw", "MNIST/raw", "MNIST", "."),
    labels_begin=bytes([5, 0, 4, 1, 9, 2, 1, 3, 1, 4, 3, 5, 3, 6, 1, 7]),
    other="fashion_mnist",
)
FASHION = _Published(
    md5=(
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
    folders=(
        "fashion_mnist",
        "fashion_mnist/raw",
        "FashionMNIST/raw",
        "FashionMNIST",
        "fashion-mnist",
        ".",
        DEBIAN_FASHION,
    ),
    labels_begin=bytes([9, 0, 0, 3, 0, 2, 7, 2, 5, 5, 0, 9, 5, 5, 7, 9]),
    other="mnist",
)


Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _read(source: Source, published: _Published, mirror: str) -> Arrays:
    files = [_file(stem, md5) for stem, md5 in zip(STEMS, published.md5, strict=True)]
    paths = source.files(files, published.folders, mirror, hint=" (gzipped or not)")
    images, labels, test_images, test_labels = (
        read_idx(path, ndim) for path, ndim in zip(paths, (3, 1, 3, 1), strict=True)
    )
    foreign = FASHION if published is MNIST else MNIST
    if labels[:16].tobytes() == foreign.labels_begin:
        raise DataError(
            f"{paths[1]}: these are the labels of {published.other}, not of {source.name}; keep "
            f"the files of {source.name} in {source.root / source.name}"
        )
    return images[:, None], labels, test_images[:, None], test_labels


def _file(stem: str, md5: str) -> DataFile:
    dotted = stem.replace("-idx", ".idx")
    return DataFile(f"{stem}.gz", md5, also=(stem, f"{dotted}.gz", dotted))
