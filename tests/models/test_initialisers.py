"""What each initialiser promises of the weights that it draws."""

import math

import pytest
import torch
from torch import nn

from unlocked_models.layers.activations import gain
from unlocked_models.layers.initialisers import INITIALISERS, fill_weights

ROWS, COLUMNS = 300, 500


def filled(*layers, name, of="relu", **options):
    torch.manual_seed(0)
    fill_weights(layers, INITIALISERS.get(name)(**options), gain(of), lambda i: None)
    return layers[0].weight


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize(
    ("name", "variance"),
    [("xavier", 2 * 2 / (ROWS + COLUMNS)), ("he", 2 / COLUMNS), ("lecun", 1 / COLUMNS)],
)
def test_weights_have_the_variance_of_the_equation(name, variance, distribution):
    head = nn.Linear(ROWS, ROWS)
    weight = filled(nn.Linear(COLUMNS, ROWS), head, name=name, distribution=distribution)
    assert weight.var().item() == pytest.approx(variance, rel=0.02)  # 150,000 samples: about 0.4 %
    assert (weight.abs().max() <= math.sqrt(3 * variance)) == (distribution == "uniform")
    assert head.weight.var().item() == pytest.approx(1 / ROWS, rel=0.02)  # no activation after it: gain 1
    assert not head.bias.any()


def test_the_plain_draws_take_their_own_arguments():
    layer = nn.Linear(COLUMNS, ROWS)
    weight = filled(layer, name="normal", std=0.2, mean=1.0)
    assert (weight.mean().item(), weight.std().item()) == pytest.approx((1.0, 0.2), rel=0.01)
    weight = filled(layer, name="uniform", bound=0.3)
    assert weight.std().item() == pytest.approx(0.3 / math.sqrt(3), rel=0.01)
    assert weight.abs().max() <= 0.3
    assert (filled(layer, name="constant", value=0.5) == 0.5).all()
    assert not filled(layer, name="zero").any()
    assert not layer.bias.any()


def test_orthogonal_weights_keep_lengths():
    weight = filled(nn.Linear(5, 3).double(), nn.Linear(3, 3), name="orthogonal", gain=2.0)
    torch.testing.assert_close(weight @ weight.T, 4 * torch.eye(3, dtype=torch.float64))


def test_sparse_weights_are_zero_in_their_share_of_each_column():
    weight = filled(nn.Linear(COLUMNS, ROWS), name="sparse", sparsity=0.8, std=0.5)
    assert ((weight == 0).sum(0) == 0.8 * ROWS).all()
    assert weight[weight != 0].std().item() == pytest.approx(0.5, rel=0.02)
    assert filled(nn.Conv2d(4, 10, 3), name="sparse", sparsity=0.8).eq(0).float().mean().item() == pytest.approx(0.8)


def test_a_convolution_counts_its_kernel_and_a_transposed_one_its_inputs():
    head = nn.Linear(1, 1)
    weight = filled(nn.Conv2d(40, 60, 5), head, name="lecun")
    assert weight.var().item() == pytest.approx(1 / (40 * 25), rel=0.03)
    weight = filled(nn.ConvTranspose2d(40, 60, 5), head, name="lecun")
    assert weight.var().item() == pytest.approx(1 / (40 * 25), rel=0.03)


def test_recurrent_layers_are_filled_gate_by_gate():
    lstm = nn.LSTM(6, 5)
    before = lstm.bias_ih_l0.clone()
    fill_weights([lstm], INITIALISERS.get("orthogonal")(gain=1.0), 1.0, lambda i: None)
    for gate in lstm.weight_hh_l0.split(5):
        torch.testing.assert_close(gate @ gate.T, torch.eye(5))
    assert torch.equal(lstm.bias_ih_l0, before)


def test_embeddings_and_norms_keep_their_own():
    layers = nn.Embedding(9, 4), nn.LayerNorm(4), nn.Linear(4, 2)
    before = layers[0].weight.clone()
    fill_weights(layers, INITIALISERS.get("zero")(), 1.0, lambda i: None)
    assert torch.equal(layers[0].weight, before)
    assert (layers[1].weight == 1).all()
    assert not layers[2].weight.any()
