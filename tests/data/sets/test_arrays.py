"""Arrays from files: names, splits and classes come in right; nothing is unpickled; every fault names its file."""

from __future__ import annotations

import io
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from unlocked.data.new.inputs import read_file
from unlocked.data.new.reading import Reading
from unlocked.errors import DataError
from unlocked.tasks import load

RNG = np.random.default_rng(0)
X, Y = RNG.normal(3, 2, (40, 5)), np.arange(40) % 4


@pytest.fixture(autouse=True)
def _there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def arrays(file, **options):
    return load("arrays", file=file, **options)


def test_npz_npy_and_safetensors_of_the_same_arrays_are_the_same():
    np.savez("a.npz", x=X, y=Y)
    np.savez_compressed("b.npz", inputs=X, classes=Y)
    np.save("x.npy", X)
    np.save("y.npy", Y)
    save_file({"x": X, "y": Y}, "a.safetensors")
    first = arrays("a.npz", validation=0.25)
    for other in (
        arrays("b.npz", validation=0.25, x="inputs", y="classes"),
        arrays("x.npy", validation=0.25, y="y.npy"),
        arrays("a.safetensors", validation=0.25),
    ):
        assert torch.equal(first.train.x, other.train.x)
        assert torch.equal(first.test.y, other.test.y)
    assert (len(first.train), len(first.test), first.class_names) == (24, 8, ["0", "1", "2", "3"])
    assert first.train.x.mean(0).abs().max() < 1e-6


def test_splits_of_their_own_are_arrays_or_files():
    np.savez("a.npz", x_train=X, y_train=Y, x_test=X[:4], y_test=Y[:4], x_val=X[4:10], y_val=Y[4:10])
    data = arrays("a.npz", validation=0.5)
    assert data.validation is not None
    assert [len(each) for each in (data.train, data.validation, data.test)] == [40, 6, 4]
    np.savez("more.npz", x=X[:12], y=Y[:12])
    np.savez("b.npz", x=X, y=Y)
    assert len(arrays("b.npz", test="more.npz").test) == 12
    with pytest.raises(DataError, match=r"data.options.folds: a.npz has a test split of its own"):
        arrays("a.npz", folds=3)


def test_arrays_say_split_group_and_time():
    part = np.array(["train", "val", "test", "train"])[Y]
    np.savez("a.npz", x=X, y=np.arange(40) % 2, part=part, who=np.arange(40) // 8, when=np.arange(40)[::-1])
    data = arrays("a.npz", split="part", validation=0.1)
    assert [len(data.train), len(data.test)] == [20, 10]
    assert len(arrays("a.npz", group="who").test) == 8
    latest = arrays("a.npz", time="when", normalise=False).test.x
    assert torch.equal(latest.sort(0).values, torch.tensor(X[:8]).float().sort(0).values)


@pytest.mark.parametrize(
    ("y", "names"),
    [
        (np.array(["b", "a"])[np.arange(40) % 2], ["a", "b"]),
        (np.array([b"no", b"yes"])[np.arange(40) % 2], ["no", "yes"]),
        (np.where(np.arange(40) % 2, 7, -1), ["-1", "7"]),
        (np.eye(2)[np.arange(40) % 2], ["0", "1"]),
        ((np.arange(40) % 2)[:, None], ["0", "1"]),
        ((np.arange(40) % 2).astype(float), ["0", "1"]),
        (np.arange(40) % 2 == 1, ["0", "1"]),
    ],
)
def test_classes_are_texts_numbers_or_one_of_several(y, names):
    np.savez("a.npz", x=X, y=y)
    data = arrays("a.npz")
    assert data.class_names == names
    assert data.train.y.bincount().tolist() == [16, 16]


def test_names_of_classes_stand_in_the_file():
    np.savez("a.npz", x=X, y=Y, class_names=["n", "e", "s", "w"])
    assert arrays("a.npz").class_names == ["n", "e", "s", "w"]
    np.savez("a.npz", x=X, y=Y, class_names=["n"])
    with pytest.raises(DataError, match=r"data.options.names: names 1 classes; targets of train are no ids of those"):
        arrays("a.npz")


def test_values_are_standardised_for_the_loss_and_told_in_their_units():
    from unlocked.tasks import TASKS

    y = 1000 + 50 * X[:, 0]
    np.savez("a.npz", x=X, y=y)
    data = arrays("a.npz", task="regression")
    assert data.task == "regression"
    assert data.test.y.abs().max() < 5
    task = TASKS.get("regression")()
    zero = torch.zeros(len(data.test), 1)  # the mean of the training split
    assert task.measure(zero, data, "test")["mae"] > 10


def test_images_may_have_their_channels_last_or_none_and_new_ones_are_read_alike(tmp_path):
    grey = RNG.integers(0, 256, (40, 6, 5), dtype=np.uint8)
    np.savez("grey.npz", images=grey, y=Y)
    np.savez("last.npz", images=grey[..., None].repeat(3, axis=3), y=Y)
    for file, channels, shape in (("grey.npz", "none", (1, 6, 5)), ("last.npz", "last", (3, 6, 5))):
        data = arrays(file, x="images", channels=channels)
        assert data.in_shape == shape
        reading = Reading.of(data)
        new = read_file(tmp_path / file, reading)
        every = torch.cat([data.train.x, data.test.x])
        assert len(new.x) == 40
        assert all((every == x).flatten(1).all(1).any() for x in new.x[:5])
    np.savez("a.npz", x=X, y=Y)
    with pytest.raises(DataError, match=r"data.options.channels: a.npz has inputs of shape \(40, 5\)"):
        arrays("a.npz", channels="none")


def test_lengths_are_read(tmp_path):
    np.savez("a.npz", x=RNG.normal(size=(40, 7, 3)), y=Y, lengths=np.arange(40) % 7 + 1)
    data = arrays("a.npz")
    assert data.train.lengths is not None
    assert sorted(torch.cat([data.train.lengths, data.test.lengths]).tolist()) == sorted(np.arange(40) % 7 + 1)
    assert (
        read_file(tmp_path / "a.npz", Reading.of(data)).extras["lengths"].tolist() == (np.arange(40) % 7 + 1).tolist()
    )


class Evil:
    def __reduce__(self):
        return (open, ("ran", "w"))


def test_nothing_is_unpickled(tmp_path):
    np.savez("evil.npz", x=X, y=np.array([Evil()] * 40, dtype=object), allow_pickle=True)
    np.save("evil.npy", np.array([Evil()] * 40, dtype=object), allow_pickle=True)
    for file in ("evil.npz", "evil.npy"):
        with pytest.raises(DataError, match=rf"{file}: cannot be read .* holds Python objects"):
            arrays(file)
    (tmp_path / "pickle.npy").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(DataError, match=r"pickle.npy: cannot be read as an NPY file"):
        arrays("pickle.npy")
    assert not (tmp_path / "ran").exists()


def test_a_bomb_is_refused_before_it_is_unpacked(monkeypatch, tmp_path):
    np.savez_compressed("bomb.npz", x=np.zeros((50_000, 10)), y=np.zeros(50_000, int))
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=10**6))
    with pytest.raises(DataError, match=r"bomb.npz: unpacks to 0.0 GB, and 0.0 GB of memory are free"):
        arrays("bomb.npz")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 5)})
    with zipfile.ZipFile("false.npz", "w") as packed:
        packed.writestr("x.npy", head.getvalue())
    with pytest.raises(DataError, match=r"false.npz: .* the array x is torn: its header promises 40,000,000,000,000"):
        arrays("false.npz")


@pytest.mark.parametrize(
    ("held", "options", "said"),
    [
        ({"x": X}, {}, r"data.options.y: name an array of a.npz, or a .npy file beside it \(it has x 40 x 5 float64\)"),
        ({"x": X, "y": Y}, {"x": "z"}, r"data.options.x: a.npz has no array 'z' \(it has x"),
        ({"x": X, "y": Y[:39]}, {}, r"a.npz: x has 40 rows, y 39"),
        (
            {"x": X, "y": X[:, 0]},
            {},
            r"data.options.y: targets of train: row 1 is .*, which is no class; .*=regression",
        ),
        ({"x": X, "y": X}, {}, r"data.options.y: targets of train are float64 of shape \(40, 5\)"),
        ({"x": X, "y": 0 * Y}, {}, r"a.npz: all rows are of one class, '0'; there have to be two"),
        ({"x": X, "y": Y, "x_test": X[:2], "y_test": Y[:2] + 3}, {}, r"the class '4' is in the test split, and in no"),
        ({"x": X, "y": Y, "x_test": X[:2]}, {}, r"data.options.y: a.npz has no array 'y_test'"),
        ({"x": X, "y": np.float64(3)}, {}, r"a.npz: y is one number"),
    ],
)
def test_a_fault_is_one_line_that_names_file_and_array(held, options, said):
    np.savez("a.npz", **held)
    with pytest.raises(DataError, match=said) as refused:
        arrays("a.npz", **options)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("file", ["a.npz", "a.npy", "a.safetensors"])
def test_a_damaged_file_is_one_line(file, tmp_path):
    for content, said in ((b"", "is empty"), (b"nothing of it", "cannot be read as a")):
        (tmp_path / file).write_bytes(content)
        with pytest.raises(DataError, match=f"{file}: {said}"):
            arrays(file)


def test_a_header_that_no_parser_takes_is_one_line(tmp_path):
    np.save("a.npy", X)
    torn = (tmp_path / "a.npy").read_bytes().replace(b"(40, 5), }", b"(40, 5(, (")
    (tmp_path / "a.npy").write_bytes(torn)
    with pytest.raises(DataError, match=r"a.npy: cannot be read as an NPY file of plain arrays: "):
        arrays("a.npy", y="a.npy")
