"""Boltzmann machines of every kind against the sums over all states that define them, in float64."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from unlocked_models.boltzmann import RBM, LabelRBM, annealed
from unlocked_models.boltzmann.belief import dbn
from unlocked_models.boltzmann.deep import DeepBoltzmannMachine, dbm
from unlocked_models.boltzmann.general import MOST_HIDDEN, BoltzmannMachine, boltzmann
from unlocked_models.boltzmann.restricted import GaussianRBM, rbm
from unlocked_models.contract.batch import Batch


def states(n):
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)), dtype=torch.float64)


def filled(block, scale=1.0):
    torch.manual_seed(0)
    block = block.double()
    with torch.no_grad():
        for p in block.parameters():
            p.copy_(scale * torch.randn_like(p))
    return block


def machine_of_all(visible=4, hidden=3):
    return filled(BoltzmannMachine(visible, hidden))


def full(block):
    """E of all states of a Boltzmann machine, from the definition."""
    J, a, s = block.coupling(), torch.cat([block.visible_bias, block.bias]), states(len(block.weight))
    return s, -(s @ a) - 0.5 * torch.einsum("ni,ij,nj->n", s, J, s)


def test_a_boltzmann_machine_sums_what_its_energy_says():
    block = machine_of_all()
    assert torch.equal(block.coupling(), block.coupling().t())
    assert not block.coupling().diagonal().any()
    s, energy = full(block)
    torch.testing.assert_close(block.energy(s), energy)
    torch.testing.assert_close(block.log_z(), (-energy).logsumexp(0))
    torch.testing.assert_close(block.free_energy(states(4)), -(-energy).view(16, 8).logsumexp(1))


@pytest.mark.parametrize("hidden", [0, 3])
def test_gibbs_sampling_of_a_boltzmann_machine_leaves_its_distribution_as_it_is(hidden):
    block, n = machine_of_all(hidden=hidden), 100_000
    s, energy = full(block)
    p, generator = (-energy).softmax(0).detach(), torch.Generator().manual_seed(0)
    before = s[torch.multinomial(p, n, replacement=True, generator=generator)]
    with torch.no_grad():
        after = block.gibbs(before, generator)
    number = after @ (2.0 ** torch.arange(len(s[0]) - 1, -1, -1, dtype=torch.float64))
    counts = torch.bincount(number.long(), minlength=len(s)) / n
    assert float((counts - p).abs().max()) < 5 * (0.25 / n) ** 0.5  # five standard errors
    assert float((after != before).any(1).double().mean()) > 0.2


def test_hidden_units_drawn_given_the_data_estimate_the_gradient_of_the_free_energy():
    block, v = filled(BoltzmannMachine(4, 3), 0.5), states(4)[[1, 6, 13]]
    block.free_energy(v).mean().backward()
    exact = [p.grad.clone() for p in block.parameters()]
    block.zero_grad()
    generator = torch.Generator().manual_seed(0)
    block.data_energy(v.repeat(20_000, 1), generator).mean().backward()
    for p, expected in zip(block.parameters(), exact, strict=True):
        torch.testing.assert_close(p.grad, expected, rtol=0, atol=0.02)


@pytest.mark.parametrize("widths", [(4, 3, 2), (3, 2, 3, 2)])
def test_a_deep_machine_sums_half_of_its_layers_exactly(widths):
    block = filled(DeepBoltzmannMachine(widths))
    ends = list(itertools.accumulate(widths))
    s = states(sum(widths))
    layers = [s[:, end - width : end] for end, width in zip(ends, widths, strict=True)]
    energy = -(layers[0] @ block.visible_bias)
    for k, (W, c) in enumerate(zip(block.weights, block.biases, strict=True)):
        energy = energy - layers[k + 1] @ c - ((layers[k] @ W.t()) * layers[k + 1]).sum(1)
    torch.testing.assert_close(block.log_z(), (-energy).logsumexp(0))
    odd = torch.cat(layers[1::2], 1)
    for state in states(odd.shape[1])[:5]:
        of_state = (odd == state).all(1)
        torch.testing.assert_close(block.energy(state[None])[0], -(-energy[of_state]).logsumexp(0))
    v = states(widths[0])
    exact = -torch.stack([(-energy[(layers[0] == row).all(1)]).logsumexp(0) for row in v])
    bound = block.free_energy(v)
    assert bool((bound >= exact - 1e-9).all())
    assert float((bound - exact).detach().mean()) < 0.5  # not far above, either


def test_mean_field_is_a_fixed_point_where_the_bound_has_no_slope():
    """So its means need no graph: E_q[E] - H(q), minimised over the means by autograd, is at them."""
    block, v = filled(DeepBoltzmannMachine((5, 4, 3)), 0.5), states(5)[[3, 17, 30]]
    means = [m.detach().requires_grad_() for m in block.means(v)]
    layers, energy = [v, *means], -(v @ block.visible_bias)
    for k, (W, c) in enumerate(zip(block.weights, block.biases, strict=True)):
        energy = energy - means[k] @ c - ((layers[k] @ W.t()) * means[k]).sum(1)
    entropy = sum((torch.xlogy(m, m) + torch.xlogy(1 - m, 1 - m)).sum(1) for m in means)
    torch.testing.assert_close(block.free_energy(v), energy + entropy)
    for slope in torch.autograd.grad((energy + entropy).sum(), means):
        assert float(slope.abs().max()) < 1e-4


def test_gibbs_sampling_of_a_deep_machine_leaves_its_distribution_as_it_is():
    block, n = filled(DeepBoltzmannMachine((3, 2, 2))), 100_000
    s = states(2)
    p, generator = (-block.energy(s)).softmax(0).detach(), torch.Generator().manual_seed(0)
    before = s[torch.multinomial(p, n, replacement=True, generator=generator)]
    with torch.no_grad():
        after = block.gibbs(before, generator)
    counts = torch.bincount((after @ torch.tensor([2.0, 1.0], dtype=torch.float64)).long(), minlength=4) / n
    assert float((counts - p).abs().max()) < 5 * (0.25 / n) ** 0.5


def test_labels_are_one_unit_of_several_states_and_their_probabilities_the_outputs():
    """p(h_in, y) by the sum over all states in which one label is on."""
    block = filled(LabelRBM(3, 4, 2))
    x, y = states(3), torch.eye(4, dtype=torch.float64)
    v = torch.cat([x.repeat_interleave(4, 0), y.repeat(8, 1)], 1)
    log_p = -block.free_energy(v)
    torch.testing.assert_close(block.log_z(), log_p.logsumexp(0))
    torch.testing.assert_close(block(x).softmax(1), log_p.view(8, 4).softmax(1))
    batch = Batch(None, torch.tensor([2, 0]))
    assert torch.equal(block.visible(x[:2], batch)[:, 3:], y[[2, 0]])
    drawn = block.gibbs(v, torch.Generator().manual_seed(0))
    assert torch.equal(drawn[:, 3:].sum(1), torch.ones(32, dtype=torch.float64))
    label = torch.arange(32) % 4
    clamped = block.gibbs_given(label, v, torch.Generator().manual_seed(0))
    assert torch.equal(clamped[:, 3:].argmax(1), label)


def test_real_visible_units_have_a_density_that_integrates_to_one():
    block = filled(GaussianRBM(1, 2, deviation=0.3), 0.7)
    x = torch.linspace(-6, 6, 20_001, dtype=torch.float64)[:, None]
    density = (-block.free_energy(block.visible(x)) - block.log_z()).exp()
    assert float((density.sum() * (x[1] - x[0])).detach()) == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(block.shown(block.visible(x)), x)


KINDS = {
    "restricted": lambda: filled(RBM(12, 6), 0.7),
    "wide": lambda: filled(RBM(6, 9), 0.7),
    "gaussian": lambda: filled(GaussianRBM(5, 4, deviation=0.5), 0.5),
    "all": lambda: filled(BoltzmannMachine(5, 3), 0.7),
    "deep": lambda: filled(DeepBoltzmannMachine((8, 5, 4)), 0.7),
    "labels": lambda: filled(LabelRBM(6, 3, 5), 0.7),
}


@pytest.mark.parametrize("kind", KINDS)
def test_annealed_importance_sampling_finds_log_z_to_its_standard_error(kind):
    block = KINDS[kind]()
    base = torch.zeros_like(block.visible_bias)
    found = annealed(block, base, steps=200, chains=400, generator=torch.Generator().manual_seed(0))
    assert 0 < found.error < 0.1
    assert abs(found.log_z - float(block.log_z())) < 4 * found.error


def test_its_error_says_how_the_estimates_of_other_draws_spread():
    block = KINDS["restricted"]()
    found = [annealed(block, block.visible_bias, 20, 100, torch.Generator().manual_seed(seed)) for seed in range(30)]
    spread = torch.tensor([each.log_z for each in found]).std()
    said = torch.tensor([each.error for each in found]).mean()
    assert 0.6 < float(spread / said) < 1.6


def test_without_weights_log_z_is_that_of_independent_units():
    block = filled(DeepBoltzmannMachine((4, 3, 2)), 0.0)
    assert float(block.log_z()) == pytest.approx(9 * math.log(2))
    found = annealed(block, torch.ones(4), steps=3, chains=5, generator=torch.Generator().manual_seed(0))
    block.visible_bias.data += 1
    assert float(block.log_z()) == pytest.approx(float(4 * F.softplus(torch.tensor(1.0)) + 5 * math.log(2)))
    assert abs(found.log_z - 9 * math.log(2)) < 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: boltzmann((8,), 2, hidden=MOST_HIDDEN + 1), r"model\.hidden: 11 hidden units are more than 10"),
        (lambda: dbm((8,), 2, hidden=[4]), r"model\.hidden: needs 2 or more sizes, got \[4\]"),
        (lambda: dbn((8,), 2, hidden=[]), r"model\.hidden"),
        (lambda: rbm((8,), 2, visible="real"), r"model\.visible: unknown visible 'real'"),
        (lambda: rbm((8,), 2, deviation=0.5), r"model\.deviation: 0.5 is of real visible units"),
    ],
)
def test_what_cannot_be_built_is_one_line(make, message):
    with pytest.raises(ValueError, match=message):
        make()
