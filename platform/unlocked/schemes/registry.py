"""The schemes by name, and the options that each declares: keys of the configuration under `scheme.`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from unlocked.entries import check_entry
from unlocked.schema.declared import NoOptions as NoOptions
from unlocked.schema.declared import Option, check_declared, collected
from unlocked.schema.keys import SchemeConfig
from unlocked_models.contract.registry import Registry

if TYPE_CHECKING:
    from unlocked.schemes.base import ModuleLearner

Learner = TypeVar("Learner", bound="type[ModuleLearner]")

SCHEMES: Registry[type[ModuleLearner]] = Registry("scheme")
BASE: list[type] = []  # ModuleLearner, which its own file puts here: that file needs this one


def register_scheme(name: str, **facts: Any) -> Callable[[Learner], Learner]:
    """Register a scheme, a subclass of `ModuleLearner`; the fields of its `Options` become keys under `scheme.`.

    Raises `ValueError`, one line, for options that cannot be keys. Two schemes may share an option of one name only
    if it is the same: an option of your own that clashes goes into a group, a field that is itself a dataclass.

    @register_scheme("idle")
    class Idle(Frozen):
        @dataclass
        class Options:
            rest: int = key(3, "minibatches between two updates", low=1)     # scheme.rest; self.options.rest
    """

    def add(learner: Learner) -> Learner:
        check_entry("scheme", name, learner, BASE[0])
        check_declared("scheme", name, learner.Options, SchemeConfig, declared())
        SCHEMES.register(name, **facts)(learner)
        return learner

    return add


def declared() -> dict[str, Option]:
    """The options of all registered schemes, by key."""
    return collected((name, SCHEMES.get(name).Options) for name in SCHEMES)


def options_of(scheme: type[ModuleLearner], config: Any) -> Any:
    """The options of one scheme, as its `Options`, from a configuration."""
    return scheme.Options(**{field.name: getattr(config.scheme, field.name) for field in fields(scheme.Options)})
