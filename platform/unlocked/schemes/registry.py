"""The schemes by name, and the options that each declares: keys of the configuration under `scheme.`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unlocked.entries import check_entry
from unlocked.errors import reason
from unlocked.schema.facts import default_of, fact_of
from unlocked.schema.keys import SchemeConfig
from unlocked_models.contract.registry import Registry

if TYPE_CHECKING:
    from unlocked.schemes.base import ModuleLearner

Learner = TypeVar("Learner", bound="type[ModuleLearner]")

SCHEMES: Registry[type[ModuleLearner]] = Registry("scheme")
BASE: list[type] = []  # ModuleLearner, which its own file puts here: that file needs this one
OF_EVERY_SCHEME = tuple(field.name for field in fields(SchemeConfig))


@dataclass
class NoOptions:
    """Of a scheme that needs none."""


class Option(NamedTuple):
    field: Field[Any]
    kind: Any  # its type
    schemes: list[str]  # that have it


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
        found = _checked(name, learner.Options)
        for key, (field, kind) in found.items():
            other = declared().get(key)
            if other is not None and name not in other.schemes and not _same(field, kind, other):
                raise ValueError(
                    f"scheme {name}: option {key} is another one than scheme.{key} of {other.schemes[0]}; rename it, "
                    f"or put it into a group, a field that is a dataclass of its own"
                )
        SCHEMES.register(name, **facts)(learner)
        return learner

    return add


def declared() -> dict[str, Option]:
    """The options of all registered schemes, by key."""
    found: dict[str, Option] = {}
    for name in SCHEMES:
        options = SCHEMES.get(name).Options
        kinds = get_type_hints(options)
        for field in fields(options):
            found.setdefault(field.name, Option(field, kinds[field.name], [])).schemes.append(name)
    return found


def options_of(scheme: type[ModuleLearner], config: Any) -> Any:
    """The options of one scheme, as its `Options`, from a configuration."""
    return scheme.Options(**{field.name: getattr(config.scheme, field.name) for field in fields(scheme.Options)})


def _checked(name: str, options: type) -> dict[str, tuple[Field[Any], Any]]:
    """Fields and types of the options of a scheme."""
    if not is_dataclass(options):
        raise ValueError(f"scheme {name}: its Options is not a dataclass; put @dataclass above it")
    for field in fields(options):
        if field.name in OF_EVERY_SCHEME:
            raise ValueError(f"scheme {name}: option {field.name} is one of every scheme; give yours another name")
        if field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"scheme {name}: option {field.name} needs a default")
    try:
        kinds = get_type_hints(options)
        OmegaConf.structured(options)
    except (NameError, TypeError, OmegaConfBaseException) as error:
        raise ValueError(f"scheme {name}: its options cannot be read from a configuration: {reason(error)}") from None
    return {field.name: (field, kinds[field.name]) for field in fields(options)}


def _same(field: Field[Any], kind: Any, other: Option) -> bool:
    return (kind, default_of(field), fact_of(field)) == (other.kind, default_of(other.field), fact_of(other.field))
