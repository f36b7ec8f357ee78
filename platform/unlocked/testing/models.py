"""What every model keeps: a list of blocks with one tensor between neighbours, the same from the same seed."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

import torch

from unlocked.data import DataSet
from unlocked.engine.group import InProcessGroup
from unlocked.options import option_kinds
from unlocked.testing.runs import difference, made, started, trained, weights
from unlocked_models.contract.registry import GIVEN, MODELS


class ModelContract:
    """Inherit and name the model:

    class TestMine(ModelContract):
        model = {"name": "mine", "width": 8}
        in_shape = (1, 28, 28)
    """

    model: ClassVar[dict[str, Any]]
    in_shape: ClassVar[tuple[int, ...]] = (1, 8, 8)
    classes: ClassVar[int] = 5

    def data(self) -> DataSet:
        """Another for a model that is not a classifier."""
        return made(self.in_shape, self.classes)

    def start(self, modules: int = 1, scheme: str = "backprop", **tree: Any) -> InProcessGroup:
        parallel = {"modules": modules, **tree.pop("parallel", {})}
        return started(self.data(), model=dict(self.model), scheme={"name": scheme}, parallel=parallel, **tree)

    def test_options_have_types_and_defaults(self) -> None:
        make = MODELS.get(self.model["name"])
        parameters = list(inspect.signature(make).parameters.values())[2:]
        kinds = option_kinds(make)
        bare = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD and p.name not in {*kinds, *GIVEN}]
        assert not bare, f"annotate {', '.join(bare)}: a configuration's values are checked against it"

    def test_it_trains_as_one_module(self) -> None:
        """Its plan is made, so its shapes fit, and nothing that a pass must not do is done."""
        group = self.start()
        trained(group, [0, 4])
        assert group.nonfinite() is None

    def test_every_weight_has_a_gradient(self) -> None:
        group = self.start(optimizer={"name": "sgd", "lr": 1.0, "momentum": None})
        (module,) = group.modules
        before = {name: p.detach().clone() for name, p in module.learner.chain.named_parameters() if p.requires_grad}
        trained(group, [0, 3])
        still = [name for name, p in module.learner.chain.named_parameters() if torch.equal(before.get(name, p), p)]
        assert not (still := [name for name in still if name in before]), f"never learn: {', '.join(still)}"

    def test_the_same_seed_gives_the_same_weights(self) -> None:
        assert difference(weights(self.start()), weights(self.start())) is None

    def test_a_cut_changes_no_number_under_backprop(self) -> None:
        """Two modules that wait for each other are one net: no block may reach into another."""
        one = self.start()
        if len(one.modules[0].learner.chain) < 2:
            return
        two = self.start(modules=2)
        a, b = trained(one, [0, 4])[0, "loss"], trained(two, [0, 4])[1, "loss"]
        torch.testing.assert_close(torch.tensor(a), torch.tensor(b), rtol=1e-9, atol=1e-9)

    def test_evaluation_repeats(self) -> None:
        """Nothing is drawn, and no state moves, in evaluation mode."""
        group = self.start()
        assert torch.equal(group.outputs("test"), group.outputs("test"))
