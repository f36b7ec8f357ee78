"""Adversarial examples stay within reach and range, follow the true gradient, and PGD is the stronger attack."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, nn
from torch.nn import functional as F

from unlocked.insight.attack import ATTACKS, fgsm, make, pgd
from unlocked.schemes.adversary import Limits

LOW, HIGH = torch.tensor([[0.0, -1.0, 0.0, 2.0]]), torch.tensor([[1.0, 1.0, 4.0, 2.5]])
EPSILON = 0.1


@pytest.fixture
def net() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3)).requires_grad_(False)
    for weight in layers.parameters():  # far from flat
        weight.mul_(4)
    return layers


@pytest.fixture
def x() -> torch.Tensor:
    drawn = torch.rand(40, 4, generator=Generator().manual_seed(1))
    drawn[0], drawn[1] = 0.0, 1.0  # at the ends of the range
    return LOW + (HIGH - LOW) * drawn


@pytest.mark.parametrize("target", [None, 2])
@pytest.mark.parametrize("attack", ATTACKS)
def test_examples_stay_in_the_ball_and_in_the_range(net, x, attack, target):
    y = net(x).argmax(1)
    limits = Limits.around(x, EPSILON, LOW, HIGH)
    made = make(attack, net, x, y, limits, target, 7, Generator().manual_seed(0))
    assert bool(((made - x).abs() <= EPSILON * (HIGH - LOW) + 1e-6).all())
    assert bool(((made >= LOW) & (made <= HIGH)).all())
    assert not torch.equal(made, x)


def test_a_value_outside_the_range_gets_no_further_out(net):
    x = torch.tensor([[3.0, 0.0, 1.0, 2.2]])  # the first lies above its 1.0
    made = fgsm(net, x, torch.tensor([0]), Limits.around(x, EPSILON, LOW, HIGH))
    assert 2.9 - 1e-6 <= float(made[0, 0]) <= 3.0


def test_fgsm_is_one_step_along_the_signs_of_the_gradient(net, x):
    y, limits = net(x).argmax(1), Limits.around(x, EPSILON, LOW, HIGH)
    leaf = x.clone().requires_grad_()
    F.cross_entropy(net(leaf), y).backward()
    wanted = (x + EPSILON * (HIGH - LOW) * leaf.grad.sign()).clamp(LOW, HIGH)
    torch.testing.assert_close(fgsm(net, x, y, limits), wanted)


def test_pgd_equals_its_equation_in_a_loop(net, x):
    """Every iterate by hand; of these, x and FGSM's example the one with the worst margin counts."""
    y, reach, steps = net(x).argmax(1), EPSILON * (HIGH - LOW), 4
    limits = Limits.around(x, EPSILON, LOW, HIGH)
    start = limits.project(x + reach * (2 * torch.rand(x.shape, generator=Generator().manual_seed(3)) - 1))
    iterates, now = [x, fgsm(net, x, y, limits)], start
    for _ in range(steps):
        leaf = now.clone().requires_grad_()
        F.cross_entropy(net(leaf), y).backward()
        now = (now + 2.5 * reach / steps * leaf.grad.sign()).clamp(x - reach, x + reach).clamp(LOW, HIGH)
        iterates.append(now)
    made = pgd(net, x, y, limits, steps=steps, generator=Generator().manual_seed(3))
    for i in range(len(x)):
        out = [net(each[i]) for each in iterates]
        margins = [float(torch.cat([o[: y[i]], o[y[i] + 1 :]]).max() - o[y[i]]) for o in out]
        torch.testing.assert_close(made[i], iterates[max(range(steps + 2), key=margins.__getitem__)][i])


def test_pgd_takes_more_from_a_net_than_fgsm_and_random_signs_least(net, x):
    y, limits = net(x).argmax(1), Limits.around(x, 0.25, LOW, HIGH)
    made = {a: make(a, net, x, y, limits, None, 10, Generator().manual_seed(0)) for a in ATTACKS}
    kept = {attack: int((net(changed).argmax(1) == y).sum()) for attack, changed in made.items()}
    assert kept["pgd"] <= kept["fgsm"] < kept["noise"]


def test_a_target_is_gone_towards(net, x):
    y, limits = net(x).argmax(1), Limits.around(x, 0.5, LOW, HIGH)
    before, after = (F.softmax(net(z), 1)[:, 2] for z in (x, pgd(net, x, y, limits, 2)))
    assert bool((after >= before - 1e-6).all())
    assert float((after - before).mean()) > 0.1


def test_what_is_not_free_stays(net, x):
    free = torch.tensor([[True, False, True, False]]).expand_as(x)
    limits = Limits.around(x, EPSILON, LOW, HIGH, free)
    for attack in ATTACKS:
        made = make(attack, net, x, net(x).argmax(1), limits, None, 3, Generator().manual_seed(0))
        assert torch.equal(made[:, [1, 3]], x[:, [1, 3]])
        assert not torch.equal(made, x)
