"""Nets that grow with their images: what they make as a block begins to fade in, and when it is there."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from unlocked_models import Batch, Chain
from unlocked_models.adversarial.growing import fading
from unlocked_models.contract.nets import nets_of

Y = torch.tensor([0, 2, 1])


def grown(side: int, **options) -> dict[str, Chain]:
    torch.manual_seed(0)
    options = {"channels": [8, 6, 4], "dropout": 0.0, "noise": 0.0, "fade": 0.5, **options}
    made = nets_of("growing_gan", (1, side, side), 3, **options)
    return {net: Chain(its.blocks).double() for net, its in made.items()}


def batch(x, progress):
    return Batch(x, Y, progress=progress)


def test_nets_of_every_size_have_the_same_weights():
    for net, small in grown(4).items():
        shapes = {key: x.shape for key, x in small.state_dict().items()}
        assert shapes == {key: x.shape for key, x in grown(16)[net].state_dict().items()}


@pytest.mark.parametrize("side", [8, 16])
def test_when_a_run_begins_the_nets_are_those_of_half_the_size(side):
    small, large, z = grown(side // 2), grown(side), torch.randn(3, 16, dtype=torch.float64)
    made = small["generator"](z, batch(z, 1.0))
    assert torch.equal(large["generator"](z, batch(z, 0.0)), F.interpolate(made, scale_factor=2.0))
    x = torch.randn(3, 1, side, side, dtype=torch.float64)
    half = F.avg_pool2d(x, 2)
    assert torch.equal(large["discriminator"](x, batch(x, 0.0)), small["discriminator"](half, batch(half, 1.0)))


def test_from_the_share_of_the_run_on_only_the_new_path_counts():
    nets, z = grown(8), torch.randn(3, 16, dtype=torch.float64)
    first, double, _, image = nets["generator"]
    new = image.of[1](double.layers(F.interpolate(first(z, batch(z, 0.5)), scale_factor=2.0)))
    for progress in (0.5, 1.0):
        assert torch.equal(nets["generator"](z, batch(z, progress)), new)
    x = torch.randn(3, 1, 8, 8, dtype=torch.float64)
    _, halve, last = nets["discriminator"]
    read = F.avg_pool2d(halve.layers(halve._read(x, batch(x, 1.0))), 2)
    assert torch.equal(nets["discriminator"](x, batch(x, 0.5)), last.layers(read))


def test_in_between_the_images_of_both_paths_are_mixed():
    nets, z = grown(8), torch.randn(3, 16, dtype=torch.float64)
    low, high, half = (nets["generator"](z, batch(z, p)) for p in (0.0, 0.5, 0.25))
    torch.testing.assert_close(half, (low + high) / 2)
    assert [fading(batch(z, p), 0.5) for p in (0.0, 0.25, 0.5, 1.0)] == [0.0, 0.5, 1.0, 1.0]
    assert fading(batch(z, 0.0), 0.0) == 1.0


def test_blocks_of_larger_images_wait_with_the_weights_that_they_have():
    nets, z = grown(4), torch.randn(3, 16, dtype=torch.float64)
    images = nets["generator"](z, batch(z, 0.3))
    nets["discriminator"](images, batch(images, 0.3)).sum().backward()
    moved = {name for net in nets.values() for name, p in net.named_parameters() if p.grad is not None}
    G, D = nets["generator"], nets["discriminator"]
    assert [i for i, block in enumerate(G) if all(p.grad is None for p in block.parameters())] == [1, 2]
    assert [i for i, block in enumerate(D) if all(p.grad is None for p in block.parameters())] == [0, 1]
    assert moved


def test_a_size_that_no_doubling_gives_is_one_line():
    with pytest.raises(
        ValueError, match=r"^model\.channels: \[8, 6, 4\] from model\.base 4 make images of 4 x 4, 8 x 8"
    ):
        grown(12)
