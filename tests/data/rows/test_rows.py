"""Inputs that stay in their files: the same numbers as in memory, read row by row, in one line if they cannot be."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import save_file

from unlocked.data import DATA, RawData, TrainBatches, open_rows, register_data
from unlocked.data.digest import digest
from unlocked.data.files.looking import kind_of, look_at
from unlocked.data.files.source import Source
from unlocked.data.loading import scan
from unlocked.data.new.reading import Reading
from unlocked.data.rows import files
from unlocked.data.rows.tensor import RowTensor
from unlocked.data.transform import Transform, build_transforms
from unlocked.engine.group import InProcessGroup
from unlocked.errors import DataError, RunFailed, RunInterrupted
from unlocked.launch.interrupt import StopSignal
from unlocked.loop.train import resume, train
from unlocked.plan.plan import load_data
from unlocked.runs.evaluate import evaluate_run
from unlocked.tasks import load

RNG = np.random.default_rng(0)
X, Y = RNG.normal(3.0, 2.0, (240, 6)).astype("f4"), np.arange(240) % 3


@pytest.fixture
def add():
    """`add(RawData(...))` registers a set for this test alone and gives its name."""
    added = []

    def register(raw, **facts):
        name = f"rows_made_{len(added)}"
        added.append(name)
        register_data(name, **facts)(lambda source: raw() if callable(raw) else raw)
        return name

    yield register
    for name in added:
        DATA._entries.pop(name)
        DATA._facts.pop(name)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def file(tmp_path):
    np.save(tmp_path / "x.npy", X)
    return tmp_path / "x.npy"


def shards(folder, x=X, at=(70, 71, 200)):
    folder.mkdir()
    for i, part in enumerate(np.split(x, at)):
        np.save(folder / f"x-{i:03}.npy", part)
    return folder


def as_safetensors(tmp_path):
    save_file({"inputs": X, "y": Y.astype("i8")}, tmp_path / "x.safetensors")
    return open_rows(tmp_path / "x.safetensors", "inputs")


def as_npz(tmp_path):
    np.savez(tmp_path / "x.npz", y=Y, inputs=X)
    return open_rows(tmp_path / "x.npz", "inputs")


@pytest.mark.parametrize(
    "made", [lambda tmp: open_rows(shards(tmp / "big")), as_safetensors, as_npz], ids=["shards", "safetensors", "npz"]
)
def test_any_rows_are_read_in_any_order_as_the_array_has_them(tmp_path, made):
    rows = made(tmp_path)
    for order in (np.arange(240), RNG.permutation(240), np.array([69, 70, 71, 72, 199, 200, 5, 5]), np.array([], int)):
        assert np.array_equal(rows.read(order), X[order])
    again = pickle.loads(pickle.dumps(rows))
    assert np.array_equal(again[np.array([3, 239])].read(np.array([1])), X[[239]])
    assert len(pickle.dumps(rows)) < 5000  # paths travel, and no rows


def test_files_that_are_read_row_by_row_give_the_split_of_an_array_and_its_statistics(add, file):
    read = load(add(RawData(open_rows(file), Y, normalise="train")), validation=0.25, seed=3)
    array = load(add(RawData(X, Y, normalise="train")), validation=0.25, seed=3)
    for part in ("train", "validation", "test"):
        here, there = getattr(read, part), getattr(array, part)
        assert isinstance(here.x, RowTensor)
        assert torch.equal(here.y, there.y)
        assert (here.x.shape, here.x.dtype, here.x.dim()) == (there.x.shape, there.x.dtype, 2)
        torch.testing.assert_close(here.x[torch.arange(len(here))], there.x, rtol=0, atol=1e-6)
    assert (read.loaded.lowest, read.loaded.highest) == (array.loaded.lowest, array.loaded.highest)
    assert read.example == array.example


@pytest.mark.parametrize(
    "given",
    [
        {"x_train": RNG.integers(0, 256, (40, 8, 7, 3), dtype="u1"), "channels": "last", "normalise": "train"},
        {"x_train": RNG.normal(5, 3, (40, 4, 2)), "normalise": "train", "lengths_train": np.arange(40) % 4 + 1},
        {"x_train": RNG.normal(0, 1, (40, 5)).astype(">f4"), "normalise": (0.5, 2.0)},
        {"x_train": RNG.integers(0, 9, (40, 4)), "symbols": [*"abcdefghi"]},
    ],
    ids=["images", "lengths", "fixed", "ids"],
)
def test_rows_in_files_and_the_same_rows_held_are_equal_to_the_last_bit(add, tmp_path, given):
    y = np.arange(40) % 2
    np.save(tmp_path / "x.npy", given["x_train"])

    def made(source):
        return load(add(RawData(**{**given, "x_train": source, "y_train": y})), validation=0.2)

    array, read = made(given["x_train"]), made(open_rows(tmp_path / "x.npy"))
    held = made(open_rows(tmp_path / "x.npy").held())
    for part in ("train", "validation", "test"):
        x = getattr(read, part).x
        assert not isinstance(getattr(held, part).x, RowTensor)
        assert torch.equal(x.whole(), getattr(held, part).x)
        assert torch.equal(x[2:5], getattr(held, part).x[2:5])
        torch.testing.assert_close(x.whole(), getattr(array, part).x, rtol=1e-5, atol=1e-6)
    assert read.train.x.min() == held.train.x.min()
    assert read.example == held.example


def test_what_needs_all_inputs_at_once_is_told_so_in_one_line(add, file):
    x = load(add(RawData(open_rows(file), Y))).train.x
    for asked in (lambda: x + 1, lambda: torch.cat([x, x]), lambda: x[:, 0], lambda: x.mean()):
        with pytest.raises(DataError, match=r"x\.npy: .*(memory: loaded|x\[rows\])"):
            asked()
    assert torch.equal(x.to(dtype=torch.float64)[[3]], x[[3]].double())
    assert np.array_equal(x[:999].numpy(), x.whole().numpy())  # rows that are asked for by number are read
    for again in (x[:], x.detach()):  # a view of all rows is one that reads, too
        assert isinstance(again, RowTensor)
        assert torch.equal(again[-3:], x.whole()[-3:])
    with torch.inference_mode():
        assert torch.equal(x[2:5], x.index_select(0, torch.tensor([2, 3, 4])))
        assert torch.equal(x[:][0], x[0])
        assert x[:].to(torch.float64)[:4].dtype is torch.float64


@pytest.mark.parametrize("transform", ["turns", "views", "hidden_patches"])
def test_splits_that_a_transform_draws_are_drawn_as_in_memory(add, tmp_path, transform):
    np.save(tmp_path / "x.npy", RNG.random((40, 1, 8, 8), dtype="f4"))
    rows = open_rows(tmp_path / "x.npy")
    read, held = (
        load(add(RawData(each, np.arange(40) % 2)), validation=0.2, transforms=[transform])
        for each in (rows, rows.held())
    )
    assert (read.example, read.in_shape) == (held.example, held.in_shape)
    for part in ("train_shown", "validation", "test"):
        here, there = getattr(read, part), getattr(held, part)
        assert isinstance(here.x, RowTensor)
        torch.testing.assert_close(here.x.whole(), there.x, rtol=0, atol=1e-6)
        assert torch.equal(here.x[[3, 1]], pickle.loads(pickle.dumps(here.x)).to("cpu")[[3, 1]])
        torch.testing.assert_close(here.y, there.y, rtol=0, atol=0)
        assert here.extras.keys() == there.extras.keys()
    assert digest(read) == digest(read)
    other = load(read.name, validation=0.2, seed=1, transforms=[transform])
    assert digest(read) != digest(other)


class OfAll(Transform):
    evaluates = True

    def __call__(self, batch, generator):
        return batch.__class__(batch.x / len(batch.x), batch.y)


def test_a_transform_that_needs_a_whole_split_is_named(add, file):
    raw = RawData(open_rows(file), Y, transforms=[OfAll()])
    line = refused(lambda: load(add(raw)))
    assert line.startswith("data.transforms: OfAll draws for all of an evaluation split at once")


# training ----------------------------------------------------------------------------------------------------


def untimed(summary):
    return {key: value for key, value in summary["metrics"].items() if not key.startswith("time/")}


def runs(small, add, file, *more):
    held = lambda: RawData(open_rows(file).held(), Y, normalise="train")  # noqa: E731
    read = lambda: RawData(open_rows(file), Y, normalise="train")  # noqa: E731
    return [small(f"data.name={add(each)}", "data.batch_size=16", "optimizer.lr=0.01", *more) for each in (read, held)]


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("scheme.synthetic_inputs=true", "scheme.name=cdni", "scheme.lag=3"),
        ("data.easy_first=0.9", "data.easy_by=loss"),
        ("data.transforms=[mixup]",),
    ],
    ids=["plain", "late inputs", "by loss", "transform"],
)
def test_a_run_that_reads_its_rows_is_one_that_holds_them_to_the_last_bit(small, add, file, more):
    read, held = (train(config) for config in runs(small, add, file, *more))
    assert untimed(read) == untimed(held)
    assert evaluate_run(Path(read["run_dir"]))["metrics"]["test/loss"] == held["metrics"]["test/loss"]


def test_a_run_that_reads_its_rows_goes_on_where_it_was_stopped(small, add, file, monkeypatch):
    read, _ = runs(small, add, file, "train.checkpoint_every=1")
    whole = train(read)

    stop, taken = StopSignal(), InProcessGroup.tick

    def tick(group, t):
        stop.asked = stop.asked or t == 13
        taken(group, t)

    monkeypatch.setattr(InProcessGroup, "tick", tick)
    with pytest.raises(RunInterrupted):
        train(read, stop=stop)
    (stopped,) = {each.path for each in os.scandir(read.tracking.runs)} - {whole["run_dir"]}
    assert untimed(resume(Path(stopped))) == untimed(whole)


def test_a_minibatch_is_a_function_of_the_seed_and_the_step_whatever_was_asked_for_before(add, file):
    split = load(add(RawData(open_rows(file), Y))).train
    held = load(add(RawData(X, Y))).train
    batches, expected = (TrainBatches(each, 16, seed=5, steps=40) for each in (split, held))
    for step in (*range(8), 3, 4, 30, 31, 12, 39, 0):
        assert torch.equal(batches.x(step), expected.x(step)), step
    shard = TrainBatches(split, 16, seed=5, shard=(1, 2), transforms=build_transforms(["mixup"]))
    assert torch.equal(shard.indices(7), expected.indices(7)[1::2])


def test_a_replica_reads_its_part_and_who_needs_no_input_reads_nothing(add, file, monkeypatch):
    asked = []
    taken = files.FileRows.read
    monkeypatch.setattr(files.FileRows, "read", lambda self, rows: asked.append(len(rows)) or taken(self, rows))
    split = load(add(RawData(open_rows(file), Y))).train
    split.x.source.ahead = 0
    asked.clear()
    batches = TrainBatches(split, 16, seed=5, shard=(1, 4))
    batches.y(0)
    assert asked == []
    batches.x(0)
    assert asked == [4]


def test_a_worker_is_sent_paths(add, file):
    data = load(add(RawData(open_rows(file), Y)), validation=0.1)
    sent = pickle.dumps(data)
    data = pickle.loads(sent)
    assert X[:40].tobytes()[:200] not in sent
    assert torch.equal(data.train.x[:5], load(add(RawData(X, Y)), validation=0.1).train.x[:5])


# the data set arrays ----------------------------------------------------------------------------------------


def folder_of_arrays(folder):
    shards(folder)
    np.save(folder / "y.npy", np.array(["a", "b", "c"])[Y])
    np.save(folder / "who.npy", np.arange(240) // 8)
    return folder


def in_npz(folder):
    np.savez(folder.with_suffix(".npz"), x=X, y=Y, who=np.arange(240) // 8)
    return folder.with_suffix(".npz")


def in_parquet(folder):
    columns = {"x": list(X), "y": np.array(["a", "b", "c"])[Y]}
    pq.write_table(pa.table(columns), folder.with_suffix(".parquet"), row_group_size=50)
    return folder.with_suffix(".parquet")


def of_images(folder):
    folder.mkdir()
    np.save(folder / "x.npy", RNG.integers(0, 256, (60, 9, 8, 3), dtype="u1"))
    np.save(folder / "y.npy", Y[:60])
    np.savez(folder.parent / "own.npz", x=RNG.integers(0, 256, (12, 9, 8, 3), dtype="u1"), y=Y[:12])
    return folder


@pytest.mark.parametrize(
    ("made", "options"),
    [
        (folder_of_arrays, {}),
        (folder_of_arrays, {"group": "who", "normalise": False}),
        (in_npz, {"folds": 4, "fold": 2}),
        (in_parquet, {}),
        (of_images, {"channels": "last", "test": "own.npz"}),
    ],
    ids=["shards", "group", "npz", "parquet", "images"],
)
def test_arrays_that_are_mapped_are_those_that_are_loaded_to_the_last_bit(tmp_path, made, options):
    file = str(made(tmp_path / "big"))
    one, other = (
        load("arrays", root=tmp_path, validation=0.2, file=file, memory=memory, **options)
        for memory in ("loaded", "mapped")
    )
    for part in ("train", "validation", "test"):
        loaded, mapped = getattr(one, part), getattr(other, part)
        assert isinstance(mapped.x, RowTensor)
        assert not isinstance(loaded.x, RowTensor)
        assert torch.equal(loaded.y, mapped.y)
        assert torch.equal(loaded.x, mapped.x.whole())
    assert one.class_names == other.class_names
    assert len({digest(load("arrays", root=tmp_path, file=file, memory="mapped", **options)) for _ in "12"}) == 1


def test_new_inputs_are_read_as_those_of_mapped_arrays_were(tmp_path):
    np.savez(tmp_path / "a.npz", x=X, y=Y)
    one, other = (Reading.of(load("arrays", root=tmp_path, file="a.npz", memory=each)) for each in ("loaded", "mapped"))
    assert one == other
    assert torch.equal(one.numbers("new", X[:5]), other.numbers("new", X[:5]))


def test_a_folder_of_arrays_is_looked_at_and_one_too_large_for_memory_is_mapped(tmp_path, monkeypatch):
    folder = folder_of_arrays(tmp_path / "big")
    source = Source("arrays", tmp_path)
    assert kind_of(folder) == "arrays"
    small = look_at(source, folder, "arrays", {})
    assert (small.counts["rows"], small.counts["classes"]) == (240, 3)
    assert "memory" not in small.config["data"]["options"]
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=4 * X.nbytes - 1))
    large = look_at(source, folder, "arrays", {})
    assert large.config["data"]["options"]["memory"] == "mapped"
    assert any("memory=mapped reads rows when they are needed" in note for note in large.notes)
    with pytest.raises(DataError, match=r"takes .* GB, and .* are free; data.options.memory=mapped"):
        load("arrays", file=str(folder))
    assert isinstance(load("arrays", **large.config["data"]["options"]).train.x, RowTensor)


# one pass over all rows -------------------------------------------------------------------------------------


def test_the_pass_over_all_rows_is_made_once_and_again_if_a_file_changed(add, file, monkeypatch):
    seen = []
    taken = scan._scan
    monkeypatch.setattr(scan, "_scan", lambda *args: seen.append(1) or taken(*args))
    name = add(lambda: RawData(open_rows(file), Y, normalise="train"))
    first, second = load(name), load(name)
    assert (len(seen), digest(first)) == (1, digest(second))
    np.save(file, X + 1)
    os.utime(file, ns=(1, 1))
    third = load(name)
    assert len(seen) == 2
    assert digest(third) != digest(first)
    load(name, seed=7)  # other rows are trained on
    assert len(seen) == 3


def test_a_damaged_note_of_the_pass_is_made_again(add, file, tmp_path):
    name = add(lambda: RawData(open_rows(file), Y, normalise="train"))
    first = digest(load(name))
    (note,) = (tmp_path / "cache").rglob("rows-*.json")
    for text in ("", "{}", json.dumps({**json.loads(note.read_text() or "{}"), "mean": ["a"]}), '{"content": 3}'):
        note.write_text(text)
        assert digest(load(name)) == first


def test_blocks_give_the_statistics_of_the_whole(add, file, monkeypatch):
    whole = load(add(RawData(open_rows(file).held(), Y, normalise="train"))).loaded.statistics
    monkeypatch.setattr("unlocked.data.rows.source.BLOCK", 24 * 17)
    blocks = load(add(RawData(open_rows(file).held(), Y, normalise="train"))).loaded.statistics
    for one, other in zip(whole, blocks, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=0)


# what can be wrong ------------------------------------------------------------------------------------------


def refused(call) -> str:
    with pytest.raises(DataError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_values_that_are_not_finite_are_named_by_file_and_row(add, tmp_path):
    x = X.copy()
    x[73, 2] = np.nan
    name = add(RawData(open_rows(shards(tmp_path / "big", x)), Y))
    assert f"{tmp_path}/big/x-002.npy, row 2" in refused(lambda: load(name))


def test_ids_beyond_the_vocabulary_are_refused(add, tmp_path):
    np.save(tmp_path / "ids.npy", np.array([[0, 1], [2, 9]] * 20))
    raw = RawData(open_rows(tmp_path / "ids.npy"), np.arange(40) % 2, symbols=[*"abcd"])
    assert "token id 9; the vocabulary has ids 0 to 3" in refused(lambda: load(add(raw)))


def test_rows_of_parquet_are_decoded_once_and_its_faults_name_the_row(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("unlocked.data.files.parquet._PIECE", 8 * 6 * 7)
    file, cache = in_parquet(tmp_path / "a"), [tmp_path / "cache"]
    for _ in "12":
        assert np.array_equal(open_rows(file, "x", cache).read(np.arange(240)), X)
    assert capsys.readouterr().err.count("decoding") == 1
    for column, line in (
        ([[1.0, 2.0]] * 40 + [[1.0]], r"row 41 of x has 1 values, and the first row 2"),
        ([[1.0, 2.0]] * 9 + [None], "row 10 of x has no value"),
        ([[1.0, 2.0]] * 9 + [[1.0, None]], "row 10 of x has a missing value"),
    ):
        pq.write_table(pa.table({"x": column}), tmp_path / "b.parquet")
        assert line in refused(lambda: open_rows(tmp_path / "b.parquet", "x", cache))
    assert [each.name for each in cache[0].iterdir() if "b" in each.stem.split("-")[1]] == []
    (tmp_path / "c.parquet").write_bytes(file.read_bytes()[:-20])
    assert "cannot be read as a Parquet file" in refused(lambda: open_rows(tmp_path / "c.parquet", "x", cache))
    assert "no folder for its rows" in refused(lambda: open_rows(file, "x"))


def test_an_array_beside_rows_is_refused(add, file):
    raw = RawData(open_rows(file), Y, x_test=X[:9], y_test=Y[:9])
    assert "x_train is rows to read and x_test an array" in refused(lambda: load(add(raw)))


@pytest.mark.parametrize(
    ("broken", "line"),
    [
        (lambda d: (d / "x.npy").write_bytes(b"no array"), "is no .npy file"),
        (lambda d: (d / "x.npy").write_bytes(b""), "is no .npy file"),
        (lambda d: np.save(d / "x.npy", np.array([{}], dtype=object), allow_pickle=True), "real numbers"),
        (lambda d: np.save(d / "x.npy", np.asfortranarray(X)), "column by column"),
        (lambda d: (d / "x.npy").write_bytes((d / "y.npy").read_bytes()[:-8]), "it was cut short"),
        (
            lambda d: (d / "x.npy").write_bytes(b"\x93NUMPY\x01\x00\x0a\x00" + b"[" * 10),
            "header is not that of an array",
        ),
    ],
)
def test_a_file_that_is_no_array_of_rows_is_one_line(tmp_path, broken, line):
    np.save(tmp_path / "y.npy", X)
    broken(tmp_path)
    assert line in refused(lambda: open_rows(tmp_path / "x.npy"))


def test_files_of_another_kind_are_one_line(tmp_path):
    np.savez_compressed(tmp_path / "small.npz", x=X)
    assert "is compressed" in refused(lambda: open_rows(tmp_path / "small.npz"))
    np.savez(tmp_path / "two.npz", x=X, y=Y)
    assert "holds x, y; name one" in refused(lambda: open_rows(tmp_path / "two.npz"))
    assert "did you mean 'x'" in refused(lambda: open_rows(tmp_path / "two.npz", "xx"))
    (tmp_path / "bad.npz").write_bytes(b"PK")
    assert "is no .npz" in refused(lambda: open_rows(tmp_path / "bad.npz"))
    (tmp_path / "bad.safetensors").write_bytes(b"\xff" * 20)
    assert "is no safetensors" in refused(lambda: open_rows(tmp_path / "bad.safetensors"))
    (tmp_path / "x.txt").write_text("1")
    assert ".txt is not read row by row" in refused(lambda: open_rows(tmp_path / "x.txt"))
    assert "does not exist" in refused(lambda: open_rows(tmp_path / "none.npy"))
    (tmp_path / "empty").mkdir()
    assert "holds no .npy file" in refused(lambda: open_rows(tmp_path / "empty"))
    (tmp_path / "empty" / "x.npy").symlink_to("/dev/zero")
    assert "leads out of" in refused(lambda: open_rows(tmp_path / "empty"))
    folder = shards(tmp_path / "big")
    np.save(folder / "x-009.npy", X[:, :3])
    assert "x-009.npy: has rows of shape (3,)" in refused(lambda: open_rows(folder))
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as out:
        out.writestr("x.npy", "no array")
    assert "is no .npy file" in refused(lambda: open_rows(tmp_path / "text.npz"))


@pytest.mark.parametrize(
    ("harm", "line"),
    [
        (lambda file: os.truncate(file, 200), r"x\.npy: was changed while it was in use, from 5888 bytes to 200"),
        (lambda file: np.save(file, X + 1), r"x\.npy: was changed while it was in use"),
    ],
)
def test_a_file_that_changes_while_the_run_goes_on_ends_it_in_one_line(small, add, file, monkeypatch, harm, line):
    read, _ = runs(small, add, file)
    taken = InProcessGroup.tick

    def tick(group, t):
        if t == 5:
            os.utime(file, ns=(1, 1))
            harm(file)
        taken(group, t)

    monkeypatch.setattr(InProcessGroup, "tick", tick)
    with pytest.raises(RunFailed, match=line):
        train(read)


def test_a_disk_that_fails_ends_the_run_in_one_line(small, add, file, monkeypatch):
    read, _ = runs(small, add, file)
    load_data(read)
    taken, calls = os.preadv, []

    def preadv(*args):
        calls.append(1)
        if len(calls) > 9:
            raise OSError(5, "Input/output error")
        return taken(*args)

    monkeypatch.setattr(files.os, "preadv", preadv)
    with pytest.raises(RunFailed, match=r"x\.npy: cannot be read: Input/output error"):
        train(read)


OWN = """
import numpy as np
from unlocked import RawData, register_data
from unlocked.data import open_rows

@register_data("rows_of_workers")
def rows_of_workers(source, held: bool = False):
    rows, y = open_rows(source.root / "x.npy"), np.arange(240) % 3
    return RawData(rows.held() if held else rows, y, normalise="train")
"""


@pytest.mark.ray
@pytest.mark.slow("a Ray of its own")
def test_two_workers_train_on_rows_that_each_reads_itself(small, file, tmp_path, monkeypatch):
    (tmp_path / "own_rows_of_workers.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("own_rows_of_workers")
    given = ["data.name=rows_of_workers", f"data.root={tmp_path}", "data.batch_size=16"]
    on_workers = train(small(*given, "parallel.engine=ray"), imports=["own_rows_of_workers"])
    held = train(small(*given, "data.options.held=true"))
    assert untimed(on_workers) == untimed(held)
