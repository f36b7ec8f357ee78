"""The schema with the options of every registered scheme as keys under `scheme.`, those of plug-ins included."""

from __future__ import annotations

from dataclasses import asdict, field, is_dataclass, make_dataclass
from functools import cache
from typing import Any

from unlocked.schema.facts import default_of, group
from unlocked.schema.keys import Config, SchemeConfig

# Options that every run's record has, whichever its scheme: runs are grouped by what is recorded of them. Those of
# later schemes are recorded only under the scheme itself, or if they are set.
ALWAYS_RECORDED = ("sg", "synthetic_inputs", "inputs", "feedback")
RECORDED_IF_SET = (("sg", "hops"),)  # of these groups, younger than the runs that have no such key


def schema() -> type[Config]:
    """`Config` with `scheme` as the registered schemes declare it; another class after another is registered."""
    from unlocked.schemes import (
        SCHEMES,
    )  # when it is first asked for: a command that reads no configuration starts sooner

    return _schema(tuple((name, SCHEMES.get(name).Options) for name in SCHEMES))


@cache
def _schema(schemes: tuple[tuple[str, type], ...]) -> type[Config]:
    from unlocked.schemes import declared

    options = [
        (
            name,
            option.kind,
            field(
                default=option.field.default,
                default_factory=option.field.default_factory,
                metadata={**option.field.metadata, "of": tuple(option.schemes)},
            ),
        )
        for name, option in declared().items()
    ]
    within = make_dataclass("SchemeConfig", options, bases=(SchemeConfig,), namespace={"__reduce__": _reduced})
    within.__doc__ = SchemeConfig.__doc__
    whole = make_dataclass(
        "Config", [("scheme", within, group(within))], bases=(Config,), namespace={"__reduce__": _reduced}
    )
    whole.__doc__ = Config.__doc__
    return whole


def to_tree(config: Config) -> dict[str, Any]:
    """All keys and values but the options of other schemes, unless they are set: it reads as the same configuration
    where their plug-ins are not imported."""
    from unlocked.schemes import declared

    tree = asdict(config)
    for name, option in declared().items():
        if config.scheme.name in option.schemes or name in ALWAYS_RECORDED or name not in tree["scheme"]:
            continue
        default = default_of(option.field)
        if tree["scheme"][name] == (asdict(default) if is_dataclass(default) else default):  # type: ignore[arg-type]
            del tree["scheme"][name]
    for name, newer in RECORDED_IF_SET:
        if tree["scheme"][name][newer] == getattr(default_of(declared()[name].field), newer):
            del tree["scheme"][name][newer]
    return tree


def _reduced(self: Any) -> tuple[Any, ...]:
    """For pickles: these classes have no name by which another process finds them."""
    return _restored, (isinstance(self, Config), dict(self.__dict__))


def _restored(whole: bool, values: dict[str, Any]) -> Any:
    return schema()(**values) if whole else type(schema()().scheme)(**values)
