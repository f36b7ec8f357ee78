"""The schema with the options of every registered scheme, optimiser and engine as keys, those of plug-ins included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, field, is_dataclass, make_dataclass
from functools import cache
from typing import Any

from unlocked.schema.declared import Option, collected
from unlocked.schema.facts import default_of, group
from unlocked.schema.keys import Config, OptimizerConfig, ParallelConfig, SchemeConfig

# Options that every run's record has, whichever its scheme: runs are grouped by what is recorded of them. Those of
# later schemes are recorded only under the scheme itself, or if they are set.
ALWAYS_RECORDED = ("sg", "synthetic_inputs", "inputs", "feedback")
RECORDED_IF_SET = (("sg", "hops"),)  # of these groups, younger than the runs that have no such key


def schema() -> type[Config]:
    """`Config` with `scheme`, `optimizer` and `parallel` as the registered ones declare them; another class after
    another is registered."""
    # when it is first asked for: a command that reads no configuration starts sooner
    from unlocked.engines import ENGINES
    from unlocked.optim import OPTIMIZERS, options_type
    from unlocked.schemes import SCHEMES

    return _schema(
        tuple((name, SCHEMES.get(name).Options) for name in SCHEMES),
        tuple((name, options_type(OPTIMIZERS.get(name))) for name in OPTIMIZERS),
        tuple((name, ENGINES.get(name).Options) for name in ENGINES),
    )


@cache
def _schema(
    schemes: tuple[tuple[str, type], ...],
    optimizers: tuple[tuple[str, type], ...],
    engines: tuple[tuple[str, type], ...],
) -> type[Config]:
    entries = {"scheme": schemes, "optimizer": optimizers, "parallel": engines}
    groups = {name: _extended(base, entries[name]) for name, base in _GROUPS.items()}
    whole = make_dataclass(
        "Config",
        [(name, within, group(within)) for name, within in groups.items()],
        bases=(Config,),
        namespace={"__reduce__": _reduced},
    )
    whole.__doc__ = Config.__doc__
    return whole


def _extended(base: type, entries: tuple[tuple[str, type], ...]) -> type:
    """The keys of a group, and the options that entries declare."""
    options = [
        (
            name,
            option.kind,
            field(
                default=option.field.default,
                default_factory=option.field.default_factory,
                metadata={**option.field.metadata, "of": tuple(option.owners)},
            ),
        )
        for name, option in collected(entries).items()
    ]
    within = make_dataclass(base.__name__, options, bases=(base,), namespace={"__reduce__": _reduced})
    within.__doc__ = base.__doc__
    return within


def to_tree(config: Config) -> dict[str, Any]:
    """All keys and values but the options of other schemes, optimisers and engines, unless they are set: it reads as
    the same configuration if their plug-ins are not imported."""
    from unlocked import engines, optim, schemes

    tree = asdict(config)
    _drop_unset(tree["scheme"], schemes.declared(), config.scheme.name, ALWAYS_RECORDED)
    _drop_unset(tree["optimizer"], optim.declared(), config.optimizer.name)
    _drop_unset(tree["parallel"], engines.declared(), config.parallel.engine)
    for name in optim.torch_keys():
        if tree["optimizer"].get(name, ...) is None:  # of torch's own default: older runs have no such key
            del tree["optimizer"][name]
    for name, newer in RECORDED_IF_SET:
        if tree["scheme"][name][newer] == getattr(default_of(schemes.declared()[name].field), newer):
            del tree["scheme"][name][newer]
    return tree


def _drop_unset(tree: dict[str, Any], declared: dict[str, Option], owner: str, always: Sequence[str] = ()) -> None:
    for name, option in declared.items():
        if owner in option.owners or name in always or name not in tree:
            continue
        default = default_of(option.field)
        if tree[name] == (asdict(default) if is_dataclass(default) else default):  # type: ignore[arg-type]
            del tree[name]


def _reduced(self: Any) -> tuple[Any, ...]:
    """For pickles: these classes have no name by which another process finds them."""
    kind = next((name for name in _GROUPS if isinstance(self, _GROUPS[name])), None)
    return _restored, (kind, dict(self.__dict__))


def _restored(kind: str | None, values: dict[str, Any]) -> Any:
    return schema()(**values) if kind is None else type(getattr(schema()(), kind))(**values)


_GROUPS: dict[str, type] = {"scheme": SchemeConfig, "optimizer": OptimizerConfig, "parallel": ParallelConfig}
