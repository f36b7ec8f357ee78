"""Examples in the order of their present loss: what an epoch is drawn from, and a run that is stopped and goes on."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from unlocked.config import load_config
from unlocked.data.easy_first import competence
from unlocked.engine.group import InProcessGroup
from unlocked.errors import ConfigError, RunInterrupted
from unlocked.launch.interrupt import StopSignal
from unlocked.loop.reporter import Silent
from unlocked.loop.train import resume, train
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.runs.checkpoint import Checkpoints

OPTIONS = [
    "data.easy_first=1.0",
    "data.easy_by=loss",
    "data.examples=150",
    "data.validation=0.2",
    "data.batch_size=20",
    "train.epochs=4",
    "train.evaluate_every=3",
]


@pytest.fixture
def watched(monkeypatch):
    """Of every order: the losses of then, by hand, and the rows of the epoch before it, or the last one."""
    seen, kept = [], InProcessGroup.order

    def order(group, difficulty):
        h = group.data.train_shown.x
        for module in group.modules:
            chain = module.learner.chain.eval()
            h = chain(h).detach()
            chain.train()
        loss = F.cross_entropy(h, group.data.train_shown.y, reduction="none")
        kept(group, difficulty)
        seen.append((loss, group.modules[0].batches))

    monkeypatch.setattr(InProcessGroup, "order", order)
    return seen


def test_every_epoch_is_drawn_from_the_examples_with_the_least_loss_when_it_begins(small, watched):
    train(small(*OPTIONS))
    assert len(watched) == 4
    batches = watched[0][1]
    n, steps = len(watched[0][0]), batches.steps_per_epoch
    for epoch, (loss, _) in enumerate(watched):
        if epoch not in batches._epochs:  # the last ones are kept
            continue
        part = max(20, round(competence(epoch * steps / (4 * steps), 1.0) * n))
        easiest = set(loss.argsort(stable=True)[:part].tolist())
        assert set(torch.cat(batches._epochs[epoch]).tolist()) <= easiest
    assert {2, 3} <= batches._epochs.keys()


class Stops(Silent):
    """Asks for an end when it hears of a step."""

    def __init__(self, at):
        self.at, self.asked = at, StopSignal()

    def segment(self, step, values):
        self.asked.asked |= step == self.at


@pytest.mark.parametrize("at", [10, 12])  # within an epoch of 6 steps, whose order is of its beginning; at its end
def test_a_run_that_is_stopped_goes_on_in_the_same_order(small, at):
    config = small(*OPTIONS, "train.log_every=2", "scheme.lag=1")
    whole = Path(train(config)["run_dir"])
    stops = Stops(at)
    with pytest.raises(RunInterrupted) as stopped:
        train(config, reporter=stops, stop=stops.asked)
    run_dir = Path(str(stopped.value).partition("--resume ")[2])
    resume(run_dir)
    expected, found = (load_file(Checkpoints(place).last() / "model.safetensors") for place in (whole, run_dir))
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())


@pytest.mark.parametrize(
    ("preset", "options", "said"),
    [
        ("quickstart", [], "data.easy_by: loss needs data.easy_first"),
        ("quickstart", ["data.easy_first=0.5", "scheme.synthetic_inputs=true"], "read again, late"),
        ("autoencoder/autoencoder", ["data.easy_first=0.5"], "the loss of reconstruction is not of one example"),
    ],
)
def test_where_no_example_has_a_present_loss_it_is_refused(preset, options, said):
    config = load_config(preset, ["data.easy_by=loss", *options])
    data = load_data(config)
    with pytest.raises(ConfigError, match=said):
        make_plan(config, data)


def test_several_nets_have_no_one_loss():
    with pytest.raises(ConfigError, match=r"^data.easy_by: loss, but an example has several losses in gan"):
        load_config("adversarial/gan", ["data.easy_by=loss", "data.easy_first=0.5"])
