"""A run on another file: what its own test split says, from a file of every kind; faults in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unlocked.data import DATA, RawData, register_data
from unlocked.errors import ConfigError, DataError
from unlocked.loop.train import train
from unlocked.plan.plan import load_data
from unlocked.runs.evaluate import evaluate_run
from unlocked.runs.evaluate_file import evaluate_file

PLAIN = ["scheme.name=backprop", "train.epochs=1", "parallel.modules=1"]


def agree(found, run):
    """With what the run's own test split gives; the floats of a file are those of the data set."""
    wanted = {name.replace("test/", "data/"): value for name, value in run["metrics"].items()}
    assert found["metrics"] == {name: pytest.approx(value, rel=1e-5) for name, value in wanted.items()}


def table(path, names, *columns):
    rows = [names, *([str(cell) for cell in row] for row in zip(*columns, strict=True))]
    Path(path).write_text("\n".join(",".join(row) for row in rows) + "\n")
    return Path(path)


@pytest.fixture
def digits(small):
    config = small(*PLAIN)
    return config, Path(train(config)["run_dir"])


def test_digits_from_arrays_and_from_a_table_are_those_of_the_test_split(digits, tmp_path):
    config, run = digits
    test, own = load_data(config).test, evaluate_run(run)
    x, y = test.x.numpy().astype(float), test.y.numpy()
    np.savez(tmp_path / "new.npz", x=x, y=y)
    found = evaluate_file(run, tmp_path / "new.npz")
    agree(found, own)
    assert found["classes"] == own["classes"]
    three = found["classes"][3]
    assert (three["class"], three["examples"]) == ("3", int((y == 3).sum()))
    right = sum(row["recall"] * row["examples"] for row in found["classes"]) / len(y)
    assert found["metrics"]["data/accuracy"] == pytest.approx(right)
    np.savez(tmp_path / "few.npz", x=x[:3])
    with pytest.raises(DataError, match=r"few\.npz: has no array y of targets \(it has x\)"):
        evaluate_file(run, tmp_path / "few.npz")
    np.savez(tmp_path / "more.npz", x=x[:3], y=[1, 2, 12])
    with pytest.raises(DataError, match=r"more\.npz: holds class 12; this net knows 0 to 9"):
        evaluate_file(run, tmp_path / "more.npz")
    with pytest.raises(DataError, match=r"none\.csv: is no file or folder"):
        evaluate_file(run, tmp_path / "none.csv")


@pytest.fixture
def plants():
    """Features with names, of classes and of values."""
    rng = np.random.default_rng(0)
    x = rng.normal(3.0, 2.0, (90, 3))
    y = np.argmax(x, 1)

    @register_data("plants")
    def plants(source):
        return RawData(x, y, features=["a", "b", "c"], class_names=["fern", "moss", "oak"], normalise="train")

    @register_data("heights", task="regression")
    def heights(source):
        return RawData(x, 50 + 9 * x[:, 0], features=["a", "b", "c"], class_names=["height"], normalise="train")

    yield x, y
    for name in ("plants", "heights"):
        DATA._entries.pop(name)
        DATA._facts.pop(name)


def test_classes_and_values_of_a_table_by_their_column(small, plants, tmp_path):
    x, y = plants
    config = small(*PLAIN, "data={name: plants, batch_size: 8}")
    run = Path(train(config)["run_dir"])
    names = np.array(["fern", "moss", "oak"])[y]
    all_ = table(tmp_path / "all.csv", ["c", "kind", "b", "a"], x[:, 2], names, x[:, 1], x[:, 0])
    found = evaluate_file(run, all_, target="kind")
    assert [row["examples"] for row in found["classes"]] == np.bincount(y).tolist()
    for target, words in (
        (None, r"all\.csv: unknown column 'target'"),
        ("kin", r"unknown column 'kin'; did you mean 'ki"),
    ):
        with pytest.raises(DataError, match=words):
            evaluate_file(run, all_, target=target)
    odd = table(tmp_path / "odd.csv", ["a", "b", "c", "class"], x[:2, 0], x[:2, 1], x[:2, 2], ["oak", "elm"])
    with pytest.raises(DataError, match=r"odd\.csv: row 2: unknown class 'elm'"):
        evaluate_file(run, odd)
    config = small(*PLAIN, "data={name: heights, batch_size: 8, transforms: [standardise]}")
    run = Path(train(config)["run_dir"])
    test = load_data(config)
    rows = [
        int(np.argmin(np.abs(x - (r * plants_dev(x, test) + plants_mean(x, test))).sum(1))) for r in test.test.x.numpy()
    ]
    tall = table(tmp_path / "tall.csv", ["y", "a", "b", "c"], 50 + 9 * x[rows, 0], *x[rows].T)
    agree(evaluate_file(run, tall), evaluate_run(run))


def plants_mean(x, data):
    return data.loaded.statistics[0].numpy().ravel()


def plants_dev(x, data):
    return data.loaded.statistics[1].numpy().ravel()


def test_pairs_and_texts_are_evaluated_as_their_test_splits_are(small, tmp_path):
    words = [a + b + c for a in "abcd" for b in "aef" for c in "abcd"]
    lines = [f"{word}\t{' '.join(word.upper())}\n" for word in words]
    (tmp_path / "pairs.tsv").write_text("".join(lines[:40]))
    (tmp_path / "test.tsv").write_text("".join(lines[40:]))
    options = f"{{file: {tmp_path}/pairs.tsv, test: {tmp_path}/test.tsv, source_tokens: char, target_tokens: spaces}}"
    model = "model={name: seq2seq, width: 8, embedding: 4}"
    run = Path(train(small(*PLAIN, model, f"data={{name: pairs, batch_size: 8, options: {options}}}"))["run_dir"])
    own = evaluate_run(run)
    (tmp_path / "pairs.tsv").unlink()  # the data set is not needed
    agree(evaluate_file(run, tmp_path / "test.tsv"), own)
    (tmp_path / "long.tsv").write_text("ab\tA B C D E F\nab\tA B\n")
    assert evaluate_file(run, tmp_path / "long.tsv")["notes"] == [
        f"{tmp_path}/long.tsv: 1 targets of 4 or more tokens are left out"
    ]
    (tmp_path / "my.txt").write_text("abcdefgh" * 40)
    (tmp_path / "test.txt").write_text("abcdh" * 20)
    options = f"{{file: {tmp_path}/my.txt, test: {tmp_path}/test.txt, length: 8}}"
    model = "model={name: gpt, width: 8, depth: 1, heads: 1}"
    run = Path(train(small(*PLAIN, model, f"data={{name: text, batch_size: 8, options: {options}}}"))["run_dir"])
    agree(evaluate_file(run, tmp_path / "test.txt"), evaluate_run(run))
    (tmp_path / "one.csv").write_text("text\nabc\n")
    with pytest.raises(DataError, match=r"one\.csv: this net is evaluated on a text, a \.txt file"):
        evaluate_file(run, tmp_path / "one.csv")


def test_a_run_without_targets_of_a_file_says_so(small, tmp_path):
    config = small(*PLAIN, "task=reconstruction", "model={name: autoencoder, hidden: [8], code: 4}")
    with pytest.raises(ConfigError, match="a run of reconstruction has no targets that a file could hold"):
        evaluate_file(Path(train(config)["run_dir"]), tmp_path / "new.npz")
