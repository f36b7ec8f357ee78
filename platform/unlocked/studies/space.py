"""The space of a study: its dimensions, their choices, and the configurations that these make.

    scheme:        {choice: [{scheme.name: cdni}, {scheme.name: dfa, optimizer.lr: 3.0e-4}, {scheme.name: frozen}]}
    scheme.lag:    {choice: [1, 4, 16], when: {scheme.name: [cdni, dfa]}}
    optimizer.lr:  {low: 1.0e-5, high: 1.0e-2, log: true}
    seed:          [0, 1, 2]

A dimension named like a configuration key gives that key its values: those of a list, or numbers from `low` to `high`,
whole ones if both ends are and the key is not a float, in steps if there is a `step`. A choice that is a mapping sets
all the keys it names; such a dimension may have any name, and its choices may be named: `{choice: {two:
{parallel.modules: 2}}}`. A dimension with `when` is in the space only where the keys have these values, in the
dimensions above it or, if none of them sets the key, in the configuration itself.

    preset:        [recurrent/lstm, transformer/gpt]

A dimension `preset`, the first, has names of presets as its choices: a trial is then that preset's configuration, with
the study's own tracking, and what the other dimensions set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from unlocked.config import Config, Template, load_config, to_dict
from unlocked.config.typed import alternatives, kind_at
from unlocked.data import DATA
from unlocked.errors import ConfigError
from unlocked.options import option_kinds
from unlocked.schema.keys import SweepConfig
from unlocked.studies.dimensions import Dimension, Label, dimension_of, text
from unlocked.tasks import TASKS
from unlocked.tracking.captions import ABSENT
from unlocked_models.contract.registry import MODELS, Registry, unknown
from unlocked_models.layers.initialisers import INITIALISERS

Point = dict[str, Label]  # dimension -> choice, of the dimensions that are in the space there
LARGEST_GRID = 10_000  # points: each is planned before the first is trained
_FIXED = ("sweep", "tracking", "name")  # one study: one place, one name
PRESET = "preset"


class Space:
    """The dimensions of `config.sweep.space` over the rest of that configuration.

    Raises `ConfigError`, one line, for an unknown key (with the nearest match), a value of the wrong type, a choice
    given twice, an empty range, or a `when` that looks at a dimension below its own or for what no key can be.
    """

    def __init__(self, config: Config):
        self.base = replace(config, sweep=SweepConfig())
        self._tree = to_dict(self.base)
        self._template = Template(self.base)
        self.dimensions = [dimension_of(name, entry) for name, entry in config.sweep.space.items() if entry is not None]
        self._presets = self._load_presets()
        self.dimensions = [self._of_its_type(dimension) for dimension in self.dimensions]
        if not self.dimensions:
            raise ConfigError("sweep.space: no dimension is given; expected one such as {optimizer.lr: [1e-3, 3e-4]}")
        set_by: dict[str, str] = {}
        for dimension in reversed(self.dimensions):
            set_by |= dict.fromkeys(dimension.keys, dimension.name)
            self._check_keys(dimension)
            for key in dimension.when:
                if key in set_by:
                    raise ConfigError(
                        f"sweep.space.{dimension.name}.when: {key} is chosen further down, by "
                        f"{set_by[key]}; put {set_by[key]} first"
                    )
        for i, dimension in enumerate(self.dimensions):
            for key, allowed in dimension.when.items():
                if not any(self._may_be(key, value, self.dimensions[:i]) for value in allowed):
                    raise _out_of_reach(dimension)

    def grid(self) -> list[Point]:
        """Every point, the last dimension varying fastest."""
        for dimension in self.dimensions:
            if dimension.range and dimension.range.spacing is None:
                raise ConfigError(
                    f"sweep.space.{dimension.name}: a grid cannot hold every number from "
                    f"{dimension.range.low} to {dimension.range.high}; give a step or choices, or "
                    f"another sweep.sampler"
                )
            if dimension.range and dimension.range.count() > LARGEST_GRID:
                raise ConfigError(
                    f"sweep.space.{dimension.name}: {dimension.range.count()} numbers, of a grid at most "
                    f"{LARGEST_GRID}; give a larger step or choices, or another sweep.sampler"
                )
        points = list(islice(self._grid({}, {}, 0), LARGEST_GRID + 1))
        if len(points) > LARGEST_GRID:
            raise ConfigError(
                f"sweep.space: a grid of more than {LARGEST_GRID} trials; give fewer choices, or another sweep.sampler"
            )
        for dimension in self.dimensions:
            if not any(dimension.name in point for point in points):
                raise _out_of_reach(dimension)
        return points

    def _of_its_type(self, dimension: Dimension) -> Dimension:
        """A range over a key that is a float draws floats, also if both of its ends are written without a point."""
        found = dimension.range
        if found is None or not found.is_whole:
            return dimension
        if self._is_float(dimension.name):
            return replace(dimension, range=replace(found, low=float(found.low), high=float(found.high)))
        if not isinstance(found.step, int | None):
            raise ConfigError(f"sweep.space.{dimension.name}.step: {found.step} is not whole, but low and high are")
        return dimension

    def _is_float(self, key: str) -> bool:
        """Of the schema's key, or of an option of one of the models or data sets in the space."""
        kinds = [kind_at(key)]
        takers_of: list[tuple[str, str, Registry[Any]]] = [
            ("model.", "model.name", MODELS),
            ("objective.", "task", TASKS),
            ("init.", "init.name", INITIALISERS),
            ("data.options.", "data.name", DATA),
        ]
        for prefix, chosen_by, registry in takers_of:
            if key.startswith(prefix):
                takers = [registry.get(name) for name in self.values_of(chosen_by) if name in registry]
                kinds = [option_kinds(taker).get(key.removeprefix(prefix), Any) for taker in takers]
        return any(float in alternatives(kind) and int not in alternatives(kind) for kind in kinds)

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
        """The value of a configuration key or a dimension at a point, as text; `-` if it is not in the space."""
        values = self.values(point)
        if key in values or key in point:
            return text(values[key] if key in values else point[key])
        choosing = [dimension.name for dimension in self.dimensions if key == dimension.name or key in dimension.keys]
        if choosing and not any(name in point for name in choosing):
            return ABSENT
        return text(self._value(values, key))

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
                raise ConfigError(
                    f"sweep.space.{dimension.name}: {key} is set by another dimension as well; use when "
                    f"to keep them apart"
                )
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
            value in self._without(key) and not any(dimension.always_sets(key) for dimension in above)
        )

    def _load_presets(self) -> dict[str, tuple[Template, dict[str, Any]]]:
        """What trials of the presets are made of, and the presets as trees."""
        for i, dimension in enumerate(self.dimensions):
            if PRESET in dimension.keys and (i > 0 or dimension.name != PRESET):
                raise ConfigError(
                    f"sweep.space.{dimension.name}: presets are chosen by the dimension preset, which is the first"
                )
        first = self.dimensions[0] if self.dimensions else None
        if first is None or first.name != PRESET:
            return {}
        found = {}
        for label, values in first.choices.items():
            if values != {PRESET: label}:
                raise ConfigError(f"sweep.space.preset: {label!r} is no name of a preset")
            config = replace(
                load_config(str(label)), sweep=SweepConfig(), tracking=self.base.tracking, name=self.base.name
            )
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
    return " ".join(f"{name}={brief(text(label))}" for name, label in point.items())


def brief(text: str) -> str:
    """A number that a sampler drew, as people read it; all its digits are in the table of trials."""
    try:
        return f"{float(text):.4g}" if len(text) > 8 else text
    except ValueError:
        return text


def _out_of_reach(dimension: Dimension) -> ConfigError:
    asked = ", ".join(f"{key} in {text(allowed)}" for key, allowed in dimension.when.items())
    return ConfigError(
        f"sweep.space.{dimension.name}: no trial has what its when asks for ({asked}); null takes the dimension out"
    )
