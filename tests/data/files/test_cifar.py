import os
import pickle
import struct

import numpy as np
import pytest

from unlocked.data.files.cifar import read_batch
from unlocked.errors import DataError

X = np.random.default_rng(0).integers(0, 256, (3, 3072), dtype=np.uint8)


def batch(**changes) -> bytes:
    return pickle.dumps({b"data": X, b"labels": [0, 9, 4], **changes})


def python2_batch(x: np.ndarray, labels: list[int]) -> bytes:
    """The opcodes of the published files: protocol 2, by Python 2 and NumPy 1, strings as byte strings."""

    def string(s: bytes) -> bytes:
        return b"U" + bytes([len(s)]) + s

    raw = x.tobytes()
    dtype = (
        b"cnumpy\ndtype\n"
        + string(b"u1")
        + b"K\0K\1\x87R(K\3"
        + string(b"|")
        + b"NNN"
        + b"J\xff\xff\xff\xff" * 2
        + b"K\0tb"
    )
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85"
        + string(b"b")
        + b"\x87R(K\1"
        + bytes([ord("K"), len(x)])
        + b"M"
        + struct.pack("<H", x.shape[1])
        + b"\x86"
        + dtype
        + b"\x89"
        + b"T"
        + struct.pack("<i", len(raw))
        + raw
        + b"tb"
    )
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    names = b"](" + string(b"a.png") + b"e"
    return b"\x80\x02}(" + string(b"data") + array + string(b"labels") + numbers + string(b"filenames") + names + b"u."


def refused(data: bytes) -> str:
    with pytest.raises(DataError) as caught:
        read_batch(data, "somewhere/data_batch_1")
    assert str(caught.value).startswith("somewhere/data_batch_1: ")
    return str(caught.value)


@pytest.mark.parametrize("data", [batch(), python2_batch(X, [0, 9, 4])], ids=["numpy2", "published"])
def test_a_batch_is_read_as_images_and_labels(data):
    x, y = read_batch(data, "here")
    assert x.shape == (3, 3, 32, 32)
    assert (x == X.reshape(3, 3, 32, 32)).all()
    assert y.tolist() == [0, 9, 4]


def test_the_handwritten_batch_means_the_same_to_plain_pickle():
    loaded = pickle.loads(python2_batch(X, [0, 9, 4]), encoding="bytes")
    assert (loaded[b"data"] == X).all()
    assert loaded[b"labels"] == [0, 9, 4]


class Shell:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


class Evaluated:
    def __reduce__(self):
        return eval, ("1 + 1",)


def test_a_pickle_that_runs_a_command_is_refused_and_runs_nothing(tmp_path):
    target = tmp_path / "made-by-the-pickle"
    message = refused(batch(**{"data": Shell(str(target))}))
    assert "refused" in message
    assert "mkdir" in message
    assert not target.exists()
    pickle.loads(batch(**{"data": Shell(str(target))}))
    assert target.exists(), "the control: plain pickle does run it"


def test_builtins_and_numpy_functions_are_refused_too():
    assert "eval" in refused(pickle.dumps(Evaluated()))
    assert "numpy.load" in refused(b"cnumpy\nload\n(V/etc/passwd\ntR.")


def test_an_array_of_objects_or_of_other_numbers_is_refused():
    assert "not of unsigned bytes" in refused(batch(**{"data": X.astype(np.float64)}))
    refused(batch(**{"data": np.array([[object]], dtype=object)}))


@pytest.mark.parametrize("data", [b"", b"\x80\x02", b"garbage", batch()[:-100], pickle.dumps([1]), pickle.dumps({})])
def test_a_damaged_batch_is_refused(data):
    refused(data)


def test_labels_out_of_range_or_of_another_number_are_refused():
    good = {b"data": X}
    assert "0 to 9" in refused(pickle.dumps({**good, b"labels": [0, 1, 10]}))
    assert "3 images but 2 labels" in refused(pickle.dumps({**good, b"labels": [0, 1]}))
