"""RotNet's task: four turns, whatever the labels are."""

from __future__ import annotations

import pytest
import torch

from unlocked.config import load_config
from unlocked.errors import ConfigError
from unlocked.loop.train import train
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked_models import Batch

SMALL = ["model={name: cnn, channels: [4], hidden: [12]}", "parallel={modules: 2, partition: null}", "tracking.uri=off"]


def test_turns_are_learned_and_the_representation_is_probed(tmp_path):
    config = load_config(
        "selfsupervised/rotnet", [*SMALL, "data.batch_size=32", "train.epochs=3", f"tracking.runs={tmp_path}"]
    )
    summary = train(config)
    metrics = summary["metrics"]
    assert metrics["test/accuracy"] > 0.4  # one in four by chance
    assert 0.3 < metrics["test/probe_few"] < metrics["test/probe"] <= 1
    figures = {path.name for path in (tmp_path / summary["run"] / "figures").iterdir()}
    assert {"confusion_matrix.png", "embedding.png"} <= figures


def test_the_net_has_four_outputs_and_m_is_given_the_turn():
    config = load_config("selfsupervised/rotnet", [*SMALL, "scheme.name=cdni"])
    data = load_data(config)
    plan = make_plan(config, data)
    assert plan.specs[-1].out_shape == (4,)
    context = plan.make_task().context(Batch(None, torch.tensor([3, 0])), data.example, torch.zeros(1))
    assert context.tolist() == [[0, 0, 0, 1], [1, 0, 0, 0]]
    assert data.given["test"].y.max() == 9
    assert data.test.y.max() == 3


def test_images_that_were_not_turned_are_refused():
    config = load_config("selfsupervised/rotnet", [*SMALL, "data.transforms=[]"])
    with pytest.raises(ConfigError, match=r"task: rotation does not fit digits: its images are not turned; data.trans"):
        make_plan(config, load_data(config))
