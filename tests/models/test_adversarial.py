"""Adversarial nets: their layers against their equations, and the images that they can make."""

from __future__ import annotations

import pytest
import torch

from unlocked_models import Batch, Chain
from unlocked_models.adversarial.layers import MinibatchDiscrimination, bounded
from unlocked_models.contract.nets import nets_of

Y = torch.tensor([0, 1, 1, 2])


def nets(name, in_shape=(1, 8, 8), **options):
    torch.manual_seed(0)
    made = nets_of(name, in_shape, 3, **options)
    return {net: (Chain(its.blocks), its.in_shape) for net, its in made.items()}


@pytest.mark.parametrize("options", [{}, {"conditional": False}, {"spectral": True, "kernels": 3}])
@pytest.mark.parametrize(("name", "in_shape"), [("gan", (1, 8, 8)), ("dcgan", (1, 8, 8)), ("dcgan", (3, 12, 20))])
def test_the_generator_makes_what_the_discriminator_reads(name, in_shape, options):
    made = nets(name, in_shape, **options)
    (G, of_z), (D, of_x) = made["generator"], made["discriminator"]
    batch = Batch(torch.randn(4, *of_z), Y)
    images = G(batch.x, batch)
    assert images.shape == (4, *in_shape)
    assert of_x == in_shape
    assert D(images, batch).shape == (4, 1)


@pytest.mark.parametrize("name", ["gan", "dcgan"])
def test_only_a_conditional_net_looks_at_the_class(name):
    for conditional in (True, False):
        for chain, shape in nets(name, conditional=conditional).values():
            h, chain = torch.randn(4, *shape), chain.eval()
            one, other = (chain(h, Batch(h, y)) for y in (Y, (Y + 1) % 3))
            assert torch.equal(one, other) != conditional


def test_minibatch_discrimination_is_that_of_the_paper():
    torch.manual_seed(0)
    layer, h = MinibatchDiscrimination(5, kernels=3, width=2).double(), torch.randn(4, 5, dtype=torch.float64)
    M = torch.stack([sum(h[i, f] * layer.T[f].detach() for f in range(5)) for i in range(4)])
    o = torch.tensor(
        [
            [sum(float(torch.exp(-(M[i, b] - M[j, b]).abs().sum())) for j in range(4) if j != i) for b in range(3)]
            for i in range(4)
        ],
        dtype=torch.float64,
    )
    torch.testing.assert_close(layer(h), torch.cat([h, o], 1))
    assert float(layer(h[:1].expand(4, 5))[0, 5:].min().detach()) == pytest.approx(3.0)  # all are one


def test_spectral_norm_bounds_the_slope_of_a_layer():
    torch.manual_seed(0)
    layer = bounded(torch.nn.Linear(6, 5), True)
    for _ in range(50):  # a step of the power iteration each
        layer(torch.randn(2, 6))
    assert float(torch.linalg.matrix_norm(layer.weight, 2)) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("in_shape", "line"),
    [
        ((1, 9, 9), "until they are the image, which never gives 9 x 9; pad the images to 10 x 10, say"),
        ((1, 27, 28), "never gives 27 x 28; pad the images to 28 x 28, say"),
        ((1, 6, 6), "model.name: dcgan takes images of at least 8 x 8 pixels, the data has 6 x 6"),
        ((64,), "model.name: dcgan takes images (channels, height, width)"),
    ],
)
def test_a_size_that_no_doubling_reaches_is_one_line(in_shape, line):
    with pytest.raises(ValueError, match=r"^model\.name: dcgan") as error:
        nets("dcgan", in_shape)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("options", [{"kernels": -1}, {"latent": 0}, {"output": "relu"}, {"dropout": 1.0}])
def test_options_that_cannot_be_are_named(options):
    for name in ("gan", "dcgan"):
        with pytest.raises(ValueError, match=rf"^model\.{next(iter(options))}: "):
            nets(name, **options)
