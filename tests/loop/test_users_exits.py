"""A user's code that exits or interrupts ends the run in one line that says where; Ctrl-C stays what it is."""

import os
import re
import signal

import pytest
from torch import nn

from unlocked import train
from unlocked.cli import lists
from unlocked.cli.main import main
from unlocked.errors import DataError, RunFailed
from unlocked_models import MODELS, register_model

OPTIONS = ("model={name: mine}", "scheme.name=backprop", "parallel.modules=1")


class Aborted(BaseException):
    pass


class Leaving(nn.Module):
    """Raises `error` in training mode."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def forward(self, h):
        if self.training:
            raise self.error
        return h


@pytest.fixture
def leaving(monkeypatch):
    others = {name: each for name, each in MODELS._entries.items() if name != "mine"}  # a module of another test's
    monkeypatch.setattr(MODELS, "_entries", others)

    def add(error):
        @register_model("mine")
        def make(in_shape, n_outputs):
            return [nn.Sequential(nn.Flatten(), nn.Linear(64, 8)), Leaving(error), nn.Linear(8, n_outputs)]

    return add


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SystemExit(0), "it ends the process, with exit code 0"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (StopIteration(), "StopIteration"),
        (GeneratorExit(), "GeneratorExit"),
        (Aborted("mine"), "Aborted: mine"),
    ],
)
def test_a_block_that_leaves_the_process_fails_the_run_in_one_line(small, leaving, error, words):
    leaving(error)
    with pytest.raises(RunFailed, match=rf"test_users_exits.py:\d+: {words}$"):
        train(small(*OPTIONS))


@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt(), GeneratorExit(), Aborted()])
def test_a_data_function_that_leaves_the_process_is_refused(error):
    from unlocked.data.loading.load import _called

    def mine(source):
        raise error

    with pytest.raises(DataError, match=r"its function mine failed at \S*test_users_exits.py:\d+: "):
        _called("mine", mine, None, {})


@pytest.mark.parametrize(
    ("error", "words"),
    [(SystemExit(0), "it ends the process, with exit code 0"), (KeyboardInterrupt(), "KeyboardInterrupt")],
)
def test_every_command_ends_with_1_where_a_user_s_code_leaves(monkeypatch, capsys, error, words):
    def leave():
        raise error

    monkeypatch.setitem(lists._LISTS, "models", leave)
    assert main(["list", "models"]) == 1
    assert re.fullmatch(rf"unlocked: \S*test_users_exits.py:\d+: {words}\n", capsys.readouterr().err)


def test_ctrl_c_in_a_user_s_code_stays_an_interrupt(monkeypatch, capsys):
    def interrupted():
        os.kill(os.getpid(), signal.SIGINT)
        raise KeyboardInterrupt  # as one that cleans up and goes on interrupting

    monkeypatch.setitem(lists._LISTS, "models", interrupted)
    assert main(["list", "models"]) == 130
    assert "interrupted" in capsys.readouterr().err
