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


@pytest.fixture
def sd_record():
    """`sd_record(atoms, bonds, more lines, property=value)`: a molecule as SD files have it."""

    def record(atoms: list[str], bonds: list[tuple[int, int, int]], more: str = "", **properties: str) -> str:
        counts = f"{len(atoms):3d}{len(bonds):3d}  0  0  0  0  0  0  0  0999 V2000\n"
        lines = "".join(f"    0.0000    0.0000    0.0000 {atom:<3} 0  0  0\n" for atom in atoms)
        lines += "".join(f"{a:3d}{b:3d}{order:3d}  0\n" for a, b, order in bonds)
        said = "".join(f">  <{name}>  (1) \n{value}\n\n" for name, value in properties.items())
        return f"mol\n     made\n\n{counts}{lines}{more}M  END\n{said}$$$$\n"

    return record
