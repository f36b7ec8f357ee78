"""What every loss and every metric keeps: numbers of examples alone, or of a whole split, finite and with no memory."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from unlocked.tasks.chosen import METRICS
from unlocked.tasks.own_loss import LOSSES, OwnLoss
from unlocked_models.contract.registry import Registry


def _made(kind: str, n: int, outputs: int) -> tuple[Tensor, Tensor]:
    """Outputs and targets of n examples, in float64."""
    generator = torch.Generator().manual_seed(0)
    out = torch.randn(n, outputs, generator=generator, dtype=torch.float64)
    if kind == "classes":
        return out, torch.arange(n) % outputs
    if kind == "labels":
        return out, (torch.rand(n, outputs, generator=generator) > 0.5).double()
    return out, torch.randn(n, outputs, generator=generator, dtype=torch.float64)


def _kinds(registry: Registry[Any], name: str) -> list[tuple[Tensor, Tensor]]:
    return [_made(kind, 12, 3) for kind in registry.facts(name)["of"]]


class LossContract:
    """Inherit and name the loss:

    class TestMine(LossContract):
        loss = "mine"
        options = {"quantile": 0.9}
    """

    loss: ClassVar[str]
    options: ClassVar[dict[str, Any]] = {}

    def examples(self) -> list[tuple[Tensor, Tensor]]:
        """Outputs and targets, for each kind of outputs that it is of."""
        return _kinds(LOSSES, self.loss)

    def each(self, output: Tensor, target: Tensor) -> Tensor:
        """`(batch,)`"""
        return OwnLoss(self.loss, self.options)(output, target)

    def test_it_gives_a_finite_number_for_each_example(self) -> None:
        for output, target in self.examples():
            found = self.each(output, target)
            assert found.shape == (len(output),)
            assert bool(found.isfinite().all())

    def test_an_example_has_its_loss_whatever_the_minibatch(self) -> None:
        for output, target in self.examples():
            torch.testing.assert_close(self.each(output, target)[3:7], self.each(output[3:7], target[3:7]))

    def test_it_has_the_gradient_of_its_value(self) -> None:
        """Compared with finite differences in float64."""
        for output, target in self.examples():
            leaf = output.clone().requires_grad_()
            (e,) = torch.autograd.grad(self.each(leaf, target).sum(), leaf)
            assert bool(e.any()), "no output has a part in it"
            assert torch.autograd.gradcheck(lambda out, y=target: self.each(out, y), (leaf,), raise_exception=False), (
                "its gradient is not that of its value; does it detach, or round?"
            )

    def test_what_it_is_given_is_as_it_was(self) -> None:
        for output, target in self.examples():
            before = output.clone(), target.clone()
            self.each(output, target)
            assert torch.equal(output, before[0]), "it changes the outputs in place"
            assert torch.equal(target, before[1]), "it changes the targets in place"

    def test_options_have_defaults(self) -> None:
        for output, target in self.examples():
            LOSSES.get(self.loss)(output, target)


class MetricContract:
    """Inherit and name the metric:

    class TestMine(MetricContract):
        metric = "mine"
        options = {"tolerance": 2.0}
    """

    metric: ClassVar[str]
    options: ClassVar[dict[str, Any]] = {}

    def examples(self) -> list[tuple[Tensor, Tensor]]:
        """Outputs and targets of a split, for each kind of outputs that it is of."""
        return _kinds(METRICS, self.metric)

    def value(self, outputs: Tensor, targets: Tensor) -> float:
        return float(METRICS.get(self.metric)(outputs, targets, **self.options))

    def test_it_is_one_finite_number(self) -> None:
        for outputs, targets in self.examples():
            assert math.isfinite(self.value(outputs, targets))

    def test_it_has_no_memory(self) -> None:
        """Every evaluation is of a whole split."""
        for outputs, targets in self.examples():
            assert self.value(outputs.clone(), targets.clone()) == self.value(outputs, targets)

    def test_the_order_of_the_examples_does_not_matter(self) -> None:
        for outputs, targets in self.examples():
            turned = torch.arange(len(outputs)).flip(0)
            found = self.value(outputs[turned], targets[turned])
            assert math.isclose(found, self.value(outputs, targets), rel_tol=1e-9, abs_tol=1e-9)

    def test_options_have_defaults(self) -> None:
        for outputs, targets in self.examples():
            METRICS.get(self.metric)(outputs, targets)
