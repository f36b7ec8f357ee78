"""Whatever a model of one's own does wrong is one line that says where; a fault of the platform keeps its traceback."""

import re

import pytest
from torch import nn

from unlocked import train
from unlocked.blame import refuse_users_fault
from unlocked.cli import inspect
from unlocked.cli.main import main
from unlocked.errors import ConfigError, RunFailed
from unlocked.network import free_port
from unlocked.seeding import derive_seed
from unlocked_models import MODELS, register_model


@pytest.fixture
def mine():
    """Registers a model `mine` of these blocks between two linear ones, for this test alone."""
    def add(*blocks):
        @register_model("mine")
        def make(in_shape, n_outputs):
            return [nn.Sequential(nn.Flatten(), nn.Linear(64, 8)), *(block() for block in blocks),
                    nn.Linear(8, n_outputs)]
    yield add
    MODELS._entries.pop("mine", None)
    MODELS._facts.pop("mine", None)


class Tuple(nn.Module):
    def forward(self, h):
        return h, h


class Folded(nn.Module):
    def forward(self, h):
        return h.reshape(-1, 4)


class Raising(nn.Module):
    def forward(self, h):
        return {}["no such key"]


class RaisingLater(nn.Module):
    def forward(self, h):
        if self.training:
            raise LookupError("only while it trains")
        return h


class Unbuilt(nn.Module):
    def __init__(self):
        raise KeyError("width")


OPTIONS = ("model={name: mine}", "scheme.name=backprop", "parallel.stages=1")


@pytest.mark.parametrize(("block", "words"), [
    (Tuple, r"block 1 \(Tuple\) gives a tuple; one tensor passes from a block to the next"),
    (Folded, r"block 1 \(Folded\) gives a tensor of shape \(4, 4\) for two examples; its first axis has to be that"),
    (Raising, r"cannot run on examples of shape .*, at \S*test_users_code.py:\d+: KeyError: 'no such key'"),
    (Unbuilt, r"model.name: mine failed at \S*test_users_code.py:\d+: KeyError: 'width'"),
])
def test_a_model_that_cannot_be_run_is_refused_before_anything_starts(small, mine, block, words, tmp_path):
    mine(block)
    with pytest.raises(ConfigError) as refused:
        train(small(*OPTIONS))
    assert re.search(words, str(refused.value))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "runs").exists()


def test_what_fails_in_training_alone_ends_the_run_in_one_line(small, mine):
    mine(RaisingLater)
    with pytest.raises(RunFailed, match=r"test_users_code.py:\d+: LookupError: only while it trains$"):
        train(small(*OPTIONS))


def test_a_fault_of_the_platform_stays_as_it_is():
    try:
        derive_seed()
    except TypeError as error:
        fault = error.with_traceback(error.__traceback__.tb_next)  # without this file's own frame
    refuse_users_fault(fault)


def test_what_the_platform_raises_to_a_user_s_code_is_the_platform_s():
    """A scheme that sends finds its peer gone: that is for the restart to mend."""
    def scheme():
        free_port("no.such.host.invalid")

    try:
        scheme()
    except OSError as error:
        refuse_users_fault(error)


def test_every_command_tells_a_user_s_mistake_in_one_line(monkeypatch, capsys):
    def mistaken():
        raise KeyError("mine")

    monkeypatch.setitem(inspect._LISTS, "models", mistaken)
    assert main(["list", "models"]) == 1
    assert re.fullmatch(r"unlocked: \S*test_users_code.py:\d+: KeyError: 'mine'\n", capsys.readouterr().err)
