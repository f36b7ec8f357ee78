"""What every scheme keeps: finite numbers that repeat, resume and do not depend on how a run is cut into segments."""

from __future__ import annotations

import copy
import math
from typing import Any, ClassVar

from unlocked.config import schema
from unlocked.data import DataSet
from unlocked.engine.group import InProcessGroup
from unlocked.plan.describe import describe
from unlocked.schema.facts import all_fields, fact_of
from unlocked.schemes import SCHEMES, ModuleLearner
from unlocked.testing.runs import difference, made, started, through_a_file, trained, weights


class SchemeContract:
    """Inherit and name the scheme:

    class TestMine(SchemeContract):
        scheme = "mine"
        options = {"share": 0.25}       # keys under `scheme.`
    """

    scheme: ClassVar[str]
    options: ClassVar[dict[str, Any]] = {}
    model: ClassVar[dict[str, Any]] = {"name": "mlp", "hidden": [12, 10, 8], "norm": "batch", "dropout": 0.1}
    modules: ClassVar[int] = 3
    more: ClassVar[dict[str, Any]] = {}  # other keys, such as {"task": "density"}

    def data(self) -> DataSet:
        return made()

    def learner(self) -> type[ModuleLearner]:
        return SCHEMES.get(self.scheme)

    def start(self, **tree: Any) -> InProcessGroup:
        """A run of this scheme about to train, at a lag of 2 if it takes one."""
        lag = 2 if self.learner().why_no_lag is None else "auto"
        scheme = {"name": self.scheme, "lag": lag, **self.options}
        parallel = {"modules": self.modules, **tree.pop("parallel", {})}
        whole = {"model": dict(self.model), "scheme": scheme, "parallel": parallel, **self.more, **tree}
        return started(self.data(), **whole)

    # what it declares ------------------------------------------------------------------------------------

    def test_every_option_has_a_meaning(self) -> None:
        bare = [f"scheme.{name}" for name, field in all_fields(self.learner().Options) if not fact_of(field)]
        assert not bare, f"{', '.join(bare)}: declare with unlocked.key(default, meaning), which --help shows"

    def test_options_are_keys_of_the_configuration(self) -> None:
        known = {name for name, field in all_fields(schema()) if name.startswith("scheme.")}
        assert known >= {f"scheme.{name}" for name, _ in all_fields(self.learner().Options)}

    def test_what_it_refuses_has_a_reason(self) -> None:
        assert all(isinstance(reason, str) and reason.strip() for reason in self.learner().refuses.values())

    # what it computes ------------------------------------------------------------------------------------

    def test_all_that_it_records_and_learns_is_finite(self) -> None:
        group = self.start()
        series = trained(group, [0, 12])
        assert any(k == len(group.modules) - 1 for k, _ in series), "the last module records nothing"
        bad = [f"{name} of module {k}" for (k, name), values in series.items() if not all(map(math.isfinite, values))]
        assert not bad, f"not finite: {', '.join(bad)}"
        assert group.nonfinite() is None

    def test_the_last_module_learns(self) -> None:
        group = self.start()
        before = copy.deepcopy(group.modules[-1].weights())
        trained(group, [0, 4])
        assert difference(group.modules[-1].weights(), before), "no weight of the last module moved in 4 steps"

    def test_the_same_run_gives_the_same_numbers(self) -> None:
        one, other = self.start(), self.start()
        assert difference(trained(one, [0, 6]), trained(other, [0, 6])) is None
        assert difference(weights(one), weights(other)) is None

    def test_segments_change_no_number(self) -> None:
        one, other = self.start(), self.start()
        assert difference(trained(one, [0, 10]), trained(other, [0, 3, 4, 10])) is None
        assert difference(weights(one), weights(other)) is None

    def test_a_probe_changes_no_number(self) -> None:
        one, other = self.start(), self.start()
        trained(one, [0, 6])
        trained(other, [0, 3])
        found = other.probe()
        assert all(math.isfinite(alignment.norm_ratio) for alignment in found.values())
        trained(other, [3, 6])
        assert difference(weights(one), weights(other)) is None, "a probe left something behind"

    # what it keeps ---------------------------------------------------------------------------------------

    def test_a_resumed_run_equals_an_unbroken_one(self) -> None:
        whole, begun = self.start(), self.start()
        trained(whole, [0, 4])
        expected = trained(whole, [4, 9])
        trained(begun, [0, 4], checkpoint_at=4)
        states = through_a_file(begun.states(4))
        resumed = self.start()
        resumed.load_states(states)
        found = trained(resumed, [4, 9])
        said = "is not in the state; register what a learner keeps with self.holds(...)"
        assert difference(found, expected) is None, f"{difference(found, expected)} differs: something {said}"
        assert difference(weights(resumed), weights(whole)) is None

    def test_a_state_that_is_loaded_is_the_state(self) -> None:
        begun, resumed = self.start(), self.start()
        trained(begun, [0, 4], checkpoint_at=4)
        states = through_a_file(begun.states(4))
        resumed.load_states(copy.deepcopy(states))
        found = difference(through_a_file(resumed.states(4)), states)
        assert found is None, f"{found} is not as it was loaded"

    def test_a_dry_run_counts_what_it_trains(self) -> None:
        group = self.start()
        for row, module in zip(describe(group.modules[0].plan), group.modules, strict=True):
            _, *beside = module.learner.inner_modules()
            held = sum(p.numel() for model in beside for p in model.parameters())
            assert sum(row["beside"].values()) == held, "declare models in `beside`: --dry-run and plans count them"
