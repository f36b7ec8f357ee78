"""Files of new inputs: each kind is read as it was meant, each fault is one line with file and row."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from unlocked.data import DATA, RawData, register_data
from unlocked.data.new.inputs import read_file
from unlocked.data.new.reading import Reading
from unlocked.errors import ConfigError, DataError
from unlocked.tasks import load


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture
def read(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda name: read_file(tmp_path / name, Reading.of(digits))


def test_tables_arrays_and_images_of_the_same_digits_are_the_same(read, digits, tmp_path):
    raw = np.array(Reading.of(digits).shown)
    np.savez("new.npz", x=raw)
    np.save("new.npy", raw)
    flat = raw.reshape(2, 64)
    heads = ",".join(f"pixel{i}" for i in range(64))
    np.savetxt("new.csv", flat, delimiter=",", header=heads, comments="", fmt="%.17g")
    np.savetxt("bare.tsv", flat, delimiter="\t", fmt="%.17g")
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({f"c{i}": flat[:, i] for i in range(64)}), "new.parquet")
    for name in ("new.npz", "new.npy", "new.csv", "bare.tsv", "new.parquet"):
        assert torch.equal(read(name).x, digits.test.x[:2]), name
    (tmp_path / "pictures").mkdir()
    for i, image in enumerate(raw[:, 0]):
        Image.fromarray((image * 255).round().astype(np.uint8)).save(f"pictures/{i}.png")
    new = read("pictures")
    assert new.names == ["0.png", "1.png"]
    torch.testing.assert_close(new.x, digits.test.x[:2], atol=1 / 255, rtol=0)
    assert torch.equal(read("pictures/1.png").x, new.x[1:])


def test_inputs_on_another_scale_are_told(read, digits):
    raw = np.array(Reading.of(digits).shown)
    np.savez("same.npz", x=raw)
    np.savetxt("sixteen.csv", 16 * raw.reshape(2, 64), delimiter=",")
    np.savez("sixteen.npz", x=16 * raw)
    assert read("same.npz").notes == []
    for name in ("sixteen.csv", "sixteen.npz"):
        (note,) = read(name).notes
        assert note.endswith(
            "has values from 0 to 16; in training they went from 0 to 1: if the scale is another, so are the answers"
        )


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("lost.csv", None, "lost.csv: is no file"),
        ("new.docx", "x", "new.docx: is none of the files that are read here"),
        ("empty.csv", "", "empty.csv: is empty"),
        ("head.csv", "a,b\n", "head.csv: has no rows"),
        ("few.csv", "1,2,3\n", "few.csv: has 3 columns; this net reads 64 numbers in each row, those of shape"),
        ("torn.csv", ",".join("0" * 64) + "\n1,2\n", "torn.csv: row 2 has 2 columns, not 64"),
        ("word.csv", ",".join(["0"] * 63 + ["x"]) + "\n", "word.csv: row 1, column 64: 'x' is no number"),
        ("new.txt", "a text\n", "new.txt: holds text; this net reads numbers of shape"),
        ("bad.npz", "no zip", "bad.npz: cannot be read as an NPZ file of plain arrays"),
        ("bad.npy", "no array", "bad.npy: cannot be read as an NPY file of plain arrays"),
        ("bad.png", "no image", "bad.png: cannot be read as an image"),
        ("bad.parquet", "no table", "bad.parquet: cannot be read as Parquet"),
    ],
)
def test_a_fault_is_one_line_that_names_the_file(name, content, said, read, tmp_path):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=said) as refused:
        read(name)
    assert "\n" not in str(refused.value)


def test_an_image_of_another_size_and_an_object_array_are_refused(read):
    Image.new("L", (9, 8)).save("wide.png")
    with pytest.raises(DataError, match=r"wide.png: is 9 x 8 pixels; this net reads 8 x 8: resize it first"):
        read("wide.png")
    np.savez("objects.npz", x=np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="x holds Python objects, which would have to be unpickled"):
        read("objects.npz")
    np.savez("names.npz", a=np.zeros(1), b=np.zeros(1))
    with pytest.raises(DataError, match=r"names.npz: has no array x \(it has a, b\)"):
        read("names.npz")


def test_small_files_of_giant_arrays_tables_and_images_are_refused_before_they_are_unpacked(read, monkeypatch):
    import pyarrow
    import pyarrow.parquet

    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=1_000_000))
    np.savez_compressed("bomb.npz", x=np.zeros((20_000, 1, 8, 8)))
    pyarrow.parquet.write_table(pyarrow.table({"c": np.zeros(100_000)}), "bomb.parquet")
    for name in ("bomb.npz", "bomb.parquet"):
        with pytest.raises(DataError, match=rf"{name}.* unpacks to .* GB, and 0.0 GB of memory are free"):
            read(name)
    Image.new("L", (9000, 11_000)).save("large.png")
    for most in (10**12, 10**3):  # the second: Pillow takes it for a bomb itself
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
        with pytest.raises(DataError, match=r"large.png: (is 9000 x 11000 pixels|cannot be read as an image)"):
            read("large.png")
    with open("false.npy", "wb") as file:  # a header that promises more than anybody has
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**15,)})
    with pytest.raises(DataError, match=r"false.npy: cannot be read as .*: the array x is torn"):
        read("false.npy")


def test_a_damaged_image_is_one_line_and_a_pipe_in_a_folder_is_passed_over(read, tmp_path):
    Image.new("L", (8, 8), 7).save("whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "torn.png").write_bytes(whole.replace(b"IDAT", b"IDAX"))
    with pytest.raises(DataError, match=r"torn.png: cannot be read as an image"):
        read("torn.png")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "whole.png").write_bytes(whole)
    os.mkfifo(tmp_path / "pictures" / "pipe.png")
    assert read("pictures").names == ["whole.png"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shape": ["a"]}, "shape"),
        ({"shape": [10**6, 10**6, 10**3]}, "shape"),
        ({"dtype": "object"}, "dtype"),
        ({"dtype": "no such"}, "data type"),
        ({"mean": "x"}, "mean"),
        ({"mean": [1, 2, 3], "deviation": [1, 1, 1]}, "mean"),
        ({"class_names": None}, "class_names"),
        ({"class_names": []}, "class_names"),
        ({"class_names": ["0", "1"]}, "class_names"),
        ({"symbols": [1]}, "class_names"),
        ({"tokenizer": 1}, "tokenizer"),
        ({"lowest": "x"}, "lowest"),
    ],
)
def test_what_is_said_of_the_inputs_by_somebody_elses_file_is_looked_at(change, said, digits, tmp_path):
    file = Reading.of(digits).write(tmp_path)
    assert Reading.read(tmp_path) == Reading.of(digits)
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(ConfigError, match=rf"inputs.json: is damaged: .*{said}"):
        Reading.read(tmp_path)


def test_texts_come_from_lines_or_a_column(tmp_path):
    reading = Reading.of(load("docstrings", length=12))
    (tmp_path / "t.txt").write_text("read a file\nsend it\n")
    (tmp_path / "t.csv").write_text('id,text\n1,read a file\n2,"send it"\n')
    (tmp_path / "other.csv").write_text("id,texts\n1,a\n")
    lines, column = (read_file(tmp_path / name, reading) for name in ("t.txt", "t.csv"))
    assert torch.equal(lines.x, column.x)
    assert lines.texts == column.texts == ["read a file", "send it"]
    with pytest.raises(DataError, match=r"other.csv: unknown column 'text'; did you mean 'texts'"):
        read_file(tmp_path / "other.csv", reading)
    (tmp_path / "s.txt").write_text("read a zzqq file\n")
    assert read_file(tmp_path / "s.txt", reading).notes == [
        f"{tmp_path / 's.txt'}: not in the vocabulary, so read as <unk>: zzqq"
    ]


@pytest.fixture
def people(monkeypatch):
    monkeypatch.setattr(DATA, "_entries", dict(DATA._entries))
    monkeypatch.setattr(DATA, "_facts", dict(DATA._facts))

    @register_data("people_of_new_inputs")
    def people_of_new_inputs(source, names: list[str] = ["age", "income"]):  # noqa: B006
        x = np.random.default_rng(0).normal(size=(40, 2)) * [10, 1000] + [40, 3000]
        return RawData(x, np.arange(40) % 2, features=names, normalise="train")

    return people_of_new_inputs


def test_columns_are_found_by_their_names(people, tmp_path):
    data = load("people_of_new_inputs")
    reading = Reading.of(data)
    (age, income), (age2, income2) = reading.shown
    table = tmp_path / "people.csv"
    table.write_text(f"id,income,name,age\n1,{income!r},Ann,{age!r}\n2,{income2!r},Bob,{age2!r}\n")
    assert torch.equal(read_file(table, reading).x, data.test.x[:2])
    table.write_text("id,income\n1,3\n")
    with pytest.raises(DataError, match=r"people.csv: has no column 'age' \(it has id, income\)"):
        read_file(table, reading)
    table.write_text("age,income\n1,3\n1\n")
    with pytest.raises(DataError, match=r"people.csv: row 2 has 1 columns, not 2"):
        read_file(table, reading)
    with pytest.raises(DataError, match=r"features names 1 columns and x_train has shape \(40, 2\)"):
        load("people_of_new_inputs", names=["age", "age"])


def test_rows_are_named_by_a_column_in_the_encoding_of_the_table(tmp_path):
    from unlocked.data.new.targets import names_of_rows

    rows = "".join(f"t{i};{i},5;{'elm' if i % 2 else 'oak'}\n" for i in range(20))
    (tmp_path / "trees.csv").write_text("name;height;kind\n" + rows)
    reading = Reading.of(load("table", file=str(tmp_path / "trees.csv"), target="kind", columns=["height"]))
    (tmp_path / "new.csv").write_bytes("name;height\ntré;1,5\n;2\n".encode("latin-1"))
    assert names_of_rows(tmp_path / "new.csv", "name", reading) == ["tré", ""]
    with pytest.raises(DataError, match=r"--id: .*new\.csv: unknown column 'nam'; did you mean 'name'\?"):
        names_of_rows(tmp_path / "new.csv", "nam", reading)
    with pytest.raises(DataError, match=r"--id: new\.npz is no table, and has no column 'name'"):
        names_of_rows(tmp_path.relative_to(tmp_path) / "new.npz", "name", reading)
