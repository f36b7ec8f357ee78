"""A finished run is trained longer, as a new run, to the numbers of a run that was as long from the start."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from unlocked.errors import ConfigError
from unlocked.loop.train import resume, train
from unlocked.runs.begun import HANDED_ON
from unlocked.runs.checkpoint import Checkpoints
from unlocked.runs.longer import lengthen, lengthened_tags
from unlocked.tracking import read
from unlocked.tracking.identity import config_hash

CONSTANT = "optimizer.schedule=constant"
MOMENTUM = ["optimizer.name=sgd", "optimizer.lr=0.05", "optimizer.momentum=0.9"]


def weights(run_dir: str) -> dict[str, torch.Tensor]:
    checkpoints = Checkpoints(Path(run_dir))
    return load_file(checkpoints.last() / "model.safetensors")


def without_time(values):
    return {key: value for key, value in values.items() if not key.startswith("time/")}


@pytest.mark.parametrize(
    "scheme",
    [
        ["scheme.name=cdni", "scheme.lag=2", "data.validation=0.2"],
        ["scheme.name=dfa", "scheme.lag=3", "optimizer.warmup=30", "train.probe_every=1"],
        ["scheme.name=backprop", *MOMENTUM, "data.validation=0.2", "train.checkpoint_every=2"],
    ],
    ids=["cdni", "dfa", "backprop"],
)
def test_two_epochs_and_two_more_are_four(small, scheme):
    whole = train(small(CONSTANT, *scheme, "train.epochs=4"))
    short = train(small(CONSTANT, *scheme, "train.epochs=2"))
    run = Path(short["run_dir"])
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "lock"}
    longer, note = lengthen(run, ["train.epochs=4"])
    assert note == f"a new run of 4 epochs that goes on from {run}, which stays as it is"
    found = resume(longer)
    assert (found["steps"], found["epochs"], found["tested"]) == (whole["steps"], 4, whole["tested"])
    assert without_time(found["metrics"]) == without_time(whole["metrics"])
    expected, got = weights(whole["run_dir"]), weights(found["run_dir"])
    assert [key for key in expected if not torch.equal(expected[key], got[key])] == []
    assert without_time(read(longer)) == without_time(read(Path(whole["run_dir"])))
    assert lengthened_tags(longer) == {"continues": run.name}
    assert all(path.read_bytes() == content for path, content in before.items())


def test_an_interrupted_lengthened_run_resumes_to_the_same_numbers(small):
    whole, short = train(small(CONSTANT, "train.epochs=3")), train(small(CONSTANT, "train.epochs=1"))
    longer, _ = lengthen(Path(short["run_dir"]), ["train.epochs=3"])
    again, _ = lengthen(longer, ["train.epochs=3"])
    assert again == longer  # it has as many already
    assert without_time(resume(longer)["metrics"]) == without_time(whole["metrics"])


@pytest.mark.parametrize(
    ("options", "tag", "why"),
    [
        (["optimizer.schedule=cosine"], "cosine over 2 epochs", "optimizer.schedule=cosine has brought the rate down"),
        (["optimizer.schedule=linear"], "linear over 2 epochs", "optimizer.schedule=linear has brought"),
        (
            [CONSTANT, "data.validation=0.2", "train.evaluate_every=3"],
            "validated after 2 epochs",
            "validated after epoch 2, where the longer run is not",
        ),
    ],
)
def test_a_past_that_depends_on_its_length_is_told_and_sets_the_run_apart(small, options, tag, why):
    short = train(small(*options, "train.epochs=2"))
    longer, note = lengthen(Path(short["run_dir"]), ["train.epochs=4"])
    assert f"not the numbers of an unbroken one: {why}" in note
    tags = lengthened_tags(longer)
    assert tags["lengthened"] == tag
    assert config_hash({}, tags) != config_hash({}, {})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["train.epochs=6", "optimizer.lr=1"],
            "--resume: optimizer.lr would make .* another run; only train.epochs may",
        ),
        (["seed=1"], "--resume: seed would make .* another run"),
        (["train={}"], "train would make"),
        (["train.epochs=1"], "train.epochs: 1 is fewer than the 3 of .*; a run can only be made longer"),
        (["train.epochs=many"], "train.epochs: 'many' is not"),
        (["train.epochs=true"], "must be a whole number, got True"),
        (["train.epochs=4.0"], "must be a whole number, got 4.0"),
        (["train.epochs=null"], "must be a whole number, got None"),
    ],
)
def test_anything_but_more_epochs_is_refused_in_one_line(small, tmp_path, words, said):
    short = train(small("train.epochs=3"))
    with pytest.raises(ConfigError, match=said) as refused:
        lengthen(Path(short["run_dir"]), words)
    assert "\n" not in str(refused.value)
    assert len(list((tmp_path / "runs").glob("quickstart-*"))) == 1


def test_a_run_that_stopped_early_would_stop_again(small):
    short = train(small("data.validation=0.2", "train.patience=1", "optimizer.lr=1e-12", "train.epochs=6"))
    assert short["epochs"] < 6
    with pytest.raises(ConfigError, match=r"stopped early \(train\.patience: 1 .*\), and would again"):
        lengthen(Path(short["run_dir"]), ["train.epochs=9"])


def test_a_file_that_says_nothing_of_a_past_gives_no_tags(tmp_path):
    assert lengthened_tags(tmp_path) == {}
    (tmp_path / HANDED_ON).write_text('{"run": "x", "differs": null}')
    assert lengthened_tags(tmp_path) == {"continues": "x"}
