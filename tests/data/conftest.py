"""Files as the published sets have them, tiny; and no test that reads the user's own folders."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _no_user_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
    monkeypatch.setenv("UNLOCKED_DATA", str(tmp_path / "default-root"))


@pytest.fixture
def idx_bytes():
    """`idx_bytes(array)`: the IDX file of a uint8 array."""

    def encode(array: np.ndarray) -> bytes:
        return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()

    return encode


@pytest.fixture
def mnist_files(idx_bytes):
    """`mnist_files(folder)`: 20 training and 10 test images in four gzipped files; gives their arrays."""

    def write(folder: Path, names=lambda stem: f"{stem}.gz", zipped=True) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(0)
        arrays = {
            "train-images-idx3-ubyte": rng.integers(0, 256, (20, 28, 28), dtype=np.uint8),
            "train-labels-idx1-ubyte": np.arange(20, dtype=np.uint8) % 10,
            "t10k-images-idx3-ubyte": rng.integers(0, 256, (10, 28, 28), dtype=np.uint8),
            "t10k-labels-idx1-ubyte": np.arange(10, dtype=np.uint8),
        }
        folder.mkdir(parents=True, exist_ok=True)
        for stem, array in arrays.items():
            data = idx_bytes(array)
            (folder / names(stem)).write_bytes(gzip.compress(data) if zipped else data)
        return arrays

    return write
