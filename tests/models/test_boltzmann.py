"""Restricted Boltzmann machines against the sums over all states that define them, in float64."""

import itertools

import pytest
import torch

from unlocked_models.boltzmann import MOST_UNITS, RBM, rbm


def states(n):
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)), dtype=torch.float64)


def machine(visible, hidden):
    torch.manual_seed(0)
    block = RBM(visible, hidden).double()
    with torch.no_grad():
        for p in block.parameters():
            p.copy_(torch.randn_like(p))
    return block


def joint(block):
    """p(v, h), `(states of v, states of h)`, from the energy."""
    v, h = states(len(block.visible_bias)), states(len(block.bias))
    energy = -(v @ block.visible_bias)[:, None] - (h @ block.bias)[None] - v @ block.weight.t() @ h.t()
    return (-energy).flatten().softmax(0).view(energy.shape), -energy


@pytest.mark.parametrize(("visible", "hidden"), [(4, 3), (3, 4)])
def test_free_energy_and_log_z_give_the_marginal_of_the_joint(visible, hidden):
    block = machine(visible, hidden)
    p, exponents = joint(block)
    torch.testing.assert_close(block.log_z(), exponents.flatten().logsumexp(0), rtol=1e-12, atol=0)
    log_p = -block.free_energy(states(visible)) - block.log_z()
    torch.testing.assert_close(log_p.exp(), p.sum(1), rtol=1e-12, atol=0)


def test_conditionals_are_those_of_the_joint():
    block = machine(4, 3)
    p, _ = joint(block)
    v, h = states(4), states(3)
    torch.testing.assert_close(block(v), (p @ h) / p.sum(1, keepdim=True))
    torch.testing.assert_close(block.down(h), (p.t() @ v) / p.sum(0)[:, None])


def test_gibbs_sampling_leaves_the_model_s_own_distribution_as_it_is():
    block, n = machine(3, 2), 200_000
    p = joint(block)[0].sum(1).detach()
    generator = torch.Generator().manual_seed(0)
    v = states(3)[torch.multinomial(p, n, replacement=True, generator=generator)]
    with torch.no_grad():
        after = block.gibbs(v, generator)
    counts = torch.bincount((after @ torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64)).long(), minlength=8) / n
    assert float((counts - p).abs().max()) < 5 * (0.25 / n) ** 0.5  # five standard errors
    assert float((after != v).any(1).double().mean()) > 0.2


def test_the_likelihood_s_gradient_is_the_difference_of_two_means_of_the_free_energy_s():
    block = machine(5, 3)
    data, v = states(5)[[0, 7, 7, 21, 30]], states(5)
    (block.free_energy(data).mean() + block.log_z()).backward()
    exact = [p.grad.clone() for p in block.parameters()]
    block.zero_grad()
    with torch.no_grad():
        p = (-block.free_energy(v)).softmax(0)
    (block.free_energy(data).mean() - (p * block.free_energy(v)).sum()).backward()
    for found, expected in zip((p.grad for p in block.parameters()), exact, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)


def test_log_z_is_not_summed_over_more_states_than_can_be():
    assert RBM(MOST_UNITS + 1, MOST_UNITS + 1).log_z() is None
    assert RBM(200, 2).log_z() is not None


def test_each_machine_stands_on_the_one_below():
    blocks = rbm((1, 2, 3), 10, hidden=[5, 4])
    assert [tuple(block.weight.shape) for block in blocks] == [(5, 6), (4, 5)]
    with pytest.raises(ValueError, match="hidden"):
        rbm((6,), 10, hidden=[])
