"""StyleGAN's layers against their equations: AdaIN, style mixing, noise, and w that rides along."""

from __future__ import annotations

import pytest
import torch

from unlocked_models import Batch, Chain
from unlocked_models.adversarial.style import AdaIN, Mixing, Noise, Styled
from unlocked_models.contract.nets import nets_of

Y = torch.tensor([0, 2, 1, 1])


def test_adain_is_its_equation():
    torch.manual_seed(0)
    layer = AdaIN(3, 5).double()
    x, w = torch.randn(4, 3, 6, 6, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    A, b = layer.affine.weight.detach(), layer.affine.bias.detach()
    for n in range(4):
        style = A @ w[n] + b
        for c in range(3):
            pixels = x[n, c]
            deviation = (((pixels - pixels.mean()) ** 2).mean() + 1e-5).sqrt()
            expected = style[c] * (pixels - pixels.mean()) / deviation + style[3 + c]
            torch.testing.assert_close(layer(x, w)[n, c].detach(), expected, rtol=0, atol=1e-12)
    assert (b[:3] == 1).all()
    assert (b[3:] == 0).all()


def test_styles_are_those_of_one_w_and_from_a_layer_on_of_the_other():
    torch.manual_seed(0)
    mixing, w = Mixing(4, 1.0), torch.stack([torch.zeros(200, 3), torch.ones(200, 3)], 1)
    styles = mixing(w)
    assert styles.shape == (200, 4, 3)
    found = styles[:, :, 0].long().tolist()
    assert {tuple(row) for row in found} == {(0, 1, 1, 1), (0, 0, 1, 1), (0, 0, 0, 1)}
    assert torch.equal(mixing.eval()(w), torch.zeros(200, 4, 3))
    half = Mixing(4, 0.5)(w)[:, -1, 0].mean()
    assert 0.35 < float(half) < 0.65


def test_noise_is_one_picture_for_all_channels_and_outside_training_the_same():
    torch.manual_seed(0)
    noise, x = Noise(3, (4, 4)), torch.zeros(2, 3, 4, 4)
    assert torch.equal(noise(x), x)  # no channel takes any at first
    noise.share.data = torch.tensor([1.0, 2.0, 0.0])[:, None, None]
    drawn = noise(x)
    torch.testing.assert_close(drawn[:, 1], 2 * drawn[:, 0])
    assert not drawn[:, 2].any()
    assert not torch.equal(drawn, noise(x))
    assert not torch.equal(drawn[0], drawn[1])
    fixed = noise.eval()(x)
    assert torch.equal(fixed, noise(x))
    assert torch.equal(fixed[0], fixed[1])


def test_a_block_takes_the_first_two_styles_and_passes_on_the_rest():
    torch.manual_seed(0)
    first, then = Styled(None, 6, (4, 4), 3, 4).eval(), Styled(6, 5, (8, 8), 3, 2).eval()
    styles = torch.randn(2, 4, 3)
    h = first(styles)
    assert h.shape == (2, 6 + 2 * 3, 4, 4)
    assert torch.equal(h[:, 6:], styles[:, 2:].flatten(1)[:, :, None, None].expand(-1, -1, 4, 4))
    assert then(h).shape == (2, 5, 8, 8)
    changed = styles.clone()
    changed[:, 2:] += 1
    assert torch.equal(first(changed)[:, :6], h[:, :6])
    assert not torch.equal(then(first(changed)), then(h))


def test_outside_training_the_second_latent_and_the_draws_change_nothing():
    torch.manual_seed(0)
    made = nets_of("stylegan", (1, 8, 8), 3, mixing=1.0)
    G = Chain(made["generator"].blocks)
    z = torch.randn(4, *made["generator"].in_shape)
    other = torch.stack([z[:, 0], torch.randn(4, z.shape[2])], 1)
    assert not torch.equal(G(z, Batch(z, Y)), G(other, Batch(other, Y)))
    G.eval()
    assert torch.equal(G(z, Batch(z, Y)), G(other, Batch(other, Y)))
    assert not torch.equal(G(z, Batch(z, Y)), G(z, Batch(z, (Y + 1) % 3)))


@pytest.mark.parametrize("options", [{"style": 0}, {"mixing": 1.5}, {"mapping": 0}, {"dropout": 1.0}])
def test_options_that_cannot_be_are_named(options):
    with pytest.raises(ValueError, match=rf"^model\.{next(iter(options))}: "):
        nets_of("stylegan", (1, 8, 8), 3, **options)
