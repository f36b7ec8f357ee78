"""Wrong input ends in one readable line on stderr and exit code 2, and starts nothing."""

from __future__ import annotations

import gzip
import importlib.util
import socket
import struct
from pathlib import Path

import pytest

BASE = [
    "train",
    "quickstart",
    "parallel.partition=null",
    "parallel.engine=inprocess",
    "parallel.threads=1",
    "tracking.uri=off",
]


def assert_one_line(done, code, *words):
    assert done.code == code, done
    assert done.err.endswith("\n")
    assert done.err.count("\n") == 1, done.err
    assert done.err.startswith("unlocked: ")
    for word in words:
        assert word in done.err
    assert not Path("runs").is_dir() or not any(Path("runs").iterdir())


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["optimizer.lrr=1"], ["optimizer.lrr: unknown key", "did you mean 'lr'?"]),
        (["optimiser.lr=1"], ["did you mean 'optimizer'?"]),
        (["train.epochs=many"], ["train.epochs", "many", "int"]),
        (["train.epochs=0"], ["train.epochs: must be at least 1, got 0"]),
        (["optimizer.lr=-1"], ["optimizer.lr: must be greater than 0, got -1.0"]),
        (["optimizer.lr=nan"], ["optimizer.lr"]),
        (["scheme.name=dnii"], ["scheme.name: unknown scheme 'dnii'; did you mean 'dni'?", "known: annealing"]),
        (["model.name=mpl"], ["model.name: unknown model 'mpl'; did you mean 'mlp'?"]),
        (["model.widths=[3]"], ["model.widths: unknown option of mlp 'widths'"]),
        (["data={name: text, options: {length: 8}}"], ["data.options.file: text needs this option"]),
        (["data.options.pairs=3"], ["data.options.pairs: unknown option of digits 'pairs'"]),
        (["data.name=digit"], ["data.name: unknown data 'digit'; did you mean 'digits'?"]),
        (["scheme.name=backprop", "scheme.lag=1"], ["scheme.lag: 1 cannot be used with backprop"]),
        (["parallel.modules=9"], ["parallel.modules: 9 is more than the 5 blocks"]),
        (["parallel.partition=[1,1]"], ["parallel.partition", "covers 2 blocks"]),
        (
            ["parallel.replicas=2", "parallel.engine=ray", "data.batch_size=33"],
            ["parallel.replicas: 2 does not divide"],
        ),
        (["data.batch_size=5000"], ["data.batch_size: 5000 is larger than the", "digits"]),
        (["train.patience=3", "data.validation=0"], ["train.patience: 3 needs a validation split"]),
        (["tracking.uri=nonsense"], ["tracking.uri"]),
        (["tracking.uri=http://"], ["tracking.uri: 'http://' names no host"]),
        (["tracking.uri=http://127.0.0.1:99999", "--dry-run"], ["tracking.uri", "Port out of range"]),
        (["parallel.address=127.0.0.1:99999"], ["parallel.address", "expected HOST:PORT"]),
        (["name=${oc.env:HOME}"], ["calls a resolver"]),
        (["no_equals_sign"], ["an override is key=value"]),
    ],
)
def test_a_wrong_override_ends_in_one_line(unlocked, overrides, words):
    assert_one_line(unlocked(*BASE, *overrides), 2, *words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train"], "train: name a preset or a .yaml file"),
        (["train", "quickstrat"], "did you mean 'quickstart'?"),
        (["train", "missing.yaml"], "no file 'missing.yaml'"),
        (["train", "--resume", "nowhere"], "nowhere is not a run folder"),
        (["train", "quickstart", "--resume", "nowhere"], "--resume takes its configuration from the run folder"),
        (["train", "quickstart", "--import", "no_such_module"], "--import no_such_module: ModuleNotFoundError"),
        (["train", "quickstart", "--wrong"], "--wrong"),
        (["evaluate", "nowhere"], "nowhere is not a run folder"),
        (["list", "nothing"], "nothing"),
        (["ui", "--port", "99999"], "--port: must be from 1 to 65535, got 99999"),
        (["ui", "--port", "-1"], "--port: must be from 1 to 65535, got -1"),
        (["ui", "--host", "two words"], "--host: 'two words' is no host"),
        (["ui", "--allow-host", "a/b"], "--allow-host: 'a/b' is no host"),
        (["ui", "--uri", "http://"], "--uri: 'http://' names no host"),
        (["compare", "--uri", "http://127.0.0.1:99999"], "--uri: 'http://127.0.0.1:99999' is not an address"),
        (["doctor", "--uri", "nonsense"], "--uri: 'nonsense' is not a tracking address"),
        (["doctor", "--address", "http://h:0"], "--address: 'http://h:0' has no port"),
        (["cluster", "up", "--port", "99999"], "--port: must be from 1 to 65535, got 99999"),
        (["cluster", "up", "--port", "0"], "--port: must be from 1 to 65535, got 0"),
        (["cluster", "up", "--host", "two words"], "--host: 'two words' is no host"),
        (["cluster", "up", "--gpus", "-1"], "--gpus: must be at least 0, got -1"),
        (["cluster", "up", "--cpus", "0"], "--cpus: must be at least 1, got 0"),
        *[
            (
                ["submit", "train", "quickstart", "--gpus", gpus],
                f"--gpus: must be {allowed}, got {float(gpus)}",
            )
            for gpus, allowed in (("-1", "at least 0"), ("nan", "at least 0"), ("1e9", "at most 10000"))
        ],
        (["bench", "overhead", "--threads", "100000000"], "--threads: must be at most 1024, got 100000000"),
        (["bench", "reference", "--seeds", "9" * 23], "--seeds"),
        (["bench", "reference", "--seeds", "9" * 5000], "--seeds"),
        (["cluster", "up", "--workers", "-1"], "--workers: must be at least 0, got -1"),
        *[
            ([*command, "--address", "http://127.0.0.1:99999"], "--address: 'http://127.0.0.1:99999' is not an address")
            for command in (["jobs"], ["queue"], ["logs", "x"], ["stop", "x"], ["submit", "train", "quickstart"])
        ],
        ([], "COMMAND"),
        (["fly"], "fly"),
    ],
)
def test_a_wrong_command_ends_in_one_line(unlocked, words, said):
    assert_one_line(unlocked(*words), 2, said)


@pytest.mark.parametrize(
    "words",
    [
        ["doctor", "--address"],
        ["compare", "--uri"],
        ["ui", "--uri"],
    ],
    ids=lambda words: words[0],
)
def test_an_address_where_nobody_listens_ends_in_one_line_and_1(unlocked, words):
    done = unlocked(*words, "http://127.0.0.1:1")
    assert_one_line(done, 1, "http://127.0.0.1:1", "answers")


def test_an_address_of_the_environment_is_named_by_its_variable(unlocked, monkeypatch):
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "nonsense")
    assert_one_line(unlocked("jobs"), 2, "RAY_API_SERVER_ADDRESS: 'nonsense' is not an address")


def test_an_open_dashboard_without_a_login_ends_in_one_line(unlocked, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert_one_line(unlocked("ui", "--host", "0.0.0.0"), 2, "beyond this machine MLflow needs its login")


@pytest.mark.parametrize("text", ["a: [1, 2", "a: b: c", "- just\n- a list", "\t- x", "seed: {", "\x00"])
def test_a_file_that_is_no_configuration_ends_in_one_line(unlocked, tmp_path, text):
    (tmp_path / "bad.yaml").write_text(text)
    assert_one_line(unlocked("train", "bad.yaml"), 2, "bad.yaml")


def test_missing_data_files_are_named_with_the_ways_out(unlocked, tmp_path):
    (tmp_path / "empty").mkdir()
    done = unlocked(*BASE, "data.name=mnist", f"data.root={tmp_path / 'empty'}")
    assert_one_line(done, 2, "train-images-idx3-ubyte", str(tmp_path / "empty"), "data.download=true")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "data.options.file: mine.txt: is empty"),
        (b" \n\n", "data.options.file: mine.txt: is empty"),
        (b"abc", "a window of data.options.length 8 needs 9"),
        ("caf\u00e9".encode("latin-1") * 400, "data.options.file: mine.txt, line 1: cannot be read as UTF-8 text"),
        (None, "data.options.file: mine.txt is no file"),
    ],
    ids=["empty", "blank", "short", "latin-1", "missing"],
)
def test_a_text_that_cannot_be_learned_from_ends_in_one_line(unlocked, content, said):
    if content is not None:
        Path("mine.txt").write_bytes(content)
    data = "data={name: text, batch_size: 4, options: {file: mine.txt, length: 8}}"
    done = unlocked("train", "transformer/gpt", data)
    assert_one_line(done, 2, said)


@pytest.mark.parametrize(
    "content",
    [
        b"not an archive",
        gzip.compress(b"\0\0\x08\x03")[:-6],
        gzip.compress(b"\0\0\x08\x03" + struct.pack(">3I", 9, 28, 28)),
    ],
    ids=["no gzip", "torn gzip", "short IDX"],
)
def test_corrupt_data_files_are_named(unlocked, tmp_path, content):
    for stem in (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ):
        (tmp_path / f"{stem}.gz").write_bytes(content)
    assert_one_line(unlocked(*BASE, "data.name=mnist", f"data.root={tmp_path}"), 2, "-ubyte.gz")


def test_a_model_of_ones_own_that_ignores_the_number_of_classes_is_refused(unlocked, tmp_path):
    (tmp_path / "five_outputs.py").write_text(
        "from torch import nn\nfrom unlocked import register_model\n\n"
        "@register_model('five')\ndef five(in_shape, n_outputs):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 5))\n"
    )
    done = unlocked(*BASE, "parallel.modules=1", "model.name=five", "--import", "five_outputs")
    assert_one_line(done, 2, "five gives outputs of shape (5,), classification of digits needs (10,)")


def test_a_file_in_the_place_of_the_runs_folder_ends_in_one_line(unlocked, tmp_path):
    (tmp_path / "occupied").write_text("a file")
    assert_one_line(unlocked(*BASE, "tracking.runs=occupied"), 2, "tracking.runs: occupied cannot be written")
    assert_one_line(unlocked(*BASE, "tracking.runs=occupied/below"), 2, "tracking.runs: occupied/below cannot be")


def test_a_port_in_use_ends_the_dashboard_in_one_line(unlocked, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mlflow.db").write_bytes(b"")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        done = unlocked("ui", "--port", port)
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert done.err.startswith(f"unlocked: --port {port}: already in use")
