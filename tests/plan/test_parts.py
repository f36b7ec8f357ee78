"""A minibatch in parts, of replicas or microbatches: the mean of their gradients is that of all of it, also where parts
have different numbers of targets."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import torch

from unlocked.data import DataSet, Split
from unlocked.data.transforms.masking import Masking
from unlocked.engine.module import ModuleRunner
from unlocked.engine.together import connect_in_process
from unlocked.tasks import TASKS

BATCH = 12


def padded(lab) -> DataSet:
    """Streams in which most targets are missing."""

    def holes(split: Split, seed: int) -> Split:
        keep = torch.rand(split.y.shape, generator=torch.Generator().manual_seed(seed)) < 0.3
        return Split(split.x, split.y * keep)

    data = lab.stream()
    return replace(data, train=holes(data.train, 1), test=holes(data.test, 2))


def masked() -> DataSet:
    """Sentences of 1 to 8 words behind a sign, half of which are hidden in every minibatch."""
    masking = Masking(hidden=4, first=7, vocabulary=20, fraction=0.5)
    g = torch.Generator().manual_seed(0)

    def split() -> Split:
        words = torch.randint(7, 20, (24, 8), generator=g)
        words *= torch.arange(8) < torch.randint(1, 9, (24, 1), generator=g)
        x = torch.cat([torch.ones(24, 1, dtype=torch.long), words], 1)
        y = torch.zeros_like(x)
        y[:, 0] = torch.randint(5, 7, (24,), generator=g)
        return Split(x, y)

    names = [str(i) for i in range(20)]
    return DataSet(
        "made",
        "masked_language_modelling",
        (9,),
        20,
        names,
        split(),
        None,
        split(),
        symbols=names,
        transforms=[masking],
    )


def gradients(plan, data, shard=(0, 1)):
    """Of the first minibatch, before any update; its loss; and how many targets this part has."""
    module = ModuleRunner(plan, data, 0, torch.device("cpu"), shard)
    connect_in_process([module])
    module.learner.apply = lambda *_: None
    module.forward_phase(0)
    found = {name: p.grad for name, p in module.learner.chain.named_parameters() if p.grad is not None}
    return found, float(module.learner.series["loss"][0]), int((module.batches.y(0) != 0).sum())


@pytest.mark.parametrize("replicas", [2, 3])
@pytest.mark.parametrize("scheme", ["backprop", "dfa", "cdni"])
@pytest.mark.parametrize("task", ["language_modelling", "masked_language_modelling"])
def test_gradients_of_replicas_average_to_those_of_the_minibatch(lab, task, scheme, replicas):
    data = padded(lab) if task == "language_modelling" else masked()
    name = "gpt" if task == "language_modelling" else "bert"
    plan = lab.plan(
        data,
        model={"name": name, "width": 8, "heads": 2, "depth": 1},
        scheme={"name": scheme},
        data={"batch_size": BATCH},
    )
    expected, loss, targets = gradients(plan, data)
    parts = [gradients(plan, data, (r, replicas)) for r in range(replicas)]
    assert sum(n for _, _, n in parts) == targets
    assert len({n for _, _, n in parts}) > 1, "parts that count equally would show nothing"
    assert sum(part for _, part, _ in parts) / replicas == pytest.approx(loss, rel=1e-12)
    lab.assert_close({key: sum(part[key] for part, _, _ in parts) / replicas for key in expected}, expected, 1e-12)


@pytest.mark.parametrize("task", [name for name in TASKS if "language_modelling" in name or name == "translation"])
def test_losses_of_parts_average_to_the_loss(task):
    g = torch.Generator().manual_seed(0)
    output = torch.randn(6, 4, 5, dtype=torch.float64, generator=g)
    target = torch.randint(5, (6, 4), generator=g) * (torch.rand(6, 4, generator=g) < 0.4)
    task = TASKS.get(task)()
    expected = float(task.loss(output, target))
    for parts in (1, 2, 3, 6):
        cut = zip(output.chunk(parts), target.chunk(parts), strict=True)
        assert sum(float(task.part_loss(*part, target)) for part in cut) / parts == pytest.approx(expected, rel=1e-12)
    assert float(task.part_loss(output[:2], target[:2] * 0, target * 0)) == 0.0


def test_parts_with_as_many_targets_as_examples_are_means_of_their_own(lab):
    task = TASKS.get("classification")()
    output, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    assert torch.equal(task.part_loss(output[:2], target[:2], target), task.loss(output[:2], target[:2]))


def test_averaging_over_replicas_is_communication_and_no_work_of_m(lab, monkeypatch):
    ahead = [0.0]
    real = time.perf_counter
    monkeypatch.setattr(time, "perf_counter", lambda: real() + ahead[0])
    group = lab.start(model={"name": "mlp", "hidden": [6]}, scheme={"name": "cdni"}, parallel={"modules": 2})

    def slow(parameters):
        ahead[0] += 1000.0  # seconds

    for module in group.modules:
        module.learner.reduce = slow
    ((first, last),) = group.run([(0, 3)], group.modules[0].plan.total_steps)
    assert 4000 <= first.sent < 5000  # three updates of the module, and one of M at lag 2
    assert 3000 <= last.sent < 4000
    assert first.sg < 1000
