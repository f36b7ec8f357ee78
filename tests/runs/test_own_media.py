"""Runs on arrays, images and sounds of one's own: the file of the test split is evaluated and predicted as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io.wavfile
from PIL import Image

from unlocked.loop.train import train
from unlocked.plan.plan import load_data
from unlocked.runs.evaluate import evaluate_run
from unlocked.runs.evaluate_file import evaluate_file
from unlocked.runs.opened import open_trained


@pytest.fixture
def agrees(small, tmp_path):
    """`agrees(name, options, file)`: trains; evaluates and asks the run of the file that was its test split."""

    def check(name, options, file, *more):
        given = [f"data.options.{key}={value}" for key, value in options.items()]
        config = small("scheme.name=backprop", "train.epochs=1", "parallel.modules=1", "data.batch_size=8",
                       f"data.name={name}", f"data.options.test={file}", *given, *more)  # fmt: skip
        run = Path(train(config)["run_dir"])
        wanted = evaluate_run(run)["metrics"]
        found = evaluate_file(run, Path(file))["metrics"]
        assert found == {key.replace("test/", "data/"): pytest.approx(value, rel=1e-5) for key, value in wanted.items()}
        table = open_trained(run).table(open_trained(run).read(Path(file)))
        if "test/accuracy" in wanted:
            data = load_data(config)
            truth = [data.class_names[i] for i in data.test.y]
            right = np.mean([a == b for a, b in zip(table["prediction"], truth, strict=True)])
            assert right == pytest.approx(wanted["test/accuracy"])
        return run

    return check


def test_arrays_whose_classes_are_any_numbers_keep_them(agrees, tmp_path):
    rng = np.random.default_rng(0)
    for name, count in (("train", 40), ("test", 12)):
        y = np.where(np.arange(count) % 3 > 1, 7, np.arange(count) % 3 - 1)  # -1, 0 and 7
        np.savez(tmp_path / f"{name}.npz", inputs=rng.normal(size=(count, 5)) + y[:, None], kinds=y)
    agrees("arrays", {"file": tmp_path / "train.npz", "x": "inputs", "y": "kinds"}, tmp_path / "test.npz")


def test_images_that_a_table_names_have_values(agrees, tmp_path):
    rng = np.random.default_rng(0)
    for name, count in (("train", 20), ("test", 6)):
        rows = ["picture,age"]
        for i in range(count):
            Image.fromarray(rng.integers(0, 256, (9 + i, 12), dtype=np.uint8)).save(tmp_path / f"{name}{i}.png")
            rows.append(f"{name}{i}.png,{20 + 3 * i}")
        (tmp_path / f"{name}.csv").write_text("\n".join(rows))
    options = {"file": tmp_path / "train.csv", "path": "picture", "target": "age", "task": "regression", "size": 8}
    agrees("images", options, tmp_path / "test.csv", "task=regression")


def test_sounds_in_folders_keep_their_lengths(agrees, tmp_path):
    rng = np.random.default_rng(0)
    for part, count in (("train", 8), ("test", 3)):
        for c, label in enumerate(("dog", "owl")):
            (tmp_path / part / label).mkdir(parents=True)
            for i in range(count):
                values = (3000 * (c + 1) * rng.normal(size=900 + 200 * i)).clip(-32768, 32767).astype(np.int16)
                scipy.io.wavfile.write(tmp_path / part / label / f"{i}.wav", 4000, values)
    options = {"file": tmp_path / "train", "mels": 8}
    agrees("audio", options, tmp_path / "test", "model={name: gru, hidden: [8], pool: mean}")
