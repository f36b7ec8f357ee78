"""The command line on terminals, pipes and disks as they come: each is a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from unlocked.cli.terminal import Lossy, Output, OutputLost

FULL = Path("/dev/full")


def start(
    *words: str,
    cwd: Path,
    python: Sequence[str] = (sys.executable,),
    stdout=subprocess.PIPE,
    redirect: str = "",
    **variables: str,
):
    """`unlocked WORDS` by a shell, so that streams may be closed (`redirect`)."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | variables
    command = ["sh", "-c", f'exec "$@" {redirect}', "sh", *python, "-m", "unlocked", *words]
    return subprocess.Popen(command, cwd=cwd, env=environment, stdout=stdout, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


@pytest.mark.parametrize("words", [("list", "schemes"), ("list", "schemes", "--json"), ("--help",)])
@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_full_disk_behind_standard_output_is_one_line_and_exit_code_1(words, tmp_path, warm_python):
    with FULL.open("w") as full:
        code, _, err = ended(start(*words, cwd=tmp_path, python=warm_python, stdout=full))
    assert (code, err) == (1, "unlocked: standard output cannot be written: No space left on device\n")


def test_a_reader_that_left_is_no_failure(tmp_path, warm_python):
    process = start("list", "models", cwd=tmp_path, python=warm_python)
    process.stdout.close()
    err = process.stderr.read()
    assert (process.wait(timeout=120), err) == (0, "")


@pytest.mark.live
@pytest.mark.parametrize("redirect", ["<&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_failure(redirect, tmp_path):
    code, out, err = ended(start("list", "schemes", "--json", cwd=tmp_path, redirect=redirect))
    assert (code, err) == (0, "")
    assert (">&-" in redirect.replace("2>&-", "")) == (out == "")


@pytest.mark.parametrize("size", ["0", "1", "-3", "", "wide", "9" * 5000])
def test_a_terminal_without_a_size_still_prints(size, tmp_path, warm_python):
    code, out, err = ended(start("list", "schemes", cwd=tmp_path, python=warm_python, COLUMNS=size, LINES=size))
    assert (code, err) == (0, "")
    assert "backprop" in out


def test_letters_that_an_encoding_lacks_are_no_failure(tmp_path):
    code, out, err = ended(start("list", "schemes", cwd=tmp_path, PYTHONIOENCODING="ascii", TERM="dumb", NO_COLOR="1"))
    assert (code, err) == (0, "")
    assert out.isascii()
    assert "backprop" in out


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_display_that_cannot_be_written_ends_no_run(tmp_path, warm_python):
    words = (
        "train",
        "quickstart",
        "train.epochs=1",
        "parallel.engine=inprocess",
        "parallel.partition=null",
        "tracking.uri=off",
        "tracking.figures=false",
    )
    with FULL.open("w") as full:
        code, _, err = ended(start(*words, cwd=tmp_path, python=warm_python, stdout=full))
    assert (code, err) == (1, "unlocked: standard output cannot be written: No space left on device\n")
    (run,) = (tmp_path / "runs").iterdir()
    assert json.loads((run / "summary.json").read_text())["epochs"] == 1


class Broken:
    def __init__(self, error: OSError):
        self.error, self.tried = error, 0

    def write(self, text: str) -> int:
        self.tried += 1
        raise self.error

    flush = write


def test_output_says_whether_its_reader_left():
    for error, reader_left in ((BrokenPipeError(32, "Broken pipe"), True), (OSError(28, "No space left"), False)):
        with pytest.raises(OutputLost) as lost:
            Output(Broken(error)).write("a")
        assert lost.value.reader_left == reader_left


def test_messages_that_cannot_be_written_are_dropped_once_and_for_all():
    broken = Broken(OSError(5, "Input/output error"))
    stream = Lossy(broken)
    assert [stream.write("abc") for _ in range(3)] == [3, 3, 3]
    assert broken.tried == 1


def test_no_help_is_wider_than_80_columns(monkeypatch):
    import argparse

    from unlocked.cli.parser import build_parser

    monkeypatch.setenv("COLUMNS", "80")

    def wide(parser, path):
        yield from ((path, line) for line in parser.format_help().splitlines() if len(line) > 80)
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, sub in action.choices.items():
                    yield from wide(sub, f"{path} {name}")

    assert list(wide(build_parser(), "unlocked")) == []


def test_an_example_that_is_too_long_stays_one_command_with_its_words_below():
    from unlocked.cli.help_text import fitted

    text = (
        "examples:\n  unlocked export runs/one --format onnx --out 'a file.onnx'   for others\n  unlocked list    all"
    )
    assert fitted(text, 40).splitlines() == [
        "examples:",
        "  unlocked export runs/one \\",
        "    --format onnx --out 'a file.onnx'",
        "      for others",
        "  unlocked list    all",
    ]
    assert fitted(text, 80).splitlines() == text.splitlines()
