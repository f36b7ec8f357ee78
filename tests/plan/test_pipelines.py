"""What torch cannot split into a backward pass of inputs and one of weights is refused; all else is split exactly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.pipelining import _backward

from unlocked.errors import ConfigError
from unlocked.plan.pipelines import detachable, refuse_unsplittable
from unlocked.schemes import ModuleSpec
from unlocked_models import Example

counts_twice = pytest.mark.skipif(torch.__version__ < (2, 13), reason="torch 2.11 counts it twice: it is refused there")


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)


class Skip(Block):
    def forward(self, h: Tensor) -> Tensor:
        return h + self.b(torch.tanh(self.a(h)))


class Shared(Block):
    """One weight in three places, one behind the other."""

    def forward(self, h: Tensor) -> Tensor:
        return self.a(torch.tanh(self.a(torch.sin(self.a(h)))))


class Unused(Block):
    def forward(self, h: Tensor) -> Tensor:
        return self.a(h)


class Added(Block):
    """A weight that never meets the input but in a sum."""

    def forward(self, h: Tensor) -> Tensor:
        return h + torch.tanh(self.b(self.a.weight)).mean(0)


class Detached(Block):
    def forward(self, h: Tensor) -> Tensor:
        return self.a(h.detach())


class Raises(Block):
    def forward(self, h: Tensor) -> Tensor:
        return _Once.apply(self.a(h))


class _Once(torch.autograd.Function):
    """Cannot be run backward where a graph is kept."""

    @staticmethod
    def forward(ctx, h: Tensor) -> Tensor:
        return h * 2

    @staticmethod
    def backward(ctx, delta: Tensor) -> Tensor:
        raise RuntimeError("no backward pass here")


def check(*blocks: nn.Module, dtype=torch.float64) -> None:
    parts = [
        ModuleSpec(i, len(blocks), i, i + 1, len(blocks), (6,), (6,), Example((6,), 6)) for i in range(len(blocks))
    ]
    refuse_unsplittable("zero_bubble", blocks, parts, dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "block",
    [
        Skip,
        Unused,
        Added,
        pytest.param(Shared, marks=counts_twice),
        nn.Tanh,
        nn.Identity,
        lambda: nn.Dropout(0.5),
        lambda: nn.BatchNorm1d(6),
        lambda: nn.Sequential(nn.Linear(6, 6), nn.Unflatten(1, (2, 3)), nn.Flatten()),
        lambda: nn.Sequential(
            nn.Unflatten(1, (6, 1, 1)), nn.Conv2d(6, 6, 3, padding=1), nn.GroupNorm(2, 6), nn.Flatten()
        ),
        lambda: nn.Sequential(Skip(), Skip(), nn.LayerNorm(6), Skip()),
    ],
)
def test_blocks_that_torch_splits_exactly_pass(block, dtype):
    check(nn.Linear(6, 6), block(), dtype=dtype)


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (Detached, r"(the gradient of 0\.a\.weight comes out wrong|.* not have been used in the graph.*)"),
        (Raises, "no backward pass here"),
    ],
)
def test_blocks_that_torch_cannot_split_are_refused_with_the_reason(block, why):
    check(block(), nn.Linear(6, 6))  # the first module is not split
    with pytest.raises(
        ConfigError,
        match=r"^parallel.schedule: zero_bubble .* cannot split module 1 \(blocks 1-1\) "
        rf"so: {why}$",
    ):
        check(nn.Linear(6, 6), block(), nn.Linear(6, 6))


def test_a_weight_that_is_counted_twice_is_refused(monkeypatch):
    weigh = _backward.stage_backward_weight

    def twice(weights, groups):
        weights = list(weights)
        weigh(iter(weights), groups)
        weights[0].grad *= 2

    monkeypatch.setattr(_backward, "stage_backward_weight", twice)
    with pytest.raises(ConfigError, match=r"module 1 .*the gradient of 0\.a\.weight comes out wrong"):
        check(nn.Linear(6, 6), Skip())


def test_the_check_leaves_the_random_numbers_of_the_process_alone():
    blocks = [nn.Linear(6, 6), nn.Dropout(0.5)]
    before = torch.get_rng_state()
    check(*blocks)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_goes_to_the_next_module_can_be_detached_in_place():
    h = torch.randn(4, 6, requires_grad=True) * 2
    for out in (h, h.view(2, 12), h.t(), h.flatten()):
        passed = detachable(out)
        assert torch.equal(passed, out)
        assert passed.is_contiguous()
        passed.detach_()
