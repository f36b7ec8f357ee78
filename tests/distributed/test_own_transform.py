"""A user's own transform costs one file: in process, over workers, and in a run that is resumed."""

from __future__ import annotations

import json

import pytest

from unlocked.cli.main import main

MODULE = '''
from dataclasses import replace
import torch
from torch import nn
from unlocked import Transform, register_model, register_transform

@register_transform("own_pairs")
class Pairs(Transform):
    """A partner for every example, which a block reads, and noise of the spread of the training split."""
    evaluates = True

    def __init__(self, share: float = 0.1):
        self.share = share

    def prepare(self, train):
        self.spread = float(train.x.std())

    def __call__(self, batch, generator):
        noise = self.share * self.spread * torch.randn(batch.x.shape, generator=generator)
        other = torch.randperm(len(batch.y), generator=generator)
        x = batch.x + noise.to(batch.x)
        return replace(batch, x=x, extras={"partner": x[other]})

class Reads(nn.Linear):
    def forward(self, h, batch):
        return super().forward(h) + 0.1 * batch["partner"].flatten(1).mean(1, keepdim=True)

@register_model("own_reader")
def reader(in_shape, n_outputs, width: int = 12):
    return [nn.Flatten(), Reads(64, width), nn.Sequential(nn.Tanh(), nn.Linear(width, width)), Reads(width, n_outputs)]
'''
CONFIG = """
data: {name: digits, batch_size: 50, transforms: [{name: own_pairs, share: 1}]}
model: {name: own_reader}
scheme: {name: cdni, lag: 1}
train: {epochs: 2}
parallel: {modules: 2, threads: 1, timeout: 60}
tracking: {uri: off, figures: false}
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    (tmp_path / "own_pairs.py").write_text(MODULE)
    (tmp_path / "mine.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)

    def go(*words):
        code = main(["train", *words, "--import", "own_pairs", "--json", "--quiet"])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return json.loads(captured.out.strip().splitlines()[-1])

    return go


@pytest.mark.timeout(240)
@pytest.mark.ray
def test_a_transform_of_ones_own_is_the_same_over_workers_and_in_a_resumed_run(run, cluster):
    whole = run("mine.yaml", "parallel.engine=inprocess")
    first = run("mine.yaml", "parallel.engine=ray", "train.epochs=1")
    resumed = run("--resume", first["run_dir"], "train.epochs=2")
    assert resumed["metrics"]["test/loss"] == whole["metrics"]["test/loss"]
    assert main(["evaluate", resumed["run_dir"], "--import", "own_pairs"]) == 0


@pytest.mark.timeout(120)
@pytest.mark.ray
def test_pairs_and_negatives_are_the_same_over_workers(run, cluster):
    more = [
        "train.epochs=1",
        "train.probe_every=0",
        "parallel.timeout=60",
        "tracking.uri=off",
        "tracking.figures=false",
    ]
    small = [*more, "data.options={length: 16, tokens: word, vocabulary: 200}", "model.width=8"]
    one, two = (run("embedding/skipgram", *small, f"parallel.engine={engine}") for engine in ("inprocess", "ray"))
    assert one["metrics"]["test/loss"] == two["metrics"]["test/loss"]
