import io
import pickle
import tarfile

import numpy as np
import pytest

from unlocked.data.sets.cifar10 import BATCHES, FOLDER
from unlocked.errors import DataError
from unlocked.tasks import load


def batches() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 256, (10, 3072), dtype=np.uint8) for name in BATCHES}
    return {name: pickle.dumps({b"data": x, b"labels": list(range(10))}) for name, x in images.items()}


def write_archive(path, members: dict[str, bytes]):
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(f"{FOLDER}/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_the_folder_and_the_archive_give_the_same_images(tmp_path):
    made = batches()
    unpacked = tmp_path / "a" / FOLDER
    unpacked.mkdir(parents=True)
    for name, data in made.items():
        (unpacked / name).write_bytes(data)
    (tmp_path / "b").mkdir()
    members = {"batches.meta": b"unread", **dict(reversed(made.items()))}
    write_archive(tmp_path / "b" / "cifar-10-python.tar.gz", members)
    folder, archive = (load("cifar10", root=tmp_path / root) for root in "ab")
    assert folder.in_shape == (3, 32, 32)
    assert (len(folder.train), len(folder.test)) == (50, 10)
    assert folder.class_names[9] == "truck"
    assert (folder.train.x == archive.train.x).all()
    raw = pickle.loads(made["data_batch_1"])[b"data"][0].reshape(3, 32, 32)
    expected = (raw[2] / 255 - 0.4465) / 0.2616
    assert np.allclose(folder.train.x[0, 2].numpy(), expected, atol=1e-5)  # float32 rounding
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["cifar-10-python.tar.gz"], "nothing was unpacked"


@pytest.mark.parametrize("damage", ["cut", "text", "lacking"])
def test_a_damaged_archive_is_refused(tmp_path, damage):
    path = tmp_path / "cifar-10-python.tar.gz"
    made = batches()
    if damage == "lacking":
        made.pop("test_batch")
    write_archive(path, made)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:50_000])
    elif damage == "text":
        path.write_text("<html>moved</html>")
    with pytest.raises(DataError, match="fetch it again") as caught:
        load("cifar10", root=tmp_path)
    assert str(path) in str(caught.value)


def test_a_missing_set_says_both_forms_it_can_have(tmp_path):
    with pytest.raises(DataError, match=r"cifar-10-python\.tar\.gz or its folder cifar-10-batches-py;"):
        load("cifar10", root=tmp_path)
