"""Nets of two views against the autoencoders that they are put together from, and associations against equations."""

import numpy as np
import pytest
import torch

from unlocked_models import Chain, build
from unlocked_models.modular import bam
from unlocked_models.modular.two_way import FittedAssociation

SMALL = {"hidden": [7], "code": 3, "activation": "tanh"}


def two_way(in_shape, **options) -> Chain:
    torch.manual_seed(0)
    return Chain(build("two_way", in_shape, 10, **{**SMALL, "inner": [5], **options})).double()


def apart(chain: Chain, part: str) -> Chain:
    """One view's blocks by themselves."""
    return Chain([getattr(block, part) for block in chain if hasattr(block, part)])


@pytest.mark.parametrize(("in_shape", "first"), [((1, 3, 4), 0), ((7,), 2), ((2, 5), 4)])
def test_each_view_is_decoded_from_the_code_that_the_other_calls_up(in_shape, first):
    chain, cut = two_way(in_shape, first=first), first or in_shape[-1] // 2
    x = torch.randn(6, *in_shape).double()
    one, other = apart(chain, "first"), apart(chain, "second")
    codes = Chain(list(one)[:2])(x[..., :cut]), Chain(list(other)[:2])(x[..., cut:])
    drawn = [
        Chain(list(one)[2:])(chain[2].to_first(codes[1])),
        Chain(list(other)[2:])(chain[2].to_second(codes[0])),
    ]
    torch.testing.assert_close(chain(x), torch.cat(drawn, -1))
    slope = torch.autograd.functional.jacobian(lambda x: chain(x).sum(0)[..., :cut], x)
    assert slope[..., :cut].abs().max() == 0  # no view has a part in its own drawing
    assert slope[..., cut:].abs().max() > 0


def test_a_part_has_the_weights_of_an_autoencoder_of_its_view():
    for part, shape in (("first", (1, 3, 1)), ("second", (1, 3, 3))):
        alone = Chain(build("autoencoder", shape, 10, **SMALL)).double()
        alone.load_state_dict(apart(two_way((1, 3, 4), first=1), part).state_dict())  # all of them, of the same shapes


@pytest.mark.parametrize("known", [40, 3])  # with 3 pairs many maps are without error
def test_a_fitted_association_is_the_one_of_least_squares(known):
    torch.manual_seed(0)
    one, other = torch.randn(known, 4).double(), torch.randn(known, 4).double()
    layer = FittedAssociation(4).double()
    layer.begin_from(torch.cat([one, other], 1), 0)
    drawn = layer(torch.cat([one, other], 1)).chunk(2, 1)
    for found, given, wanted in zip(drawn, (other, one), (one, other), strict=True):
        given = np.concatenate([given.numpy(), np.ones((known, 1))], 1)
        expected = given @ np.linalg.pinv(given) @ wanted.numpy()
        np.testing.assert_allclose(found.detach().numpy(), expected, rtol=0, atol=1e-12)


def test_a_bidirectional_memory_recalls_a_pair_from_either_side_and_from_a_part_of_it():
    x = torch.tensor([[1, 1, 1, 1, -1, -1, -1, -1], [1, 1, -1, -1, 1, 1, -1, -1.0]])  # orthogonal
    y = torch.tensor([[1, -1, 1, -1], [1, 1, -1, -1.0]])
    W = bam.hebbian(x, y)
    assert torch.equal(W, x[0, :, None] * y[0] + x[1, :, None] * y[1])
    damaged = x.clone()
    damaged[:, 0] *= -1
    for first, second in ((x, torch.zeros_like(y)), (damaged, torch.zeros_like(y)), (torch.zeros_like(x), y)):
        found = bam.recalled(W, first, second)
        assert torch.equal(found[0], x)
        assert torch.equal(found[1], y)


def test_a_turn_of_a_bidirectional_memory_never_raises_the_energy():
    generator = torch.Generator().manual_seed(0)
    x, y, first, second = (torch.randint(0, 2, (30, n), generator=generator).double() * 2 - 1 for n in (20, 14, 20, 14))
    W = bam.hebbian(x, y)  # far too many pairs to be recalled
    begun, rest = bam.energy(W, first, second), bam.recalled(W, first, second)
    assert (bam.energy(W, *rest) <= begun).all()
    assert (bam.energy(W, *rest) < begun - 1).any()
    again = bam.recalled(W, *rest)
    assert torch.equal(again[0], rest[0])
    assert torch.equal(again[1], rest[1])


@pytest.mark.parametrize(
    ("in_shape", "options", "said"),
    [
        ((8, 1), {}, r"model.name: two_way cuts the last axis of its input in two, and \(8, 1\) has one feature"),
        ((1, 8, 8), {"first": 8}, r"model.first: 8 leaves nothing of \(1, 8, 8\) to the second view"),
        ((1, 8, 8), {"first": -1}, r"model.first: must be a whole number of at least 0, got -1"),
        ((1, 8, 8), {"inner": [0]}, r"model.inner: "),
        ((1, 8, 8), {"begin": "hebb"}, r"model.begin: unknown begin 'hebb'"),
        ((1, 8, 8), {"begin": "least_squares"}, r"model.begin: least_squares fits linear maps; set model.inner=\[\]"),
    ],
)
def test_wrong_options_are_one_line(in_shape, options, said):
    with pytest.raises(ValueError, match=said):
        build("two_way", in_shape, 10, **options)
