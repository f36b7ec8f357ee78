"""What every optimiser keeps: it goes down, leaves what has no gradient, and goes on from a checkpoint bit for bit."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import nn

from unlocked.config import from_tree
from unlocked.engine.group import InProcessGroup
from unlocked.optim import OPTIMIZERS, build_optimizer, options_type
from unlocked.optim.registry import state_size
from unlocked.schema.facts import all_fields, fact_of
from unlocked.testing.runs import difference, made, started, through_a_file, trained


class OptimizerContract:
    """Inherit and name the optimiser:

    class TestMine(OptimizerContract):
        optimizer = "mine"
        options = {"memory": 0.9}       # keys under `optimizer.`
        lr = 0.01
    """

    optimizer: ClassVar[str]
    options: ClassVar[dict[str, Any]] = {}
    lr: ClassVar[float] = 0.01

    def keys(self) -> dict[str, Any]:
        return {"name": self.optimizer, "lr": self.lr, "momentum": None, **self.options}

    def built(self, *parameters: nn.Parameter) -> torch.optim.Optimizer:
        tree = {"data": {"name": "digits"}, "model": {"name": "mlp"}, "optimizer": self.keys()}
        return build_optimizer(from_tree(tree).optimizer, parameters)

    def start(self) -> InProcessGroup:
        return started(made(), model={"name": "mlp", "hidden": [8]}, optimizer=self.keys())

    def test_options_have_a_meaning(self) -> None:
        bare = [name for name, field in all_fields(options_type(OPTIMIZERS.get(self.optimizer))) if not fact_of(field)]
        assert not bare, f"{', '.join(bare)}: declare with unlocked.key(default, meaning), which --help shows"

    def test_it_goes_down(self) -> None:
        """A quadratic of eight numbers, |w - 1|^2, in at most 2000 steps to a tenth of where it begins."""
        weight = nn.Parameter(torch.zeros(2, 4, dtype=torch.float64))
        optimizer, least = self.built(weight), math.inf
        for _ in range(2000):
            optimizer.zero_grad()
            loss = (weight - 1).square().sum()
            loss.backward()
            optimizer.step()
            least = min(least, float(loss.detach()))
        assert math.isfinite(float(loss.detach())), f"it diverges at lr={self.lr}"
        assert least < 0.8, f"from 8 it only comes to {least:.3g} at lr={self.lr}"

    def test_a_weight_without_a_gradient_stays(self) -> None:
        one, other = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
        optimizer = self.built(one, other)
        one.grad = torch.ones(2, 2)
        optimizer.step()
        assert torch.equal(other.detach(), torch.ones(2, 2))

    def test_a_run_that_goes_on_equals_an_unbroken_one(self) -> None:
        """What it keeps of a weight is in `self.state`, which a checkpoint has."""
        whole, resumed = self.start(), self.start()
        trained(whole, [0, 4], 4)
        resumed.load_states(through_a_file(whole.states(4)))
        trained(whole, [4, 8], 8)
        trained(resumed, [4, 8], 8)
        found = difference(resumed.states(8), whole.states(8))
        assert found is None, f"{found}: keep what a step needs in self.state[p]"

    def test_what_it_keeps_is_counted(self) -> None:
        tree = {"data": {"name": "digits"}, "model": {"name": "mlp"}, "optimizer": self.keys()}
        assert state_size(from_tree(tree).optimizer) >= 0
