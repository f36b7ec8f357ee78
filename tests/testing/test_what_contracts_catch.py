"""A scheme, model, task or transform with a usual mistake fails its contract."""

from collections import deque
from dataclasses import replace

import pytest
import torch
from torch import nn

from unlocked.callbacks import CALLBACKS, Callback, register_callback
from unlocked.data.transform import TRANSFORMS, PerExample, Transform, register_transform
from unlocked.schemes import SCHEMES, Backprop, Frozen, register_scheme
from unlocked.tasks import LOSSES, METRICS, TASKS, register_loss, register_metric, register_task
from unlocked.tasks.classification import Classification
from unlocked.testing import (
    CallbackContract,
    LossContract,
    MetricContract,
    ModelContract,
    SchemeContract,
    TaskContract,
    TransformContract,
)
from unlocked_models import register_model
from unlocked_models.contract.registry import MODELS


@pytest.fixture(autouse=True)
def registries(monkeypatch):
    """As they were, after each test."""
    for registry in (SCHEMES, TASKS, TRANSFORMS, MODELS, LOSSES, METRICS, CALLBACKS):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
        monkeypatch.setattr(registry, "_facts", dict(registry._facts))


def contract(base, **attributes):
    return type("TestMine", (base,), attributes)()


class _Average(Frozen):
    """Inputs shrink with a count that it keeps."""

    def __init__(self, *args):
        super().__init__(*args)
        self.steps = deque(maxlen=1000)

    def step(self, t, h_in, batch, ports):
        self.steps.append(t)
        super().step(t, h_in / len(self.steps), batch, ports)


def test_state_that_is_not_registered_is_caught():
    register_scheme("mine")(_Average)
    with pytest.raises(AssertionError, match=r"register what a learner keeps with self.holds\(...\)"):
        contract(SchemeContract, scheme="mine").test_a_resumed_run_equals_an_unbroken_one()


def test_the_same_state_registered_passes():
    class Registered(_Average):
        def __init__(self, *args):
            super().__init__(*args)
            self.holds("steps", self.steps)

    register_scheme("mine")(Registered)
    mine = contract(SchemeContract, scheme="mine")
    mine.test_a_resumed_run_equals_an_unbroken_one()
    mine.test_a_state_that_is_loaded_is_the_state()


def test_draws_from_anywhere_but_the_seed_are_caught():
    class Noisy(Backprop):
        def step(self, t, h_in, batch, ports):
            super().step(t, h_in + torch.rand(1, generator=self.generator).item(), batch, ports)

        generator = torch.Generator()

    register_scheme("mine")(Noisy)
    with pytest.raises(AssertionError):
        contract(SchemeContract, scheme="mine").test_the_same_run_gives_the_same_numbers()


def test_models_beside_the_blocks_that_no_dry_run_counts_are_caught():
    class Hidden(Frozen):
        def __init__(self, *args):
            super().__init__(*args)
            self.holds("more", nn.Linear(2, 2))

    register_scheme("mine")(Hidden)
    with pytest.raises(AssertionError, match="declare models in `beside`"):
        contract(SchemeContract, scheme="mine").test_a_dry_run_counts_what_it_trains()


def test_a_weight_that_never_learns_is_caught():
    class Idle(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.used, self.idle = nn.Linear(width, width), nn.Linear(width, width)

        def forward(self, h):
            return self.used(h)

    @register_model("mine")
    def mine(in_shape, n_outputs, width=8):
        return [nn.Flatten(), nn.Linear(64, width), Idle(width), nn.Linear(width, n_outputs)]

    model = contract(ModelContract, model={"name": "mine"})
    with pytest.raises(AssertionError, match=r"never learn: 2\.idle\.weight, 2\.idle\.bias"):
        model.test_every_weight_has_a_gradient()
    with pytest.raises(AssertionError, match=r"annotate width"):
        model.test_options_have_types_and_defaults()
    model.test_a_cut_changes_no_number_under_backprop()


def test_a_loss_that_is_a_sum_is_caught():
    @register_task("mine")
    class Summed(Classification):
        def loss(self, output, target):
            return nn.functional.cross_entropy(output, target, reduction="sum")

    with pytest.raises(AssertionError):
        contract(TaskContract, task="mine").test_the_loss_is_a_mean_over_examples()


def test_a_transform_that_draws_from_torch_or_writes_into_its_input_is_caught():
    @register_transform("mine")
    class Mine(Transform):
        def __call__(self, batch, generator):
            batch.x.add_(torch.rand(1))
            return batch

    mine = contract(TransformContract, transform="mine")
    with pytest.raises(AssertionError):
        mine.test_the_same_generator_gives_the_same_batch()
    with pytest.raises(AssertionError, match="make a new tensor"):
        mine.test_what_it_is_given_is_as_it_was()


def test_a_transform_whose_choices_are_of_one_replica_alone_is_caught():
    @register_transform("mine")
    class Mine(PerExample):
        def draw(self, n, batch, generator):
            return (torch.rand(len(batch.y), generator=generator),)

        def apply(self, batch, *choices):
            x = batch.x[: len(choices[0])] * choices[0].view(-1, 1, 1, 1)
            return replace(batch, x=x)

    with pytest.raises(AssertionError, match="for all of the minibatch"):
        contract(TransformContract, transform="mine").test_replicas_together_see_what_one_process_sees()


def test_a_loss_that_mixes_examples_is_caught():
    register_loss("mixes", of="values")(lambda output, target: (output - target - (output - target).mean()).square())
    with pytest.raises(AssertionError):
        contract(LossContract, loss="mixes").test_an_example_has_its_loss_whatever_the_minibatch()


def test_a_loss_with_another_gradient_is_caught():
    register_loss("detached", of="values")(lambda output, target: (output - target) * (output - target).detach())
    with pytest.raises(AssertionError, match="its gradient is not that of its value"):
        contract(LossContract, loss="detached").test_it_has_the_gradient_of_its_value()


def test_a_metric_that_remembers_is_caught():
    seen = []

    @register_metric("remembers", of="classes", higher_is_better=True)
    def remembers(outputs, targets):
        seen.extend((outputs.argmax(1) == targets).tolist())
        return len(seen)

    with pytest.raises(AssertionError):
        contract(MetricContract, metric="remembers").test_it_has_no_memory()


def test_a_callback_that_forgets_when_a_run_goes_on_is_caught():
    @register_callback("forgets")
    class Forgets(Callback):
        seen = 0

        def on_step_end(self, run, step, values):
            self.seen += 1
            run.log({"seen": self.seen})

    with pytest.raises(AssertionError, match="seen: give what it keeps by state_dict"):
        contract(CallbackContract, callback="forgets").test_a_run_that_goes_on_is_as_one_that_was_never_broken()
