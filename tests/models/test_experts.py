"""Mixtures of experts against all experts at once, and the loss that balances them."""

import numpy as np
import pytest
import torch

from unlocked import load_config, train
from unlocked.drawing import inside
from unlocked.schemes.units import counted
from unlocked_models import Batch, Chain, build
from unlocked_models.modular.experts import Experts, Router


def dense(router: Router, experts: Experts, h: torch.Tensor) -> torch.Tensor:
    """Every expert of every example, with gates of zero for those that are not asked."""
    scores = router.score(h)
    out = torch.stack([expert(h) for expert in experts.experts], 1)  # (batch, experts, width)
    asked = scores >= scores.topk(experts.active).values[:, -1:]
    gates = scores.masked_fill(~asked, -torch.inf).softmax(-1) if experts.active > 1 else scores.softmax(-1) * asked
    return h + (gates[..., None] * out).sum(1)


@pytest.mark.parametrize("active", [1, 2, 4])
def test_outputs_and_routing_gradients_are_those_of_all_experts_with_zero_gates(active):
    torch.manual_seed(0)
    router, experts = Router(6, 4, active, 0.0, False).double(), Experts(6, 4, 5, active).double()
    h = torch.randn(9, 6).double().requires_grad_()
    found, expected = experts(router(h)), dense(router, experts, h)
    torch.testing.assert_close(found, expected)
    weights = [h, *router.parameters(), *experts.parameters()]
    aim = torch.randn(9, 6).double()
    got, wanted = (torch.autograd.grad((out * aim).sum(), weights, retain_graph=True) for out in (found, expected))
    assert got[1].abs().max() > 1e-3  # the router learns, of one active expert too
    for mine, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_an_expert_that_nobody_asks_computes_nothing():
    experts = Experts(6, 3, 5, 1)
    routed = torch.cat([torch.randn(4, 6), torch.tensor([[9.0, 0.0, 0.0]]).expand(4, 3)], 1)
    seen = []
    for expert in experts.experts:
        expert.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    experts(routed)
    assert seen == [4, 0, 0]


def test_units_of_an_expert_that_nobody_asks_count_neither_as_dead_nor_as_alive():
    experts = Experts(6, 3, 5, 1)
    torch.nn.init.constant_(experts.experts[0][0].bias, 100.0)
    with counted(experts) as units:
        experts(torch.cat([torch.randn(4, 6), torch.tensor([[9.0, 0.0, 0.0]]).expand(4, 3)], 1))
    assert units.dead == 0


@pytest.mark.parametrize("active", [1, 2])
def test_the_balancing_loss_is_equation_4_and_least_for_equal_loads(active):
    torch.manual_seed(0)
    router = Router(6, 4, active, 0.5, False).double()
    h = router(torch.randn(50, 6).double())
    scores = h[:, -4:]
    f = torch.zeros(4).double()
    for row in scores.topk(active).indices:
        f[row] += 1 / (50 * active)
    loss = router.local_loss(h, Batch(None, torch.zeros(50)))
    torch.testing.assert_close(loss, 0.5 * 4 * (f * scores.softmax(-1).mean(0)).sum())
    if active == 1:
        alike = torch.cat([torch.zeros(4, 6), 9 * torch.eye(4)], 1).double()
        one = torch.cat([torch.zeros(4, 6), 9 * torch.eye(4)[:1].expand(4, 4)], 1).double()
        losses = [router.local_loss(each, Batch(None, torch.zeros(4))).item() for each in (alike, one)]
        assert losses == [pytest.approx(0.5), pytest.approx(0.5 * 4, rel=0.01)]


def test_scores_are_noisy_in_training_alone():
    torch.manual_seed(0)
    router, h = Router(6, 4, 2, 0.0, True), torch.randn(3, 6)
    assert not torch.equal(router(h), router(h))
    router.eval()
    assert torch.equal(router(h), router(h))
    assert torch.equal(router(h)[:, :6], h)


@pytest.mark.parametrize("scheme", ["backprop", "dfa", "cdni", "dni", "local", "frozen"])
def test_experts_train_under_every_scheme_router_and_experts_apart(scheme, tmp_path):
    small = ["model={width: 16, experts: 4, inner: 8}", "parallel.partition=[1, 1, 1, 1]", "parallel.modules=4"]
    quiet = [f"tracking.runs={tmp_path}", "tracking.uri=off", f"tracking.figures={str(scheme == 'dfa').lower()}"]
    summary = train(
        load_config("modular/moe", [*small, *quiet, f"scheme.name={scheme}", "train.epochs=3", "optimizer.lr=0.01"])
    )
    assert summary["metrics"]["test/accuracy"] > (0.4 if scheme == "backprop" else 0.05)
    assert (tmp_path / summary["run"] / "figures" / "experts.png").exists() == (scheme == "dfa")


def test_the_load_is_drawn_by_class(tmp_path):
    torch.manual_seed(0)
    chain = Chain(build("moe", (6,), 3, experts=4, depth=2))
    found = inside.loads(chain, Batch(torch.randn(20, 6), torch.arange(20) % 3))
    assert [each.shape for each in found] == [(20, 4)] * 2
    assert all((each.sum(1) == 2).all() for each in found)
    classes = np.arange(20) % 3
    assert inside.experts([each.numpy() for each in found], classes, ["a", "b", "c"], 2, tmp_path / "e.png").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"active": 9}, r"model.active: 9 are more than the 8 experts"),
        ({"balance": -1.0}, "model.balance: "),
    ],
)
def test_wrong_options_are_one_line(options, said):
    with pytest.raises(ValueError, match=said):
        build("moe", (9,), 5, **options)
