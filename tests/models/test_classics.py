"""The perceptron with its convergence theorem, and Elman's and Jordan's networks against their equations."""

import pytest
import torch

from unlocked.tasks.losses import ClassLoss
from unlocked_models import Chain, build
from unlocked_models.contract.stepping import remembering


@pytest.mark.parametrize("seed", range(3))
def test_a_perceptron_makes_no_more_mistakes_than_its_theorem_allows(seed):
    """At most (R / gamma)^2 for any unit vector that parts the classes with margin gamma (Novikoff 1962), in whatever
    order; and every step is Rosenblatt's: of a mistake the example itself, else nothing."""
    g = torch.Generator().manual_seed(seed)
    u = torch.nn.functional.normalize(torch.randn(5, generator=g).double(), dim=0)
    x = torch.randn(150, 5, generator=g).double()
    x[:, 4] = 1.0  # of the bias
    x = x[(x @ u).abs() > 0.12]
    y = (x @ u > 0).long()
    margin, reach = float((x @ u).abs().min()), float(x.norm(dim=1).max())
    net, loss = Chain(build("mlp", (4,), 2, hidden=[], init="zeros")).double(), ClassLoss("perceptron")
    optimizer, w, mistakes = torch.optim.SGD(net.parameters(), lr=1.0), torch.zeros(5).double(), 0
    for _ in range(1000):
        before = mistakes
        for i in torch.randperm(len(x), generator=g).tolist():
            t = 2 * y[i].item() - 1
            if t * (w @ x[i]) <= 0:
                w, mistakes = w + 2 * t * x[i], mistakes + 1
            optimizer.zero_grad()
            loss(net(x[i : i + 1, :4]), y[i : i + 1]).mean().backward()
            optimizer.step()
        weight = torch.cat([net[0].weight, net[0].bias[:, None]], 1).detach()
        torch.testing.assert_close(weight[1] - weight[0], w)
        if mistakes == before:
            break
    assert 0 < mistakes <= (reach / margin) ** 2
    assert ((x @ w > 0) == (y == 1)).all()


@pytest.mark.parametrize("many", [False, True])
def test_an_elman_network_remembers_its_hidden_units(many):
    torch.manual_seed(0)
    net = Chain(build("rnn", (6, 3), 4, hidden=[5], out_positions=6 if many else None)).double()
    (cell,) = (layer for layer in net.modules() if isinstance(layer, torch.nn.RNN))
    (head,) = (layer for layer in net.modules() if isinstance(layer, torch.nn.Linear))
    x, h, said = torch.randn(2, 6, 3).double(), torch.zeros(2, 5).double(), []
    for t in range(6):
        h = torch.tanh(x[:, t] @ cell.weight_ih_l0.T + cell.bias_ih_l0 + h @ cell.weight_hh_l0.T + cell.bias_hh_l0)
        said.append(h @ head.weight.T + head.bias)
    torch.testing.assert_close(net(x), torch.stack(said, 1) if many else said[-1])


@pytest.mark.parametrize("many", [False, True])
def test_a_jordan_network_remembers_what_it_said(many):
    torch.manual_seed(0)
    net = Chain(build("jordan", (6, 3), 4, width=5, hidden=7, memory=0.3, out_positions=6 if many else None)).double()
    x, s, said = torch.randn(2, 6, 3).double(), torch.zeros(2, 4).double(), []
    layer, features = net[1], net[0](x)
    for t in range(6):
        h = torch.tanh(features[:, t] @ layer.features.weight.T + layer.features.bias + s @ layer.state.weight.T)
        said.append(h @ layer.out.weight.T + layer.out.bias)
        s = 0.3 * s + said[-1]
    torch.testing.assert_close(net(x), torch.stack(said, 1) if many else said[-1])
    if many:
        layer.eval()
        with remembering([layer]):
            pieces = [layer(part) for part in features.split([2, 1, 3], 1)]
        torch.testing.assert_close(torch.cat(pieces, 1), torch.stack(said, 1))
