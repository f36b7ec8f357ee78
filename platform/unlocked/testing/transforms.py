"""What every transform keeps: all that it draws is of the generator, and what it was given is as it was."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import torch

from unlocked.data.transform import TRANSFORMS, PerExample, Transform, part
from unlocked.testing.runs import difference, made
from unlocked_models import Batch


class TransformContract:
    """Inherit and name the transform:

    class TestMine(TransformContract):
        transform = "mine"
        options = {"deviation": 0.2}
    """

    transform: ClassVar[str]
    options: ClassVar[dict[str, Any]] = {}

    def batch(self) -> Batch:
        return made().train.batch(torch.arange(12))

    def made_transform(self) -> Transform:
        """As a run has it: it has seen the training examples."""
        transform = TRANSFORMS.get(self.transform)(**self.options)
        transform.prepare(self.batch())
        return transform

    def _called(self, batch: Batch, seed: int = 0) -> Any:
        return self.made_transform()(batch, torch.Generator().manual_seed(seed)).state()

    def test_the_same_generator_gives_the_same_batch(self) -> None:
        torch.manual_seed(1)
        one = self._called(self.batch())
        torch.manual_seed(2)  # nothing is drawn from anything else
        assert difference(one, self._called(self.batch())) is None

    def test_what_it_is_given_is_as_it_was(self) -> None:
        batch = self.batch()
        before = copy.deepcopy(batch.state())
        self._called(batch)
        assert difference(batch.state(), before) is None, "it changes its input in place; make a new tensor"

    def test_examples_stay_as_many(self) -> None:
        given = self.batch()
        found = self.made_transform()(given, torch.Generator().manual_seed(0))
        assert len(found.y) == len(given.y)
        assert found.x is None or len(found.x) == len(given.y)

    def test_replicas_together_see_what_one_process_sees(self) -> None:
        transform, batch = self.made_transform(), self.batch()
        if not isinstance(transform, PerExample):
            return  # it sees whole minibatches
        whole = transform(batch, torch.Generator().manual_seed(0))
        for replica in range(3):
            shard = (replica, 3)
            own = transform.of_replica(part(batch, shard), torch.Generator().manual_seed(0), shard)
            assert difference(own.state(), part(whole, shard).state()) is None, (
                "draw() gives every choice with an axis of examples first, for all of the minibatch"
            )
