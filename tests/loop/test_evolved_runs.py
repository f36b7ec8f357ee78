"""Runs whose nets were evolved: resumed, tuned under a scheme with gradients, and opened as any other."""

import pytest
import torch

from unlocked import resume, train
from unlocked.config import load_config
from unlocked.errors import RunFailed
from unlocked.loop.trainer import Trainer


@pytest.fixture
def evolved(tmp_path):
    def run(preset, *words):
        off = ["tracking.uri=off", "tracking.figures=false", f"tracking.runs={tmp_path}"]
        return train(load_config(f"evolved/{preset}", [*off, *words]))

    return run


def weights(run):
    return {key: value.clone() for key, value in run.model().state_dict().items()}


SHORT = ["train.steps=6", "train.checkpoint_every=2", "scheme.target=null"]


@pytest.mark.parametrize("preset", ["xor_cma_es", "xor_neat"])
def test_a_run_that_was_cut_off_goes_on_to_the_same_net(evolved, preset, monkeypatch, tmp_path):
    whole = evolved(preset, *SHORT)
    log, at = Trainer._log, []

    def cut(self, values):
        log(self, values)
        at.append(self.progress.step)
        if self.progress.step >= 4:
            raise OSError("the power failed")

    monkeypatch.setattr(Trainer, "_log", cut)
    with pytest.raises(RunFailed, match="the power failed"):
        evolved(preset, *SHORT, "train.log_every=1")
    monkeypatch.undo()
    assert at[-1] == 4
    folder = max((tmp_path).iterdir(), key=lambda path: path.stat().st_mtime)
    again = resume(folder)
    assert again["metrics"]["test/loss"] == whole["metrics"]["test/loss"]
    for key, value in weights(whole).items():
        assert torch.equal(weights(again)[key], value), key


def test_a_net_of_fixed_wiring_is_tuned_under_backprop(evolved):
    found = evolved("xor_cma_es", "train.steps=60")
    tuned = evolved(
        "xor_cma_es",
        "scheme.name=backprop",
        "train.steps=100",
        "optimizer.lr=0.02",
        f"transfer.run={found['run_dir']}",
        "transfer.blocks=2",
    )
    assert tuned["metrics"]["test/loss"] < 0.5 * found["metrics"]["test/loss"]


@pytest.mark.parametrize("scheme", ["dfa", "cdni"])
def test_a_net_of_fixed_wiring_goes_on_under_a_decoupled_scheme_from_its_evolved_weights(evolved, scheme):
    found = evolved("xor_cma_es", "train.steps=10")
    here = [f"scheme.name={scheme}", "parallel.modules=2", "train.steps=4", "optimizer.lr=1e-6"]
    tuned = evolved("xor_cma_es", *here, f"transfer.run={found['run_dir']}", "transfer.blocks=2")
    assert tuned["metrics"]["test/loss"] == pytest.approx(found["metrics"]["test/loss"], rel=1e-3)


def test_a_grown_net_is_opened_as_any_other(evolved):
    run = evolved("xor_neat", "scheme.strategy.population=20", "scheme.strategy.add_node=0.5", "train.steps=4")
    x = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    with torch.no_grad():
        out = run.model()(x)
    loss = float((out[:, 0] - torch.tensor([0.0, 1.0, 1.0, 0.0])).square().mean())
    assert loss == pytest.approx(run["metrics"]["test/loss"], abs=1e-6)
