"""Masked image modelling: its loss against the equation, what M and the net are told, and what the task takes."""

from __future__ import annotations

import pytest
import torch

from unlocked.config import load_config
from unlocked.data.transforms.hidden_patches import HiddenPatches
from unlocked.engine.group import InProcessGroup
from unlocked.errors import ConfigError, DataError
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.tasks.masked_images import MaskedImageModelling
from unlocked_models import Batch, Chain, Example
from unlocked_models.contract.chain import build

EXAMPLE = Example((1, 8, 8), 4, y_shape=(16, 5), y_real=True, masked=True)
SMALL = ["model={name: vit, patch: 2, width: 8, depth: 1, heads: 2, norm: post, pool: mean}", "tracking.uri=off"]
SMALL += ["parallel={modules: 2, partition: null}", "data.batch_size=16"]


def masked(n: int = 6, fraction: float = 0.6) -> Batch:
    x = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return HiddenPatches(2, fraction)(Batch(x, torch.zeros(n)), torch.Generator().manual_seed(1))


def outputs(n: int = 6) -> torch.Tensor:
    return torch.randn(n, 16, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def by_loop(out: torch.Tensor, batch: Batch) -> float:
    """The mean over hidden patches and their pixels, one by one."""
    errors = []
    for i in range(len(out)):
        for patch in range(16):
            row, column = divmod(patch, 4)
            wanted = batch.y[i, patch, 1:].view(2, 2)
            if batch["hidden"][i, patch]:
                errors += [float(out[i, patch].view(2, 2)[a, b] - wanted[a, b]) ** 2 for a in (0, 1) for b in (0, 1)]
                assert not batch.x[i, 0, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].any()
    return sum(errors) / len(errors)


@pytest.mark.parametrize("fraction", [0.25, 0.6])
def test_the_loss_is_the_mean_over_hidden_patches(fraction):
    batch, task = masked(fraction=fraction), MaskedImageModelling()
    assert float(task.loss(outputs(), batch.y)) == pytest.approx(by_loop(outputs(), batch), rel=1e-12)
    found = task.metrics(task.keep(outputs(), batch.y), batch.y)
    assert found["loss"] == found["mse"] == pytest.approx(by_loop(outputs(), batch), rel=1e-12)


def test_patches_that_are_seen_have_no_error_and_hidden_ones_have():
    batch, out = masked(), outputs().requires_grad_()
    (e,) = torch.autograd.grad(MaskedImageModelling().loss(out, batch.y), out)
    assert torch.equal(e.abs().sum(2) > 0, batch["hidden"])


def test_equal_parts_of_a_minibatch_count_equally():
    batch, task = masked(), MaskedImageModelling()
    parts = [task.part_loss(outputs()[r::2], batch.y[r::2], batch.y) for r in (0, 1)]
    torch.testing.assert_close(sum(parts) / 2, task.loss(outputs(), batch.y))


def net(**options) -> Chain:
    torch.manual_seed(0)
    options = {"patch": 2, "width": 8, "depth": 2, "heads": 2, **options}
    return Chain(build("vit", (1, 8, 8), 4, example=EXAMPLE, **options)).double().eval()


@pytest.mark.parametrize("pool", ["mean", "token"])
def test_the_net_sees_nothing_of_a_hidden_patch_and_tells_it_from_a_black_one(pool):
    batch, chain = masked(), net(pool=pool)
    assert chain(batch.x, batch).shape == (6, 16, 4)
    noise = torch.where(batch.x == 0, 5.0, batch.x)  # whatever stands there
    torch.testing.assert_close(chain(noise, batch), chain(batch.x, batch))
    told = Batch(batch.x, batch.y)
    assert not torch.allclose(chain(batch.x, told), chain(batch.x, batch))  # nothing is hidden: black patches


def test_m_is_told_of_seen_patches_only_that_they_are_seen():
    batch, task = masked(), MaskedImageModelling()
    context = task.context(batch, EXAMPLE, torch.zeros(1, dtype=torch.float64))
    assert context.shape[1:] == task.context_shape(EXAMPLE) == (16, 5)
    assert not context[~batch["hidden"]].any()
    torch.testing.assert_close(context[batch["hidden"]][:, 0], torch.ones(60, dtype=torch.float64))


def started(*changes: str) -> InProcessGroup:
    config = load_config("selfsupervised/masked", [*SMALL, "train.precision=fp64", *changes])
    data = load_data(config)
    return InProcessGroup(make_plan(config, data), data)


def test_feedback_is_of_each_patch_and_of_hidden_ones_alone():
    learner = started("scheme.name=dfa").modules[0].learner
    e = torch.randn(16, 16, 4, dtype=torch.float64)
    e[:, ::2] = 0
    (g, *_) = learner.project(e, [torch.zeros(16, 16, 8)] * len(learner.feedback))
    assert not g[:, ::2].any()
    torch.testing.assert_close(g[:, 1], e[:, 1] @ learner.feedback[0])


def test_images_that_hide_nothing_and_patches_of_another_size_are_refused():
    for change, message in (
        ("data.transforms=[]", r"no patches of its examples are hidden; data.transforms=\[hidden_patches\] hides them"),
        (
            "data.transforms=[{name: hidden_patches, size: 4}]",
            "model.patch: 2 makes patches of 4 numbers, and the data",
        ),
        ("data.transforms=[{name: hidden_patches, size: 3}]", "which images of 8 x 8 are not made of"),
        ("objective.few=0", "objective.few: must be at least 1 label of each class, got 0"),
    ):
        with pytest.raises((ConfigError, DataError), match=message):
            started(change)
