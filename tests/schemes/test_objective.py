"""Through another net the gradient is exact under every scheme, and that net is left as it was."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from unlocked.schemes.objective import Loss, OfTask, Through
from unlocked.tasks import Classification
from unlocked_models.contract.chain import Batch, Chain

SCHEMES = ["backprop", "dni", "cdni", "dfa", "frozen"]


def critic() -> Chain:
    """With running statistics, and a block that reads the batch."""

    class Conditional(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(10, 8)

        def forward(self, h, batch):
            return self.inner(torch.cat([h, F.one_hot(batch.y, 5).to(h)], 1))

    torch.manual_seed(1)
    return Chain([Conditional(), nn.Sequential(nn.BatchNorm1d(8), nn.LeakyReLU(0.2)), nn.Linear(8, 1)]).double()


def realness(output, batch):
    return F.softplus(-output).mean()


def test_the_error_is_the_gradient_of_the_loss_at_the_output():
    output, batch = torch.randn(6, 5, dtype=torch.float64), Batch(None, torch.arange(6) % 5)
    loss, e = OfTask(Classification())(output, batch)
    assert loss == F.cross_entropy(output, batch.y)
    expected = (output.softmax(1) - F.one_hot(batch.y, 5)) / 6
    torch.testing.assert_close(e, expected, rtol=0, atol=1e-15)


def test_through_a_net_the_error_is_autograds_and_the_net_is_left_alone():
    net = critic()
    output, batch = torch.randn(6, 5, dtype=torch.float64), Batch(None, torch.arange(6) % 5)
    leaf = output.clone().requires_grad_()
    expected = realness(critic()(leaf, batch), batch)
    (true,) = torch.autograd.grad(expected, leaf)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    loss, e = Through(net, Loss(realness))(output, batch)
    torch.testing.assert_close((loss, e), (expected.detach(), true), rtol=0, atol=0)
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_through_two_nets():
    first, second = Chain([nn.Linear(5, 5).double(), nn.Tanh()]), critic()
    output, batch = torch.randn(6, 5, dtype=torch.float64), Batch(None, torch.arange(6) % 5)
    _, nested = Through(first, Through(second, Loss(realness)))(output, batch)
    leaf = output.clone().requires_grad_()
    (true,) = torch.autograd.grad(realness(second(first(leaf, batch), batch), batch), leaf)
    torch.testing.assert_close(nested, true, rtol=0, atol=0)


@pytest.mark.parametrize("modules", [1, 3])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_last_block_learns_the_exact_gradient_through_another_net(lab, scheme, modules):
    data, net = lab.data(), critic()
    group = lab.start(
        data,
        model={"name": "mlp", "hidden": [16, 12], "activation": "tanh"},
        scheme={"name": scheme, "lag": 0},
        parallel={"modules": modules},
        optimizer={"name": "sgd", "lr": 1.0, "momentum": None},
    )
    whole = Chain([block for module in group.modules for block in module.learner.chain])
    before = {name: p.detach().clone() for name, p in whole.named_parameters()}
    runner = group.modules[0]
    batch = runner._batch(0, runner._x(0))
    batch = Batch(batch.x, runner.batches.y(0))
    copy = Chain(whole)
    loss = realness(net(copy(batch.x, batch), batch), batch)
    true = dict(zip(before, torch.autograd.grad(loss, list(copy.parameters())), strict=True))
    group.modules[-1].learner.objective = Through(net, Loss(realness))
    losses = lab.train(group, 0, 1)
    assert losses == pytest.approx([loss.item()], abs=1e-12)
    moved = {name: before[name] - p.detach() for name, p in whole.named_parameters()}
    exact = list(before) if scheme == "backprop" or (modules == 1 and scheme != "dfa") else [*before][-2:]
    for name in exact:
        torch.testing.assert_close(moved[name], true[name], rtol=0, atol=1e-12)
