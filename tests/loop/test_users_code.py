"""Whatever a model of one's own does wrong is one line that says where; a fault of the platform keeps its traceback."""

import re
from functools import partial
from itertools import count

import pytest
import torch
from torch import nn

from unlocked import load_config, train
from unlocked.blame import refuse_users_fault
from unlocked.cli import lists
from unlocked.cli.main import main
from unlocked.errors import ConfigError, RunFailed
from unlocked.network import free_port
from unlocked.seeding import derive_seed
from unlocked.tasks.classification import Classification
from unlocked_models import MODELS, register_model


@pytest.fixture
def mine(monkeypatch):
    """Registers a model `mine` of these blocks between two linear ones, for this test alone."""

    def add(*blocks):
        @register_model("mine")
        def make(in_shape, n_outputs):
            return [
                nn.Sequential(nn.Flatten(), nn.Linear(64, 8)),
                *(block() for block in blocks),
                nn.Linear(8, n_outputs),
            ]

    for kept in ("_entries", "_facts"):  # another test's module may have registered one
        others = {name: each for name, each in getattr(MODELS, kept).items() if not name.startswith("mine")}
        monkeypatch.setattr(MODELS, kept, others)
    return add


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


class Special(torch.Tensor):
    pass


class Subclassing(nn.Module):
    def forward(self, h):
        return h.as_subclass(Special)


class Growing(nn.Module):
    def forward(self, h):
        if not hasattr(self, "scale"):
            self.scale = nn.Parameter(torch.ones(8))
        return h * self.scale


OPTIONS = ("model={name: mine}", "scheme.name=backprop", "parallel.modules=1")


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (Tuple, r"block 1 \(Tuple\) gives a tuple; one tensor passes from a block to the next"),
        (
            Folded,
            r"block 1 \(Folded\) gives a tensor of shape \(4, 4\) for two examples; its first axis has to be that",
        ),
        (Raising, r"cannot run on examples of shape .*, at \S*test_users_code.py:\d+: KeyError: 'no such key'"),
        (Unbuilt, r"model.name: mine failed at \S*test_users_code.py:\d+: KeyError: 'width'"),
        (partial(nn.LazyLinear, 8), r"weight of block 1 \(LazyLinear\) of mine has no shape before its first pass"),
        (Subclassing, r"block 1 \(Subclassing\) gives a Special, which is more than a tensor"),
        (Growing, r"block 1 \(Growing\) adds or removes the weight scale in its forward"),
    ],
)
def test_a_model_that_cannot_be_run_is_refused_before_anything_starts(small, mine, block, words, tmp_path):
    mine(block)
    with pytest.raises(ConfigError) as refused:
        train(small(*OPTIONS))
    assert re.search(words, str(refused.value))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "runs").exists()


def test_a_model_of_which_nothing_may_learn_is_refused(small, mine):
    @register_model("mine_fixed")
    def fixed(in_shape, n_outputs):
        return [nn.Sequential(nn.Flatten(), nn.Linear(64, n_outputs)).requires_grad_(False)]

    with pytest.raises(ConfigError, match="every weight of mine_fixed has requires_grad=False"):
        train(small("model={name: mine_fixed}", *OPTIONS[1:]))


def test_a_model_that_differs_from_call_to_call_is_refused(small, mine):
    widths = count(8)

    @register_model("mine_other")
    def other(in_shape, n_outputs):
        width = next(widths)
        return [nn.Sequential(nn.Flatten(), nn.Linear(64, width)), nn.Linear(width, n_outputs)]

    with pytest.raises(ConfigError, match="mine_other differs from call to call"):
        train(small("model={name: mine_other}", *OPTIONS[1:]))


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


def test_a_ctrl_c_inside_of_ray_s_compiled_code_stays_one():
    code = compile("raise KeyboardInterrupt", "python/ray/includes/common.pxi", "exec")
    try:
        exec(code)
    except KeyboardInterrupt as error:
        refuse_users_fault(error.with_traceback(error.__traceback__.tb_next))


def test_every_command_tells_a_user_s_mistake_in_one_line(monkeypatch, capsys):
    def mistaken():
        raise KeyError("mine")

    monkeypatch.setitem(lists._LISTS, "models", mistaken)
    assert main(["list", "models"]) == 1
    assert re.fullmatch(r"unlocked: \S*test_users_code.py:\d+: KeyError: 'mine'\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("metrics", "told"), [({"loss": 1.0}, "no accuracy, which is needed; given: loss"), (None, "None, not a dict")]
)
def test_metrics_of_a_whole_split_without_the_one_that_is_followed_are_told(tmp_path, monkeypatch, metrics, told):
    whole = {"loss": 1.0, "accuracy": 0.5}
    monkeypatch.setattr(Classification, "metrics", lambda self, kept, y: whole if len(kept) == 64 else metrics)
    small = ["parallel.engine=inprocess", "train.epochs=1", "train.probe_every=0", "tracking.uri=off"]
    with pytest.raises(RunFailed, match=rf"^task: metrics of classification \(.*:\d+\) gives {told}"):
        train(load_config("quickstart", [*small, f"tracking.runs={tmp_path}"]))
