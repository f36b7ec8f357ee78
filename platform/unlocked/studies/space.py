"""The space of a study: its dimensions, their choices, and the configurations that these make.

    scheme:        {choice: [{scheme.name: cdni}, {scheme.name: dfa, optimizer.lr: 3.0e-4}, {scheme.name: frozen}]}
    scheme.lag:    {choice: [1, 4, 16], when: {scheme.name: [cdni, dfa]}}
    optimizer.lr:  {low: 1.0e-5, high: 1.0e-2, log: true}
    seed:          [0, 1, 2]

A dimension named like a configuration key gives that key its values: those of a list, or numbers from `low` to `high`,
whole ones where both ends are, in steps where there is a `step`. A choice that is a mapping sets all the keys it names;
such a dimension may have any name, and its choices may be named: `{choice: {two: {parallel.stages: 2}}}`. A dimension
with `when` is in the space only where the keys have these values, in the dimensions above it or, where none of them
sets the key, in the configuration itself.

    preset:        [recurrent/lstm, transformer/gpt]

A dimension `preset`, the first, has names of presets as its choices: a trial is then that preset's configuration, with
the study's own tracking, and what the other dimensions set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from unlocked.config import Config, Template, load_config, to_dict
from unlocked.config.schema import SweepConfig
from unlocked.config.schemes import flatten as dotted
from unlocked.errors import ConfigError
from unlocked.tracking import flatten
from unlocked.tracking.columns import ABSENT
from unlocked_models.registry import unknown

if TYPE_CHECKING:
    from optuna.trial import Trial

Label = None | bool | int | float | str
Point = dict[str, Label]  # dimension -> choice, of the dimensions that are in the space there
_FIXED = ("sweep", "tracking", "name")  # one study: one place, one name
PRESET = "preset"


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; whole ones where both are whole."""

    low: int | float
    high: int | float
    step: int | float | None = None
    log: bool = False

    @property
    def is_whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def spacing(self) -> int | float | None:
        """Between neighbours; None where there is no end of numbers."""
        return self.step or (1 if self.is_whole else None)

    def grid(self) -> list[int | float] | None:
        """Every number in it; None where there is no end of them."""
        return None if self.spacing is None else [self.low + i * self.spacing for i in range(self._steps() + 1)]

    def ends(self) -> list[int | float]:
        """Its least and its greatest number, which steps may leave below `high`."""
        return [self.low, self.high if self.spacing is None else self.low + self._steps() * self.spacing]

    def holds(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if self.is_whole else int | float):
            return False
        steps = (value - self.low) / (self.spacing or math.inf)
        return self.low <= value <= self.high and abs(steps - round(steps)) < 1e-9

    def _steps(self) -> int:
        return math.floor((self.high - self.low) / (self.spacing or math.inf) * (1 + 1e-12))


@dataclass(frozen=True)
class Dimension:
    """One choice to make: `choices` maps the label of each to the configuration keys that it sets; or a range."""

    name: str
    choices: dict[Label, dict[str, Any]]
    when: dict[str, list[Any]]
    range: Range | None = None

    @property
    def keys(self) -> set[str]:
        return {self.name} if self.range else {key for values in self.choices.values() for key in values}

    def values(self, label: Label) -> dict[str, Any]:
        """The configuration keys that a choice sets, or a number of the range."""
        return {self.name: label} if self.range else self.choices[label]

    def labels(self) -> list[Label]:
        """All choices, or all numbers of a range that has an end of them."""
        return list(self.choices) if self.range is None else [*(self.range.grid() or [])]

    def ends(self) -> list[Label]:
        """All choices, or the two ends of the range."""
        return list(self.choices) if self.range is None else [*self.range.ends()]

    def always_sets(self, key: str) -> bool:
        return not self.when and all(key in self.values(label) for label in self.ends())

    def may_set(self, key: str, value: Any) -> bool:
        if self.range:
            return key == self.name and self.range.holds(value)
        return any(key in values and values[key] == value for values in self.choices.values())

    def admits(self, label: Label) -> bool:
        return self.range.holds(label) if self.range else any(
            label == known and type(label) is type(known) for known in self.choices)

    def holds(self, value_of: Callable[[str], Any]) -> bool:
        return all(value_of(key) in allowed for key, allowed in self.when.items())

    def words(self) -> str:
        """For a list of what is searched."""
        when = " where " + ", ".join(f"{key} in {_text(allowed)}" for key, allowed in self.when.items())
        if self.range is None:
            what = ", ".join(_text(label) for label in self.choices)
        else:
            step = f" in steps of {self.range.step}" if self.range.step is not None else ""
            what = f"{self.range.low} to {self.range.high}{step}{', logarithmic' if self.range.log else ''}"
        return f"{self.name}: {what}{when if self.when else ''}"

    def suggest(self, trial: Trial) -> Label:
        """What Optuna's sampler chooses for a trial, or what was queued for it."""
        if self.range is None:
            return trial.suggest_categorical(self.name, list(self.choices))
        low, high, step, log = self.range.low, self.range.high, self.range.step, self.range.log
        if self.range.is_whole:
            return trial.suggest_int(self.name, int(low), int(high), step=int(step or 1), log=log)
        return trial.suggest_float(self.name, low, high, step=step, log=log)


class Space:
    """The dimensions of `config.sweep.space` over the rest of that configuration.

    Raises `ConfigError`, one line, for an unknown key (with the nearest match), a value of the wrong type, a choice
    given twice, an empty range, or a `when` that looks at a dimension below its own or for what no key can be.
    """

    def __init__(self, config: Config):
        self.base = replace(config, sweep=SweepConfig())
        self._tree = to_dict(self.base)
        self._template = Template(self.base)
        self.dimensions = [_dimension(name, entry) for name, entry in config.sweep.space.items() if entry is not None]
        self._presets = self._load_presets()
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
        for i, dimension in enumerate(self.dimensions):
            for key, allowed in dimension.when.items():
                if not any(self._may_be(key, value, self.dimensions[:i]) for value in allowed):
                    raise _out_of_reach(dimension)

    def grid(self) -> list[Point]:
        """Every point, the last dimension varying fastest."""
        for dimension in self.dimensions:
            if dimension.range and dimension.range.grid() is None:
                raise ConfigError(f"sweep.space.{dimension.name}: a grid cannot hold every number from "
                                  f"{dimension.range.low} to {dimension.range.high}; give a step or choices, or "
                                  f"another sweep.sampler")
        points = list(self._grid({}, {}, 0))
        for dimension in self.dimensions:
            if not any(dimension.name in point for point in points):
                raise _out_of_reach(dimension)
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

    def check_point(self, given: Mapping[str, Label], where: str) -> None:
        """Of a point or a part of one; dimensions that it does not name are left to the sampler."""
        by_name = {dimension.name: dimension for dimension in self.dimensions}
        for name, label in given.items():
            if name not in by_name:
                raise ConfigError(f"{where}: {unknown('dimension', name, list(by_name))}")
            if not by_name[name].admits(label):
                raise ConfigError(f"{where}.{name}: {label!r} is not in the space")

    def values(self, point: Point) -> dict[str, Any]:
        """The configuration keys that a point sets."""
        found: dict[str, Any] = {}
        for dimension in self.dimensions:
            if dimension.name in point:
                self._add(found, dimension, point[dimension.name])
        return found

    def values_of(self, key: str) -> list[Any]:
        """All that a configuration key may be in some trial; of a range its ends."""
        found = self._without(key)
        for dimension in self.dimensions:
            found += [values[key] for values in map(dimension.values, dimension.ends()) if key in values]
        return found

    def config(self, point: Point) -> Config:
        """The checked configuration of one trial."""
        values = self.values(point)
        template = self._template if PRESET not in values else self._presets[values.pop(PRESET)][0]
        return template.with_values(values, "sweep.space")

    def shown(self, point: Point, key: str) -> str:
        """The value of a configuration key or a dimension at a point, as text; `-` where it is not in the space."""
        values = self.values(point)
        if key in values or key in point:
            return _text(values[key] if key in values else point[key])
        choosing = [dimension.name for dimension in self.dimensions if key == dimension.name or key in dimension.keys]
        if choosing and not any(name in point for name in choosing):
            return ABSENT
        return _text(self._value(values, key))

    def _grid(self, point: Point, values: dict[str, Any], depth: int) -> Iterator[Point]:
        if depth == len(self.dimensions):
            yield point
            return
        dimension = self.dimensions[depth]
        if not dimension.holds(lambda key: self._value(values, key)):
            yield from self._grid(point, values, depth + 1)
            return
        for label in dimension.labels():
            below = dict(values)
            self._add(below, dimension, label)
            yield from self._grid(point | {dimension.name: label}, below, depth + 1)

    def _add(self, values: dict[str, Any], dimension: Dimension, label: Label) -> None:
        for key, value in dimension.values(label).items():
            if key in values:
                raise ConfigError(f"sweep.space.{dimension.name}: {key} is set by another dimension as well; use when "
                                  f"to keep them apart")
            values[key] = value

    def _value(self, values: Mapping[str, Any], key: str) -> Any:
        """What `key` is once `values` are set; None for an option that nothing has set."""
        if key in values:
            return values[key]
        node: Any = self._presets[values[PRESET]][1] if PRESET in values else self._tree
        for part in key.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        return node

    def _without(self, key: str) -> list[Any]:
        """What `key` is where no dimension sets it: in the configuration, or in each of the presets."""
        return [self._value({PRESET: name}, key) for name in self._presets] or [self._value({}, key)]

    def _may_be(self, key: str, value: Any, above: Sequence[Dimension]) -> bool:
        """Whether one of the dimensions above may give a key this value, or leave it as the configuration has it."""
        return any(dimension.may_set(key, value) for dimension in above) or (
            value in self._without(key) and not any(dimension.always_sets(key) for dimension in above))

    def _load_presets(self) -> dict[str, tuple[Template, dict[str, Any]]]:
        """What trials of the presets are made of, and the presets as trees."""
        for i, dimension in enumerate(self.dimensions):
            if PRESET in dimension.keys and (i > 0 or dimension.name != PRESET):
                raise ConfigError(f"sweep.space.{dimension.name}: presets are chosen by the dimension preset, which is "
                                  f"the first")
        first = self.dimensions[0] if self.dimensions else None
        if first is None or first.name != PRESET:
            return {}
        found = {}
        for label, values in first.choices.items():
            if values != {PRESET: label}:
                raise ConfigError(f"sweep.space.preset: {label!r} is no name of a preset")
            config = replace(load_config(str(label)), sweep=SweepConfig(), tracking=self.base.tracking,
                             name=self.base.name)
            found[str(label)] = Template(config), to_dict(config)
        return found

    def _check_keys(self, dimension: Dimension) -> None:
        if dimension.name == PRESET:
            return
        for key in dimension.keys:
            if key.partition(".")[0] in _FIXED:
                raise ConfigError(f"sweep.space.{dimension.name}: {key} is the same for all trials of a study")
        for values in map(dimension.values, dimension.ends()):
            self._template.check_types(values, f"sweep.space.{dimension.name}")
        for key, allowed in dimension.when.items():
            for value in allowed:
                self._template.check_types({key: value}, f"sweep.space.{dimension.name}.when")


def name_of(point: Point) -> str:
    """A trial in words: `scheme=cdni scheme.lag=4 seed=0`."""
    return " ".join(f"{name}={brief(_text(label))}" for name, label in point.items())


def brief(text: str) -> str:
    """A number that a sampler drew, as people read it; all its digits are in the table of trials."""
    try:
        return f"{float(text):.4g}" if len(text) > 8 else text
    except ValueError:
        return text


def _out_of_reach(dimension: Dimension) -> ConfigError:
    asked = ", ".join(f"{key} in {_text(allowed)}" for key, allowed in dimension.when.items())
    return ConfigError(f"sweep.space.{dimension.name}: no trial has what its when asks for ({asked}); null takes the "
                       f"dimension out")


def _dimension(name: str, entry: Any) -> Dimension:
    """`entry` has the shape that `check_values` asks for."""
    given = entry.get("when", {}) if isinstance(entry, dict) else {}
    when = {key: value if isinstance(value, list) else [value] for key, value in given.items()}
    if isinstance(entry, dict) and "low" in entry:
        return Dimension(name, {}, when, _range(name, **{key: entry[key] for key in entry if key != "when"}))
    choices = entry["choice"] if isinstance(entry, dict) else entry
    named = choices.items() if isinstance(choices, dict) else ((_label(choice), choice) for choice in choices)
    made: dict[Label, dict[str, Any]] = {}
    for label, choice in named:
        if label in made:
            raise ConfigError(f"sweep.space.{name}: {label} is given twice")
        if isinstance(choices, dict) and not isinstance(choice, dict):
            raise ConfigError(f"sweep.space.{name}: the choice named {label} is {choice!r}; expected the keys it sets, "
                              f"such as {{scheme.name: dfa}}")
        made[label] = dotted(choice) if isinstance(choice, dict) else {name: choice}
    return Dimension(name, made, when)


def _range(name: str, low: Any, high: Any, step: Any = None, log: bool = False) -> Range:
    key = f"sweep.space.{name}"
    for word, number in (("low", low), ("high", high), ("step", step)):
        if isinstance(number, bool) or not isinstance(number, int | float | None) or not math.isfinite(number or 0):
            raise ConfigError(f"{key}.{word}: {number!r} is no number")
    if low > high:
        raise ConfigError(f"{key}: low is {low}, above high, which is {high}")
    if step is not None and step <= 0:
        raise ConfigError(f"{key}.step: {step} is out of range; expected more than 0")
    if log and low <= 0:
        raise ConfigError(f"{key}: log needs numbers above 0; low is {low}")
    if log and step is not None:
        raise ConfigError(f"{key}: log and step cannot go together")
    found = Range(low, high, step, log)
    if found.is_whole and step is not None and not isinstance(step, int):
        raise ConfigError(f"{key}.step: {step} is not whole, but low and high are")
    return found


def _label(choice: Any) -> Label:
    """What Optuna stores for a choice; a mapping as `name=dfa lr=0.0003`."""
    if isinstance(choice, dict):
        return " ".join(f"{key.rpartition('.')[2]}={_text(value)}" for key, value in dotted(choice).items())
    return choice if choice is None or isinstance(choice, bool | int | float | str) else _text(choice)


def _text(value: Any) -> str:
    return flatten({"value": value})["value"]
