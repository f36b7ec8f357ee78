"""A run's weights on a split, whatever a plan to train would say of them."""

from pathlib import Path

import pytest
import torch
from torch import nn

from unlocked import train
from unlocked.errors import ConfigError
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.runs.checkpoint import Checkpoints, Progress
from unlocked.runs.evaluate import evaluate_run
from unlocked_models import MODELS, register_model


class ReLUInPlace(nn.Module):
    def forward(self, h):
        return h.clamp_(min=0)


@pytest.fixture
def activation(monkeypatch):
    """Of the model `lines`; it may change between a run and its evaluation."""
    chosen = [nn.ReLU]
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))
    monkeypatch.setattr(MODELS, "_facts", dict(MODELS._facts))

    @register_model("lines")
    def lines(in_shape, n_outputs):
        return [nn.Sequential(nn.Flatten(), nn.Linear(64, 8)), chosen[0](), nn.Linear(8, n_outputs)]

    return chosen


def test_a_run_with_a_block_that_no_longer_trains_is_evaluated(small, activation):
    config = small("model={name: lines}", "scheme.name=backprop", "train.epochs=1")
    summary = train(config)
    activation[0] = ReLUInPlace
    with pytest.raises(ConfigError, match="changes its input in place"):
        make_plan(config, load_data(config))
    found = evaluate_run(Path(summary["run_dir"]))["metrics"]
    assert found["test/accuracy"] == summary["metrics"]["test/accuracy"]


def test_an_empty_folder_of_a_checkpoint_is_none(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    (tmp_path / "checkpoints" / "step-00000009").mkdir(parents=True)
    assert checkpoints.last() is None
    whole = checkpoints.save(Progress(step=3), [{"weights": {"0.weight": torch.zeros(2)}}], is_best=False)
    assert checkpoints.last() == whole
    assert [path.name for path in checkpoints.all()] == ["step-00000003"]
