"""Modern Hopfield networks: energies that only fall, and recall that is attention."""

import pytest
import torch
from torch.nn import functional as F

from unlocked_models import build
from unlocked_models.memory.hopfield import HopfieldLayer, modern_energy, retrieved


def test_a_modern_step_is_attention_and_never_raises_the_energy():
    torch.manual_seed(0)
    states, patterns, values = torch.randn(5, 8).double(), torch.randn(20, 8).double(), torch.randn(20, 8).double()
    found = retrieved(states[None], patterns[None], 8**-0.5, 1, values[None])
    expected = F.scaled_dot_product_attention(states[None], patterns[None], values[None])
    torch.testing.assert_close(found, expected)
    energies = torch.stack([modern_energy(retrieved(states, patterns, 0.7, n), patterns, 0.7) for n in range(12)])
    assert (energies.diff(dim=0) <= 1e-12).all()
    assert (energies[0] - energies[-1] > 0.1).all()


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_layer_adds_what_it_recalls_and_normalises_before_or_after(norm):
    torch.manual_seed(0)
    layer, h = HopfieldLayer(8, 2, 5, 2, 0.0, norm, 0.0).double(), torch.randn(3, 8).double()
    states = layer.query(layer.norm(h) if norm == "pre" else h)
    found = [
        retrieved(states[:, 4 * head : 4 * head + 4], layer.patterns[head], 0.5, 2, layer.values[head])
        for head in range(2)
    ]
    out = h + layer.out(torch.cat(found, 1))
    torch.testing.assert_close(layer(h), out if norm == "pre" else layer.norm(out))


def test_many_more_patterns_than_units_are_recalled_by_a_modern_network():
    torch.manual_seed(0)
    patterns = F.normalize(torch.randn(1000, 32).double(), dim=1)  # a classic one recalls 4
    disturbed = patterns + 0.05 * torch.randn(1000, 32)
    found = retrieved(disturbed, patterns, 60.0, 3)
    assert (found @ patterns.T).argmax(1).eq(torch.arange(1000)).all()
    assert (found - patterns).norm(dim=1).median() < 0.01


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"heads": 3}, "model.heads: 3 does not divide model.width 64"),
        ({"beta": -1.0}, "model.beta: must be at least 0"),
        ({"norm": "both"}, "model.norm: "),
    ],
)
def test_wrong_options_are_one_line(options, said):
    with pytest.raises(ValueError, match=said):
        build("hopfield", (9,), 5, **options)
