"""Classic Hopfield networks: what each rule stores, recall that only falls in energy, and the classic capacity."""

import pytest
import torch

from unlocked_models import build
from unlocked_models.associative import RULES, energy, recalled, stored


def random_patterns(n, units, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 2, (n, units), generator=generator).double() * 2 - 1


def test_hebbs_rule_is_the_sum_of_outer_products():
    x = random_patterns(5, 12)
    expected = torch.zeros(12, 12).double()
    for i in range(12):
        for j in range(12):
            expected[i, j] = 0 if i == j else sum(p[i] * p[j] for p in x) / 12
    torch.testing.assert_close(stored(x), expected, rtol=0, atol=1e-15)


def test_storkeys_rule_has_fields_without_the_two_units_of_a_weight():
    x, N = random_patterns(4, 9), 9
    W = torch.zeros(N, N).double()
    for p in x:
        new = W.clone()
        for i in range(N):
            for j in range(N):
                if i != j:
                    h_ij = sum(W[i, k] * p[k] for k in range(N) if k not in (i, j))
                    h_ji = sum(W[j, k] * p[k] for k in range(N) if k not in (i, j))
                    new[i, j] += (p[i] * p[j] - p[i] * h_ji - h_ij * p[j]) / N
        W = new
    torch.testing.assert_close(stored(x, "storkey"), W, rtol=0, atol=1e-14)


def test_the_projection_is_that_onto_all_patterns_whatever_their_order():
    x = random_patterns(6, 20)
    x = torch.cat([x, x[2:4], -x[:1]])  # stored again: they lie in the span already
    expected = torch.linalg.pinv(x) @ x
    torch.testing.assert_close(stored(x, "projection"), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(stored(x.flip(0), "projection"), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_disturbed_patterns_are_recalled_downhill(rule):
    patterns = random_patterns(8, 200)
    W = stored(patterns, rule)
    torch.testing.assert_close(W, W.T)
    generator = torch.Generator().manual_seed(1)
    disturbed = patterns * torch.where(torch.rand(8, 200, generator=generator) < 0.2, -1.0, 1.0)
    assert torch.equal(recalled(W, disturbed), patterns)
    energies = torch.stack([energy(W, recalled(W, disturbed, sweeps)) for sweeps in range(4)])
    assert (energies.diff(dim=0) <= 1e-12).all()
    assert (energies[0] > energies[-1] + 1).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_patterns_are_recalled_up_to_0_138_of_the_units(seed):
    """The fall is a slope for few units, and nears a step at 0.138 (studies/hopfield_capacity)."""
    few, many = (random_patterns(n, 400, seed) for n in (40, 88))  # 0.10 and 0.22
    assert (recalled(stored(few), few, seed=seed) * few).mean() > 0.98
    assert (recalled(stored(many), many, seed=seed) * many).mean() < 0.7


def test_a_block_takes_zeros_and_ones_and_gives_them():
    (block,) = build("hopfield_classic", (1, 4, 5), 20)
    x = (random_patterns(2, 20).float() + 1) / 2
    assert torch.equal(block(x.view(2, 1, 4, 5)), x)  # nothing is stored, so nothing moves
    assert block.store(x, "projection") == 0
    turned = x.clone()
    turned[:, :2] = 1 - turned[:, :2]
    assert torch.equal(block(turned), x)


def test_rounding_turns_no_unit_whose_input_is_zero():
    """Of 40 patterns in 100 units many inputs are 0; the order in which weights were added up must not matter."""
    x, found = (random_patterns(40, 100).float() + 1) / 2, []
    for order in (x, x.flip(0)):
        (block,) = build("hopfield_classic", (100,), 100)
        for each in order:
            block.store(each[None], "hebb")
        found.append(block(x))
    assert torch.equal(*found)


def test_another_number_of_outputs_is_refused():
    with pytest.raises(ValueError, match=r"64 units, and its data ask for 10 numbers; data\.name=patterns"):
        build("hopfield_classic", (1, 8, 8), 10)
