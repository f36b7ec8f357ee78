"""Files of tables as people have them: encodings, separators, headers, types; and the line that a fault is told in."""

import json

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest

from unlocked.data.files.csv import Format
from unlocked.data.files.source import Source
from unlocked.data.tables.columns import Column, encoded, numbers, texts, times_of
from unlocked.data.tables.table import located, of_columns, read_table, refuse_mixed
from unlocked.errors import DataError


@pytest.fixture
def written(tmp_path):
    """`written(text, name, encoding)`: the path of such a file."""

    def write(text, name="a.csv", encoding="utf-8"):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return tmp_path / name

    return write


def values(path, **how):
    return {name: column.to_pylist() for name, column in read_table(path, Format(**how)).columns.items()}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_encoding_and_separator_are_found_out(written, encoding, separator):
    rows = [["name", "size"], ["Zoë", "2"], [f'"a{separator}b"', "3"]]
    path = written("\r\n".join(separator.join(row) for row in rows), encoding=encoding)
    assert values(path) == {"name": ["Zoë", f"a{separator}b"], "size": [2, 3]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("'a, b',1\n'c, d',2\n'e',3\n", {"column_1": ["a, b", "c, d", "e"], "column_2": [1, 2, 3]}),
        ('a,b\n"two\nlines",1\n', {"a": ["two\nlines"], "b": [1]}),
        ("T,2\nI,5\n", {"column_1": ["T", "I"], "column_2": [2, 5]}),
        ("5 2\n6 3\n", {"column_1": [5, 6], "column_2": [2, 3]}),
        ("a;b\n1,5;x\n2;y\n", {"a": [1.5, 2.0], "b": ["x", "y"]}),
        ("a,b\nNA,x\n2,\n", {"a": [None, 2], "b": ["x", None]}),
        ("\n\na,b\n\n1,x\n", {"a": [1], "b": ["x"]}),
        ("a,b,c\r1,,x\r2,,y\r", {"a": [1, 2], "b": [None, None], "c": ["x", "y"]}),
        ("when,ok\n2024-05-31,true\n2024-06-01,false\n", None),
    ],
)
def test_quotes_headers_numbers_and_missing_values_are_found_out(written, text, expected):
    found = values(written(text))
    if expected is None:
        expected = {"when": [pd.Timestamp("2024-05-31").date(), pd.Timestamp("2024-06-01").date()], "ok": [True, False]}
    assert found == expected


def test_what_was_found_out_is_told_and_can_be_said(written):
    table = read_table(written("größe;ok\n1,5;ja\n", encoding="cp1252"))
    assert table.read_as == 'CSV, cp1252, separated by semicolons, quoted by ", header'
    assert len(table.notes) == 2
    path = written("a:b\n1:?\n")
    assert values(path, separator=":", header=False, empty=["?"]) == {"column_1": ["a", "1"], "column_2": ["b", None]}


def test_json_lines_parquet_and_frames_hold_the_same(written, tmp_path):
    expected = {"a": [1.5, None], "b": ["x", "y"]}
    lines = [json.dumps({"a": 1.5, "b": "x"}), json.dumps({"a": None, "b": "y"})]
    assert values(written("\n".join(lines), "a.jsonl")) == expected
    pyarrow.parquet.write_table(
        pyarrow.table({"a": [1.5, None], "b": pyarrow.array(["x", "y"]).dictionary_encode()}), tmp_path / "a.parquet"
    )
    assert values(tmp_path / "a.parquet") == expected
    frame = of_columns({"a": [1.5, np.nan], "b": ["x", "y"]}, tmp_path / "frame")
    assert {name: column.to_pylist() for name, column in frame.columns.items()} == expected


@pytest.mark.parametrize(
    ("text", "name", "told"),
    [
        ("", "a.csv", "a.csv: is empty"),
        ("a,b\n", "a.csv", "a.csv: has no rows, only the columns 'a', 'b'"),
        ("a,b,a\n1,2,3\n", "a.csv", "a.csv, line 1: names the column 'a' twice"),
        ("a,b\n1,2\n3\n4,5\n", "a.csv", "a.csv, line 3: has 1 cells, the first line has 2"),
        ("a,b\n1,2\n3,4,5\n", "a.csv", "a.csv, line 3: has 3 cells, the first line has 2"),
        (b"a,b\n\0\0,1\n", "a.csv", "a.csv: is no text: it holds bytes that are zero"),
        ('a,b\n1,"x\n2,y\n', "a.csv", 'a.csv, line 2: opens a cell with " that nothing closes'),
        ('{"a": 1}\n{"a": "x"}\n', "a.jsonl", "a.jsonl: is not JSON lines with an object in each: JSON parse error"),
        ('{"a": ' + "[" * 5000 + "1" + "]" * 5000 + "}\n", "a.jsonl", "a.jsonl, line 1: has lists or objects nested"),
        ("no parquet at all", "a.parquet", "a.parquet: cannot be read: "),
    ],
)
def test_a_file_that_is_no_table_is_one_line_that_names_it(written, text, name, told):
    path = written(text, name)
    with pytest.raises(DataError) as error:
        read_table(path)
    assert str(error.value).removeprefix(f"{path.parent}/").startswith(told)
    assert "\n" not in str(error.value)


def test_bytes_that_are_not_of_the_encoding_that_was_said_are_told_with_their_line(written):
    path = written("a,b\nok,1\nZoë,2\n", encoding="cp1252")
    with pytest.raises(DataError, match=r"a.csv, line 3: is not in the encoding 'utf-8'"):
        read_table(path, Format(encoding="utf-8"))
    with pytest.raises(DataError, match=r"a.csv, line 1: is not in the encoding 'utf-16'"):
        read_table(path, Format(encoding="utf-16"))
    for none in ("utf-9", "zlib", "hex", "rot13", "a b\0"):
        with pytest.raises(DataError, match=r"data.options.encoding: .* is no encoding"):
            read_table(path, Format(encoding=none))


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"separator": "é"}, "separator: must"),
        ({"quote": "\n"}, "quote: must"),
        ({"quote": ";", "separator": ";"}, "quote: is"),
    ],
)
def test_signs_that_no_reader_of_csv_takes_are_told(written, how, told):
    with pytest.raises(DataError, match=rf"data.options.{told}"):
        read_table(written("a;b\n1;2\n"), Format(**how))


def test_a_few_texts_among_numbers_are_told_with_their_row(written):
    table = read_table(written("a\n" + "\n".join("oops" if i == 17 else str(i) for i in range(40))))
    with pytest.raises(DataError, match=r"a.csv, row 18: a is 'oops', and a number in most rows.*data.options.empty"):
        refuse_mixed(table, "a")


def test_a_small_parquet_file_of_many_long_words_is_refused_before_it_fills_the_memory(tmp_path):
    words = pyarrow.DictionaryArray.from_arrays(pyarrow.array(np.zeros(400_000, np.int32)), ["x" * 1_000_000])
    pyarrow.parquet.write_table(pyarrow.table({"a": words}), tmp_path / "bomb.parquet")
    assert (tmp_path / "bomb.parquet").stat().st_size < 1e6
    with pytest.raises(DataError, match=r"bomb.parquet: takes about 400.0 GB in memory"):
        read_table(tmp_path / "bomb.parquet")


def test_columns_that_are_neither_texts_nor_numbers_nor_dates_are_told_if_they_are_asked_for_some(tmp_path):
    held = {
        "clock": pyarrow.array([1, 2], pyarrow.time32("s")),
        "list": pyarrow.array([[1], [2]]),
        "bytes": pyarrow.array([b"\xff", b"a"]),
        "far": pyarrow.array([2**50, 0], pyarrow.timestamp("s")),
    }
    pyarrow.parquet.write_table(pyarrow.table(held), tmp_path / "a.parquet")
    table = read_table(tmp_path / "a.parquet")
    for name in ("list", "bytes"):
        with pytest.raises(DataError, match=f"a.parquet: the column '{name}' holds .*, which is no text"):
            texts(table.columns[name], table.of(name))
    for name, told in {"clock": "no time", "list": "no time", "bytes": "no time", "far": "too far away"}.items():
        with pytest.raises(DataError, match=f"a.parquet: the column '{name}' .*{told}"):
            times_of(table, name)
    for name, told in {"clock": "not numbers", "list": "not numbers", "far": "too far away"}.items():
        with pytest.raises(DataError, match=f"a.parquet: the column '{name}' .*{told}"):
            numbers(table, name, table.columns[name])


def test_dates_of_any_century_and_whole_numbers_of_any_size_are_numbers(written):
    table = read_table(written("day,n\n0001-01-01,9007199254740993\n2024-01-01,1\n"))
    assert numbers(table, "day", table.columns["day"]).tolist() == [-719162.0, 19723.0]
    assert numbers(table, "n", table.columns["n"])[0] == 2.0**53


def test_the_cell_that_is_no_time_is_the_one_that_is_told(written):
    table = read_table(written("t\n2024-01-01\n2024-01-02\nyesterday\n"))
    with pytest.raises(DataError, match=r"a.csv, row 3: t is 'yesterday', which is no time"):
        times_of(table, "t")


def test_a_name_that_no_file_can_have_is_told(tmp_path):
    for name in ("a" * 300 + ".csv", "~nobody-of-this-name/a.csv"):
        with pytest.raises(DataError, match=r"^data.options.file: '.*' cannot be looked for"):
            located(Source("table", tmp_path), "data.options.file", name)


def test_dates_are_not_read_as_the_numbers_of_training_nor_the_other_way(written):
    dates, plain = read_table(written("t\n2024-01-01\n")), read_table(written("t\n5\n"))
    for table, kind in ((dates, "number"), (plain, "date")):
        with pytest.raises(DataError, match=f"a.csv: the column 't' holds .*, and training read {kind}s"):
            encoded(table, [Column("t", kind, fill=0.0)])
