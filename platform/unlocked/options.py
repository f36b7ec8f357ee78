"""Keyword options of a model or a data set, against the signature of the function that takes them: names and types."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from unlocked.errors import ConfigError, UnlockedError
from unlocked_models.contract.registry import unknown


def check_options(
    key: str,
    owner: str,
    takes: Callable[..., Any],
    given: Mapping[str, Any],
    skip: int,
    hidden: Sequence[str] = (),
    error: type[UnlockedError] = ConfigError,
) -> None:
    """Raises `error`, one line that begins with `key`, for an option that `takes` does not know, needs, or wants of
    another type; what has no annotation, or one that no text can be of, may be anything.

    Args:
        owner: the registered name of `takes`.
        skip: how many parameters of it are no options.
        hidden: others that are none.
    """
    parameters, kinds = _parameters(takes)[skip:], option_kinds(takes)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    known = {p.name: p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and p.name not in hidden}
    for name, value in given.items():
        if not known and not takes_any:
            raise error(f"{key}.{name}: {owner} has no options")
        if name not in known and not takes_any:
            raise error(f"{key}.{name}: {unknown(f'option of {owner}', name, list(known))}")
        if name in known and not fits(value, kind := kinds.get(name, Any)):
            raise error(f"{key}.{name}: {_misfit(value, kind, known[name].default)}")
        if isinstance(value, str) and value == "None" and name in known and fits(None, kind):
            raise error(f"{key}.{name}: {value!r} is a word of Python; null means no value")
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in given:
            raise error(f"{key}.{name}: {owner} needs this option")


def entry_of(
    key: str,
    entry: object,
    example: str = "f1",
    option: str = "average: macro",
    error: type[UnlockedError] = ConfigError,
) -> tuple[str, dict[str, Any]]:
    """Name and options of an entry of a list: `shift`, or `{name: shift, most: 2}`. Raises `error`, one line."""
    options = dict(entry) if isinstance(entry, Mapping) else {"name": entry}
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise error(
            f"{key}: {entry!r} is not a name such as {example}, or a name and options: {{name: {example}, {option}}}"
        )
    return name, options


def option_kinds(takes: Callable[..., Any]) -> dict[str, Any]:
    """The annotated types of the parameters."""
    try:
        return get_type_hints(takes.__init__ if inspect.isclass(takes) else takes)
    except (NameError, TypeError, AttributeError):  # an import for type checkers alone
        return {}


def fits(value: Any, hint: Any) -> bool:
    """Whether a value read from YAML is of an annotated type; a whole number is a float, too."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(fits(value, arg) for arg in args)
    if origin is Literal:
        return value in args
    if origin in (list, tuple, Sequence):
        return isinstance(value, (list, tuple)) and all(fits(v, (args or (Any,))[0]) for v in value)
    if origin in (dict, Mapping):
        return isinstance(value, dict) and all(fits(v, (args or (Any, Any))[1]) for v in value.values())
    if hint in (int, float):
        return isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
    return isinstance(value, hint) if hint in (bool, str, list, tuple, dict, NoneType) else True


def as_annotated(takes: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The options, with whole numbers as floats where `takes` is annotated so: 0 and 0.0 are one configuration."""
    kinds = option_kinds(takes)
    return {name: _as_float(value, kinds.get(name, Any)) for name, value in given.items()}


def _as_float(value: Any, hint: Any) -> Any:
    if isinstance(value, list) and get_origin(hint) in (list, tuple, Sequence):
        return [_as_float(entry, (get_args(hint) or (Any,))[0]) for entry in value]
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if whole and float in kinds and int not in kinds else value


def type_name(hint: Any) -> str:
    """Of an annotation, which may be a text."""
    if isinstance(hint, str):
        return hint
    if get_origin(hint) is Literal:
        return " or ".join(map(as_written, get_args(hint)))
    return hint.__name__ if isinstance(hint, type) and get_origin(hint) is None else str(hint)


def _misfit(value: Any, kind: Any, default: Any) -> str:
    if value is not None:
        return f"{value!r} is not of type {type_name(kind)}"
    has = "" if default is inspect.Parameter.empty else f"; its default is {as_written(default)}"
    return f"null is not of type {type_name(kind)}{has}"


def as_written(default: Any) -> str:
    """A default as a configuration has it.

    >>> as_written(None), as_written((1, 2)), as_written(False)
    ('null', '[1,2]', 'false')
    """
    if default is None or isinstance(default, bool):
        return {None: "null", True: "true", False: "false"}[default]
    return f"[{','.join(map(as_written, default))}]" if isinstance(default, (tuple, list)) else str(default)


def _parameters(takes: Callable[..., Any]) -> list[inspect.Parameter]:
    """Those of a function, or of the initialiser of a class without `self`."""
    if inspect.isclass(takes):
        return list(inspect.signature(takes.__init__).parameters.values())[1:]
    return list(inspect.signature(takes).parameters.values())
