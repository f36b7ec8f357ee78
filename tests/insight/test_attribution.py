"""Integrated gradients are complete; saliency is the gradient; what is drawn of the first layer is its weights."""

from __future__ import annotations

import torch
from torch import nn

from unlocked.insight.attribution import integrated_gradients, saliency
from unlocked.insight.looking import first_weights, share_missed
from unlocked_models.contract.chain import Chain

CLASSES = torch.tensor([0, 2, 1, 1, 0])


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 3)).double().requires_grad_(False)


def test_integrated_gradients_sum_to_the_difference_of_the_ends():
    """The axiom of completeness, in float64; the rest is the error of the sum, which falls with its square."""
    f, x, baseline = net(), torch.randn(5, 6, dtype=torch.float64), torch.randn(1, 6, dtype=torch.float64)
    found, missed = integrated_gradients(f, x, baseline, CLASSES, steps=256)
    ends = (f(x) - f(baseline)).gather(1, CLASSES[:, None])[:, 0]
    torch.testing.assert_close(found.sum(1), ends, atol=1e-4, rtol=0)
    torch.testing.assert_close(missed, found.sum(1) - ends)
    coarse = integrated_gradients(f, x, baseline, CLASSES, steps=8)[1].abs().mean()
    assert float(missed.abs().mean()) < float(coarse) / 100
    assert share_missed(found, missed) < 1e-4


def test_a_feature_that_nothing_reads_gets_nothing():
    f, x = net(), torch.randn(5, 6, dtype=torch.float64)
    f[0].weight[:, 3] = 0
    found, _ = integrated_gradients(f, x, torch.zeros(1, 6, dtype=torch.float64), CLASSES)
    assert not found[:, 3].any()
    assert not saliency(f, x, CLASSES)[:, 3].any()


def test_the_attribution_of_a_linear_net_is_weight_times_change():
    f, x = nn.Linear(6, 3).double().requires_grad_(False), torch.randn(5, 6, dtype=torch.float64)
    found, missed = integrated_gradients(f, x, torch.ones(1, 6, dtype=torch.float64), CLASSES, steps=3)
    torch.testing.assert_close(found, f.weight[CLASSES] * (x - 1))
    torch.testing.assert_close(saliency(f, x, CLASSES), f.weight[CLASSES].abs())
    assert float(missed.abs().max()) < 1e-12


def test_first_weights_are_images_if_they_can_be():
    conv, dense = nn.Conv2d(3, 8, 5), nn.Linear(64, 10)
    assert first_weights(Chain([conv, nn.Flatten(), nn.Linear(4, 2)]), (3, 8, 8)).shape == (8, 3, 5, 5)
    assert first_weights(Chain([nn.Sequential(nn.Flatten(), dense)]), (1, 8, 8)).shape == (10, 1, 8, 8)
    assert first_weights(Chain([nn.Linear(16, 10)]), (1, 8, 8)).shape == (10, 1, 4, 4)  # patches
    assert first_weights(Chain([dense]), (64,)).shape == (10, 64)
    assert first_weights(Chain([nn.Embedding(9, 4), dense]), (5,)) is None
