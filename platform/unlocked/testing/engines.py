"""What every engine keeps: a run has the same numbers wherever its modules train."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor

from unlocked.config import from_tree
from unlocked.engine.group import Group
from unlocked.engines import ENGINES
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.testing.runs import BASE, through_a_file

Found = tuple[list[float], dict[str, Tensor]]  # losses, and weights of the whole net


class EngineContract:
    """Inherit and name the engine:

    class TestMine(EngineContract):
        engine = "mine"
    """

    engine: ClassVar[str]
    scheme: ClassVar[dict[str, Any]] = {"name": "cdni", "lag": 2, "sg": {"hidden": [6]}}
    model: ClassVar[dict[str, Any]] = {"name": "mlp", "hidden": [12, 10, 8], "norm": "batch", "dropout": 0.1}
    modules: ClassVar[int] = 3

    @contextmanager
    def started(self, engine: str | None = None) -> Iterator[Group]:
        parallel = {"device": "cpu", "threads": 1, "engine": engine or self.engine, "modules": self.modules}
        config = from_tree({**BASE, "model": dict(self.model), "scheme": dict(self.scheme), "parallel": parallel})
        data = load_data(config)
        plan = make_plan(config, data)
        group = ENGINES.get(plan.engine)().group_class()(plan, data)
        try:
            yield group
        finally:
            group.close()

    def trained(self, group: Group, start: int, stop: int) -> Found:
        losses: list[float] = []
        for stats in group.run([(start, stop)], stop):
            losses += stats[-1].series["loss"]
        return losses, {key: value for state in group.states(stop) for key, value in state["weights"].items()}

    def assert_close(self, found: Found, expected: Found) -> None:
        torch.testing.assert_close(torch.tensor(found[0]), torch.tensor(expected[0]), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(found[1], expected[1], rtol=1e-9, atol=1e-9)

    def test_it_gives_the_numbers_of_one_process(self) -> None:
        with self.started() as mine, self.started("inprocess") as plain:
            self.assert_close(self.trained(mine, 0, 6), self.trained(plain, 0, 6))
            torch.testing.assert_close(mine.outputs("test"), plain.outputs("test"))

    def test_a_run_that_it_resumes_equals_an_unbroken_one(self) -> None:
        with self.started() as whole, self.started() as resumed:
            self.trained(whole, 0, 4)
            resumed.load_states(through_a_file(whole.states(4)))
            self.assert_close(self.trained(resumed, 4, 8), self.trained(whole, 4, 8))

    def test_it_says_what_it_is(self) -> None:
        kind = ENGINES.get(self.engine)
        assert kind.__doc__, "the first line of the docstring is shown by `unlocked list engines`"
        assert issubclass(kind().group_class(), Group)
