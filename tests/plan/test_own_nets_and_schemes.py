"""A model of several nets or a scheme of one's own that is wrong is refused in one line, before anything starts."""

from __future__ import annotations

import pytest
from torch import nn

from unlocked import register_data
from unlocked.config import load_config
from unlocked.data import DATA, RawData
from unlocked.errors import ConfigError, DataError
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.schemes import SCHEMES, Backprop, Frozen
from unlocked.tasks import TASKS
from unlocked.tasks.classification import Classification
from unlocked_models import MODELS, register_model
from unlocked_models.contract.nets import Net


def _plan(preset, *overrides):
    config = load_config(preset, ["parallel.engine=inprocess", *overrides])
    return make_plan(config, load_data(config))


def _fails(in_shape, n_outputs):
    raise ValueError("no\nnets")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda in_shape, n_outputs: nn.Linear(64, 1), "mine: a model of the nets .* not Linear$"),
        (lambda in_shape, n_outputs: {"generator": Net([], (16,))}, "mine: .* not a dictionary of 'generator'$"),
        (_fails, r"mine failed at .*test_own_nets_and_schemes\.py:\d+: ValueError: no$"),
    ],
)
def test_a_model_without_the_nets_that_it_names_is_refused(make, told):
    register_model("mine", nets=("generator", "discriminator"))(make)
    try:
        with pytest.raises(ConfigError, match=rf"^model\.name: {told}"):
            _plan("adversarial/gan", "model={name: mine}")
    finally:
        MODELS._entries.pop("mine")


@pytest.mark.parametrize("raises", [True, False])
def test_a_reason_of_several_lines_is_told_in_one(monkeypatch, raises):
    class Mine(Backprop):
        @classmethod
        def refuse(cls, config, task, blocks, specs):
            if raises:
                raise ConfigError("scheme.name: mine does not\n\n  train this")
            return "does not\n\n  train this"

    monkeypatch.setitem(SCHEMES._entries, "mine", Mine)
    with pytest.raises(ConfigError, match=r"^scheme\.name: mine does not train this$"):
        _plan("quickstart", "scheme.name=mine")


def test_a_reason_for_a_family_is_told_in_one_line_too(monkeypatch):
    monkeypatch.setitem(SCHEMES._entries, "mine", type("Mine", (Frozen,), {"refuses": {"mlp": "of two\nlines"}}))
    with pytest.raises(ConfigError, match=r"^scheme\.name: mine cannot train the mlp family: of two lines$"):
        _plan("quickstart", "scheme.name=mine")


def test_a_task_whose_check_names_no_outputs_is_refused(monkeypatch):
    class Forgets(Classification):
        def check(self, name, raw, splits):
            super().check(name, raw, splits)

    monkeypatch.setitem(TASKS._entries, "forgets", Forgets)

    @register_data("forgotten", task="forgets")
    def forgotten(source):
        digits = DATA.get("digits")(source)
        return RawData(digits.x_train, digits.y_train, class_names=digits.class_names)

    try:
        with pytest.raises(
            DataError, match=r"^forgotten: check of its task, Forgets, gives a NoneType, not a list of "
        ):
            _plan("quickstart", "data.name=forgotten")
    finally:
        DATA._entries.pop("forgotten")


@pytest.mark.parametrize(
    ("preset", "override", "told"),
    [
        ("adversarial/dcgan", "data.name=mnist1d", "^model.name: dcgan takes images "),
        ("adversarial/growing", "data.options.side=5", r"^model.channels: \[32, 24\] from model.base 4 make images "),
    ],
)
def test_what_a_model_says_of_its_keys_is_told_as_it_is(preset, override, told):
    with pytest.raises(ConfigError, match=told):
        _plan(preset, override)
