"""Blocks without memory are made without a draw, for which torch would import a second's worth of modules."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from unlocked.plan.blocks import shapes_alone
from unlocked_models import build

FILLS = [
    lambda: nn.init.normal_(torch.empty(3, 4), std=0.02),
    lambda: nn.init.kaiming_normal_(torch.empty(3, 4)),
    lambda: nn.init.orthogonal_(torch.empty(3, 4)),
    lambda: torch.empty(3, 4).normal_(std=0.02),
    lambda: 0.02 * torch.randn(3, 4),
    lambda: 0.02 * torch.randn((3, 4), generator=torch.Generator("cpu")),
    lambda: nn.Linear(4, 3).weight.data,
]


@pytest.mark.parametrize("fill", FILLS)
def test_a_weight_has_its_shape_and_no_memory(fill):
    with shapes_alone():
        weight = fill()
    assert weight.is_meta
    assert weight.shape == (3, 4)


def test_what_is_made_elsewhere_is_filled():
    with shapes_alone():
        held = torch.ones(3, device="cpu")
        nn.init.zeros_(held)
        drawn = torch.randn(3, device="cpu")
    assert held.tolist() == [0.0, 0.0, 0.0]
    assert drawn.device.type == "cpu"


class Operations(TorchDispatchMode):
    """Counts what runs on tensors, but for empty ones and views."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("name", "shape", "given"),
    [
        ("gpt", (9,), {"vocabulary": 7, "out_positions": 9}),
        ("vit", (1, 8, 8), {}),
        ("vgg_small", (3, 32, 32), {"width": 0.1}),
        ("mlp", (8,), {"init": "orthogonal"}),
        ("rbm", (8,), {}),
    ],
)
def test_no_model_draws_or_scales_there(name, shape, given):
    with shapes_alone(), Operations() as operations:
        build(name, shape, 5, **given)
    assert not operations.seen & {"normal_", "randn", "mul", "linalg_qr"}
