"""What is registered is whole, and takes what it will be given; else its import says what is wrong, and where."""

from __future__ import annotations

import pytest

from unlocked import (
    Engine,
    ModuleLearner,
    Task,
    Transform,
    register_engine,
    register_scheme,
    register_task,
    register_transform,
)
from unlocked.blame import defined
from unlocked.engines import ENGINES
from unlocked.errors import ConfigError
from unlocked.schemes import SCHEMES, Frozen
from unlocked.tasks import TASKS

REGISTER = {
    "scheme": register_scheme,
    "task": register_task,
    "transform": register_transform,
    "engine": register_engine,
}
BASES = {"scheme": "ModuleLearner", "task": "Task", "transform": "Transform", "engine": "Engine"}


@pytest.mark.parametrize("kind", REGISTER)
def test_what_is_no_subclass_is_refused(kind):
    with pytest.raises(TypeError, match=rf"^{kind} 'mine': .*made is not a subclass of unlocked\.{BASES[kind]}$"):

        @REGISTER[kind]("mine")
        def made():
            pass


@pytest.mark.parametrize(
    ("kind", "base", "lacks"),
    [
        ("scheme", ModuleLearner, "step"),
        ("task", Task, "context, context_shape, loss, metrics, output_shape, monitor, higher_is_better"),
        ("transform", Transform, "__call__"),
        ("engine", Engine, "group"),
    ],
)
def test_a_class_that_lacks_something_is_refused(kind, base, lacks):
    with pytest.raises(TypeError, match=rf"^{kind} 'mine': Half needs {lacks}$"):
        REGISTER[kind]("mine")(type("Half", (base,), {}))
    assert all("mine" not in names for names in (SCHEMES, TASKS, ENGINES))


def test_a_method_of_other_arguments_is_refused_at_its_line():
    class Late(Frozen):
        def step(self, t, h_in):
            pass

    place = defined(Late.step)
    with pytest.raises(TypeError) as told:
        register_scheme("mine")(Late)
    assert str(told.value) == (
        f"scheme 'mine': step(self, t, h_in) at {place} is called as step(t, h_in, batch, ports)"
    )


def test_more_arguments_with_defaults_and_other_kinds_of_method_are_taken():
    class Free(Frozen):
        def step(self, t, h_in, *rest, **more):
            pass

        @staticmethod
        def refuse(*anything):
            return None

    try:
        register_scheme("mine")(Free)
        assert SCHEMES.get("mine") is Free
    finally:
        SCHEMES._entries.pop("mine", None)


def test_the_name_that_leaves_the_choice_is_no_engines():
    with pytest.raises(ValueError, match=r"^engine 'auto': this name leaves the choice to the platform"):
        register_engine("auto")(type("Mine", (Engine,), {"group": "nowhere:Group"}))


@pytest.mark.parametrize(
    ("group", "told"),
    [
        ("nowhere:Group", r"no group 'nowhere:Group' can be imported: No module named 'nowhere'"),
        ("unlocked.errors:Nix", r"no group 'unlocked.errors:Nix' can be imported: .* no attribute 'Nix'"),
        ("no colon", r"no group 'no colon' can be imported: "),
        ("unlocked.errors:ConfigError", r"the group of Mine, 'unlocked.errors:ConfigError', is no unlocked.Group"),
        (3, r"the group of Mine, 3, is no unlocked.Group"),
    ],
)
def test_an_engine_without_a_group_that_can_be_had_is_refused(group, told):
    with pytest.raises(ConfigError, match=rf"^parallel\.engine: {told}"):
        type("Mine", (Engine,), {"group": group})().group_class()
