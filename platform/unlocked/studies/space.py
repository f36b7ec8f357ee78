"""The space of a study: its dimensions, their choices, and the configurations that these make.

    scheme:      {choice: [{scheme.name: cdni}, {scheme.name: dfa, optimizer.lr: 3.0e-4}, {scheme.name: frozen}]}
    scheme.lag:  {choice: [1, 4, 16], when: {scheme.name: [cdni, dfa]}}
    seed:        [0, 1, 2]

A dimension named like a configuration key gives that key its values. A choice that is a mapping sets all the keys
it names; such a dimension may have any name, and its choices may be named: `{choice: {two: {parallel.stages: 2}}}`.
A dimension with `when` is in the space only where the keys have these values, in the dimensions above it or, where
none of them sets the key, in the configuration itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from unlocked.config import Config, check_types, to_dict, with_values
from unlocked.config.schema import SweepConfig
from unlocked.errors import ConfigError
from unlocked.tracking import flatten
from unlocked.tracking.compare import ABSENT

Label = None | bool | int | float | str
Point = dict[str, Label]  # dimension -> choice, of the dimensions that are in the space there
_FIXED = ("sweep", "tracking", "name")  # one study: one place, one name


@dataclass(frozen=True)
class Dimension:
    """One choice to make: `choices` maps the label of each to the configuration keys that it sets."""

    name: str
    choices: dict[Label, dict[str, Any]]
    when: dict[str, list[Any]]

    @property
    def keys(self) -> set[str]:
        return {key for values in self.choices.values() for key in values}

    def holds(self, value_of: Callable[[str], Any]) -> bool:
        return all(value_of(key) in allowed for key, allowed in self.when.items())


class Space:
    """The dimensions of `config.sweep.space` over the rest of that configuration.

    Raises `ConfigError`, one line, for an unknown key (with the nearest match), a value of the wrong type, a choice
    given twice, or a `when` that looks at a dimension below its own.
    """

    def __init__(self, config: Config):
        self.base = replace(config, sweep=SweepConfig())
        self._tree = to_dict(self.base)
        self.dimensions = [_dimension(name, entry) for name, entry in config.sweep.space.items() if entry is not None]
        if not self.dimensions:
            raise ConfigError("sweep.space: no dimension is given; expected one such as {optimizer.lr: [1e-3, 3e-4]}")
        set_by: dict[str, str] = {}
        for dimension in reversed(self.dimensions):
            set_by |= dict.fromkeys(dimension.keys, dimension.name)
            self._check_keys(dimension)
            for key in dimension.when:
                if key in set_by:
                    raise ConfigError(f"sweep.space.{dimension.name}.when: {key} is chosen further down, by "
                                      f"{set_by[key]}; put {set_by[key]} first")

    def grid(self) -> list[Point]:
        """Every point, the last dimension varying fastest."""
        points = list(self._grid({}, {}, 0))
        for dimension in self.dimensions:
            if not any(dimension.name in point for point in points):
                asked = ", ".join(f"{key} in {_text(allowed)}" for key, allowed in dimension.when.items())
                raise ConfigError(f"sweep.space.{dimension.name}: no trial has what its when asks for ({asked}); null "
                                  f"takes the dimension out")
        return points

    def suggest(self, choose: Callable[[Dimension], Label]) -> Point:
        """The point that `choose` makes, asked for each dimension that is in the space there, from the top."""
        point: Point = {}
        values: dict[str, Any] = {}
        for dimension in self.dimensions:
            if dimension.holds(lambda key: self._value(values, key)):
                point[dimension.name] = choose(dimension)
                self._add(values, dimension, point[dimension.name])
        return point

    def values(self, point: Point) -> dict[str, Any]:
        """The configuration keys that a point sets."""
        found: dict[str, Any] = {}
        for dimension in self.dimensions:
            if dimension.name in point:
                self._add(found, dimension, point[dimension.name])
        return found

    def config(self, point: Point) -> Config:
        """The checked configuration of one trial."""
        return with_values(self.base, self.values(point), "sweep.space")

    def shown(self, point: Point, key: str) -> str:
        """The value of a configuration key or a dimension at a point, as text; `-` where it is not in the space."""
        values = self.values(point)
        if key in values or key in point:
            return _text(values[key] if key in values else point[key])
        choosing = [dimension.name for dimension in self.dimensions if key == dimension.name or key in dimension.keys]
        if choosing and not any(name in point for name in choosing):
            return ABSENT
        return _text(self._value({}, key))

    def _grid(self, point: Point, values: dict[str, Any], depth: int) -> Iterator[Point]:
        if depth == len(self.dimensions):
            yield point
            return
        dimension = self.dimensions[depth]
        if not dimension.holds(lambda key: self._value(values, key)):
            yield from self._grid(point, values, depth + 1)
            return
        for label in dimension.choices:
            below = dict(values)
            self._add(below, dimension, label)
            yield from self._grid(point | {dimension.name: label}, below, depth + 1)

    def _add(self, values: dict[str, Any], dimension: Dimension, label: Label) -> None:
        for key, value in dimension.choices[label].items():
            if key in values:
                raise ConfigError(f"sweep.space.{dimension.name}: {key} is set by another dimension as well; use when "
                                  f"to keep them apart")
            values[key] = value

    def _value(self, values: Mapping[str, Any], key: str) -> Any:
        """What `key` is once `values` are set; None for an option that nothing has set."""
        if key in values:
            return values[key]
        node: Any = self._tree
        for part in key.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        return node

    def _check_keys(self, dimension: Dimension) -> None:
        for key in dimension.keys:
            if key.partition(".")[0] in _FIXED:
                raise ConfigError(f"sweep.space.{dimension.name}: {key} is the same for all trials of a study")
        for values in dimension.choices.values():
            check_types(self.base, values, f"sweep.space.{dimension.name}")
        for key, allowed in dimension.when.items():
            for value in allowed:
                check_types(self.base, {key: value}, f"sweep.space.{dimension.name}.when")


def name_of(point: Point) -> str:
    """A trial in words: `scheme=cdni scheme.lag=4 seed=0`."""
    return " ".join(f"{name}={_text(label)}" for name, label in point.items())


def _dimension(name: str, entry: Any) -> Dimension:
    choices, when = (entry["choice"], entry.get("when", {})) if isinstance(entry, dict) else (entry, {})
    named = choices.items() if isinstance(choices, dict) else ((_label(choice), choice) for choice in choices)
    made: dict[Label, dict[str, Any]] = {}
    for label, choice in named:
        if label in made:
            raise ConfigError(f"sweep.space.{name}: {label} is given twice")
        if isinstance(choices, dict) and not isinstance(choice, dict):
            raise ConfigError(f"sweep.space.{name}: the choice named {label} is {choice!r}; expected the keys it sets, "
                              f"such as {{scheme.name: dfa}}")
        made[label] = _leaves(choice) if isinstance(choice, dict) else {name: choice}
    return Dimension(name, made, {key: value if isinstance(value, list) else [value] for key, value in when.items()})


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"scheme": {"name": "dfa"}}` and `{"scheme.name": "dfa"}` alike as the latter."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat


def _label(choice: Any) -> Label:
    """What Optuna stores for a choice; a mapping as `name=dfa lr=0.0003`."""
    if isinstance(choice, dict):
        return " ".join(f"{key.rpartition('.')[2]}={_text(value)}" for key, value in _leaves(choice).items())
    return choice if choice is None or isinstance(choice, bool | int | float | str) else _text(choice)


def _text(value: Any) -> str:
    return flatten({"value": value})["value"]
