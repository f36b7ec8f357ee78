"""Names to things, and the errors when a name is wrong."""

import doctest
from collections.abc import Callable

import pytest

from unlocked_models import MODELS, mlp
from unlocked_models.cnn import plain as cnn_module
from unlocked_models.contract import registry
from unlocked_models.contract.registry import Registry, UnknownName, unknown
from unlocked_models.layers import basic as layers


@pytest.fixture(autouse=True)
def _registrations_end_with_the_test(monkeypatch):
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))
    monkeypatch.setattr(MODELS, "_facts", dict(MODELS._facts))


@pytest.mark.parametrize("module", [registry, mlp, cnn_module, layers], ids=lambda m: m.__name__)
def test_examples_in_docstrings_run(module):
    assert doctest.testmod(module).failed == 0


def test_an_unknown_name_is_answered_with_the_nearest_and_all_known_names():
    with pytest.raises(UnknownName) as error:
        MODELS.get("lenett5")
    assert str(error.value).startswith("unknown model 'lenett5'; did you mean 'lenet5'? (known: alexnet, ")


def test_a_name_near_nothing_gets_no_guess():
    assert unknown("scheme", "zzz", ["dni", "dfa"]) == "unknown scheme 'zzz' (known: dfa, dni)"


def test_a_name_that_is_no_string_is_unknown_and_not_a_crash():
    assert unknown("scheme", None, ["dni"]) == "unknown scheme None (known: dni)"


def test_a_taken_name_is_refused_and_the_first_owner_named():
    shapes: Registry[Callable] = Registry("shape")
    shapes.register("square")(len)
    with pytest.raises(ValueError, match=r"shape 'square' is already registered by builtins\.len"):
        shapes.register("square")(sorted)


def test_the_same_thing_may_register_again_as_when_its_module_is_reloaded():
    shapes: Registry[Callable] = Registry("shape")
    shapes.register("square", sides=3)(len)
    shapes.register("square", sides=4)(len)
    assert shapes.facts("square") == {"sides": 4}


def test_names_are_sorted_and_membership_needs_no_exception():
    shapes: Registry[Callable] = Registry("shape")
    shapes.register("b")(len)
    shapes.register("a")(sorted)
    assert list(shapes) == shapes.names() == ["a", "b"]
    assert "a" in shapes
    assert "c" not in shapes


def test_the_zoo_registers_itself_with_families():
    families = {name: MODELS.facts(name)["family"] for name in MODELS}
    assert families["mlp"] == "mlp"
    image_models = {
        "alexnet", "alexnet_small", "cnn", "inception", "inception_small", "lenet5", "resnet", "resnet_small",
        "vgg", "vgg_small",
    }  # fmt: skip
    assert image_models <= {name for name, family in families.items() if family == "cnn"}
