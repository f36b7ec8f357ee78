import hashlib
import http.server
import threading
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from unlocked.data.sets import mnist as files
from unlocked.errors import DataError
from unlocked.tasks import load


def message(name, **options) -> str:
    with pytest.raises(DataError) as caught:
        load(name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_four_files_become_normalised_images(name, tmp_path, mnist_files):
    arrays = mnist_files(tmp_path / name)
    data = load(name, root=tmp_path)
    assert data.in_shape == (1, 28, 28)
    assert data.n_outputs == 10
    mean, std = {"mnist": (0.1307, 0.3081), "fashion_mnist": (0.2860, 0.3530)}[name]
    expected = (arrays["train-images-idx3-ubyte"][:, None] / 255 - mean) / std
    assert np.allclose(data.train.x.numpy(), expected, atol=1e-6)  # float32 rounding
    assert data.test.y.tolist() == list(range(10))


@pytest.mark.parametrize("folder", ["mnist", "mnist/raw", "MNIST/raw", "."])
@pytest.mark.parametrize("naming", ["plain", "dotted"])
def test_usual_folders_and_names_are_found(tmp_path, mnist_files, folder, naming):
    names = {"plain": lambda stem: stem, "dotted": lambda stem: stem.replace("-idx", ".idx")}[naming]
    mnist_files(tmp_path / folder, names=names, zipped=False)
    assert len(load("mnist", root=tmp_path).train) == 20


def test_the_root_comes_from_the_environment_when_none_is_given(tmp_path, mnist_files):
    mnist_files(tmp_path / "default-root" / "mnist")
    assert len(load("mnist").train) == 20


def test_missing_files_are_named_with_where_they_go(tmp_path):
    said = message("mnist", root=tmp_path)
    for part in (
        "train-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
        str(tmp_path / "MNIST" / "raw"),
        "data.download=true",
        files.MNIST_MIRROR,
    ):
        assert part in said


def test_files_that_disagree_in_number_are_refused(tmp_path, mnist_files, idx_bytes):
    mnist_files(tmp_path / "mnist")
    (tmp_path / "mnist" / "train-labels-idx1-ubyte.gz").write_bytes(idx_bytes(np.zeros(7, dtype=np.uint8)))
    assert "20 examples but y_train has 7" in message("mnist", root=tmp_path)


def test_mnist_files_are_not_taken_for_fashion_mnist(tmp_path, mnist_files, idx_bytes):
    mnist_files(tmp_path)
    labels = np.frombuffer(files.MNIST.labels_begin + bytes(4), dtype=np.uint8)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(idx_bytes(labels))
    assert "these are the labels of mnist, not of fashion_mnist" in message("fashion_mnist", root=tmp_path)
    assert len(load("mnist", root=tmp_path).train) == 20


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def mirror(tmp_path, mnist_files, monkeypatch):
    """A server of tiny files at 127.0.0.1, whose checksums stand in for the published ones."""
    folder = tmp_path / "server"
    mnist_files(folder)
    md5 = tuple(hashlib.md5((folder / f"{stem}.gz").read_bytes()).hexdigest() for stem in files.STEMS)
    monkeypatch.setattr(files, "MNIST", replace(files.MNIST, md5=md5))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_missing_files_are_downloaded_only_when_allowed(tmp_path, mirror):
    root = tmp_path / "root"
    assert "data.download=true" in message("mnist", root=root, mirror=mirror)
    assert not root.exists()
    assert len(load("mnist", root=root, mirror=mirror, download=True).train) == 20
    assert sorted(p.name for p in (root / "mnist").iterdir()) == sorted(f"{stem}.gz" for stem in files.STEMS)
    assert len(load("mnist", root=root).train) == 20, "found without the mirror afterwards"


def test_only_the_files_that_are_lacking_are_downloaded(tmp_path, mirror):
    root = tmp_path / "root"
    load("mnist", root=root, mirror=mirror, download=True)
    kept = root / "mnist" / f"{files.STEMS[0]}.gz"
    before = kept.stat().st_mtime_ns
    (root / "mnist" / f"{files.STEMS[1]}.gz").unlink()
    load("mnist", root=root, mirror=mirror, download=True)
    assert kept.stat().st_mtime_ns == before


@pytest.mark.skipif(not files.DEBIAN_FASHION.is_dir(), reason="dataset-fashion-mnist (Debian) not installed")
def test_the_published_fashion_mnist_has_the_statistics_it_is_normalised_by(tmp_path):
    data = load("fashion_mnist", root=tmp_path)
    assert (len(data.train), len(data.test)) == (60_000, 10_000)
    assert data.train.y.bincount().tolist() == [6000] * 10
    assert data.train.y[:16].tolist() == list(files.FASHION.labels_begin)
    std, mean = torch.std_mean(data.train.x)
    assert abs(mean) < 1e-3
    assert abs(std - 1) < 1e-3
