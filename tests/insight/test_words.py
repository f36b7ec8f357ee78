"""Runs that read ids: attributions of the words' vectors, and no attack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from unlocked.errors import ConfigError
from unlocked.insight import Request, inspect, integrated_gradients
from unlocked.insight.looking import embedded
from unlocked.insight.subject import Subject
from unlocked.plan.blocks import build_blocks
from unlocked_models.contract.chain import Chain

MODELS = [
    {"name": "gru", "hidden": [6], "embedding": 5},
    {"name": "transformer", "width": 8, "heads": 2, "depth": 1},
]


@pytest.fixture(params=MODELS, ids=lambda model: model["name"])
def subject(request, lab, tmp_path) -> Subject:
    data, config = lab.sentences(), lab.config(model=request.param)
    chain = Chain(build_blocks(config, data.example)).double().eval().requires_grad_(False)
    return Subject(tmp_path / "run", config, data, chain, data.test.to(dtype=torch.float64))


def test_attributions_of_vectors_are_complete(subject):
    batch = next(subject.batches())
    classes = torch.zeros_like(batch.y)
    with embedded(subject, batch) as (logits, vectors):
        torch.testing.assert_close(logits(vectors), subject.logits(batch)(batch.x))
        found, _ = integrated_gradients(logits, vectors, torch.zeros_like(vectors[:1]), classes, steps=100)
        ends = (logits(vectors) - logits(torch.zeros_like(vectors)))[:, 0]
    torch.testing.assert_close(found.flatten(1).sum(1), ends, atol=1e-2, rtol=0)
    assert found.shape[:2] == batch.x.shape
    torch.testing.assert_close(subject.logits(batch)(batch.x), subject.chain(batch.x, batch))  # the hook is gone


def test_no_attack_is_made_and_why_is_said(subject, tmp_path):
    report = inspect([subject], [], Request(shown=2), tmp_path)
    assert [path.name for path in report.files] == ["attributions.png"]
    assert report.notes == [
        "no attack: its inputs are ids of tokens: between two of them there is nothing, so an attack that changes an "
        "input by at most epsilon cannot be made"
    ]
    assert report.completeness[subject.run.name] < 0.1
    with pytest.raises(ConfigError, match=r"run: its inputs are ids of tokens: .* leave out --epsilon, --steps, --ta"):
        inspect([subject], [], Request(insists=True, shown=1), tmp_path)


def test_padding_of_sequences_is_not_attacked(lab, tmp_path):
    data, config = lab.data(shape=(5, 3)), lab.config(model={"name": "gru", "hidden": [6]})
    chain = Chain(build_blocks(config, data.example)).eval().requires_grad_(False)
    lengths = torch.arange(len(data.test)) % 5 + 1
    split = replace(data.test, extras={"lengths": lengths})
    subject = Subject(Path("run"), config, data, chain, split)
    free = subject.free(next(subject.batches()))
    assert free.shape == split.x.shape
    assert torch.equal(free[:, :, 0].sum(1), lengths)
    low, high = subject.range
    assert low.shape == high.shape == (1, 1, 3)
    assert subject.free(next(replace(subject, split=data.test).batches())) is None
