import numpy as np
import pytest

from unlocked.data.files.source import DataFile, Source
from unlocked.errors import DataError

A, B = DataFile("a.gz", also=("a",)), DataFile("b")


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_the_first_folder_that_holds_all_files_is_taken(tmp_path):
    touch(*(tmp_path / name for name in ("one/a", "two/a.gz", "two/b", "a", "b")))
    found = Source("set", tmp_path).find([A, B], ["absent", "one", "two", "."])
    assert found == [tmp_path / "two" / "a.gz", tmp_path / "two" / "b"]


def test_a_missing_file_error_names_files_folders_and_both_ways_out(tmp_path):
    touch(tmp_path / "set" / "a")
    with pytest.raises(DataError) as caught:
        Source("set", tmp_path).files([A, B], ["other", "set"], "http://mirror/")
    message = str(caught.value)
    assert "missing b;" in message
    assert f"{tmp_path / 'set'} has the others" in message
    for said in (str(tmp_path / "other"), "data.download=true", "http://mirror/"):
        assert said in message
    assert "\n" not in message


def counted(arrays):
    calls = []

    def make():
        calls.append(1)
        return arrays

    return make, calls


ARRAYS = {"x": np.arange(6.0).reshape(2, 3), "y": np.array([0, 1])}


def test_generated_arrays_are_made_once_and_kept_under_the_root(tmp_path):
    make, calls = counted(ARRAYS)
    for _ in range(2):
        got = Source("set", tmp_path).cached("key", make)
        assert all((got[name] == ARRAYS[name]).all() for name in ARRAYS)
    assert len(calls) == 1
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["key.npz"]


@pytest.mark.parametrize("damage", ["truncated", "emptied", "changed", "pickled"])
def test_a_damaged_cache_is_made_again(tmp_path, damage):
    Source("set", tmp_path).cached("key", lambda: ARRAYS)
    path = tmp_path / "cache" / "key.npz"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-40])
    elif damage == "emptied":
        path.write_bytes(b"")
    elif damage == "changed":
        stored = dict(np.load(path))
        stored["x"][0, 0] = 7
        np.savez(path, **stored)
    else:
        np.savez(path, sha256=np.array([object()], dtype=object), **ARRAYS)
    make, calls = counted(ARRAYS)
    assert (Source("set", tmp_path).cached("key", make)["x"] == ARRAYS["x"]).all()
    assert len(calls) == 1
    Source("set", tmp_path).cached("key", make)
    assert len(calls) == 1, "the repaired copy is used"


def test_without_a_root_folder_the_user_cache_is_used_and_no_root_is_made(tmp_path):
    make, calls = counted(ARRAYS)
    for _ in range(2):
        Source("set", tmp_path / "absent").cached("key", make)
    assert len(calls) == 1
    assert not (tmp_path / "absent").exists()
    assert (tmp_path / "user-cache" / "unlocked" / "key.npz").exists()


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    make, calls = counted(ARRAYS)
    for _ in range(2):
        Source("set", tmp_path / "absent").cached("key", make)
    assert len(calls) == 2
