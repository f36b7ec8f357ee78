"""One dimension of a study's space: choices, or a range of numbers, and where it applies."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unlocked.config.schemes import flatten as dotted
from unlocked.errors import ConfigError, reason
from unlocked.tracking import flatten

if TYPE_CHECKING:
    from optuna.trial import Trial

Label = None | bool | int | float | str
_EXACT = 2**53  # up to which samplers, which reckon in float64, know every whole number


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; whole ones if both are whole."""

    low: int | float
    high: int | float
    step: int | float | None = None
    log: bool = False

    @property
    def is_whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def spacing(self) -> int | float | None:
        """Between neighbours; None if there is no end of numbers."""
        return self.step or (1 if self.is_whole else None)

    def grid(self) -> list[int | float] | None:
        """Every number in it; None if there is no end of them."""
        return None if self.spacing is None else [self.low + i * self.spacing for i in range(self.count())]

    def count(self) -> int:
        """How many numbers its steps reach, if there are steps."""
        return self._steps() + 1

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
        return (
            self.range.holds(label)
            if self.range
            else any(label == known and type(label) is type(known) for known in self.choices)
        )

    def holds(self, value_of: Callable[[str], Any]) -> bool:
        return all(value_of(key) in allowed for key, allowed in self.when.items())

    def words(self) -> str:
        """For a list of what is searched."""
        when = " where " + ", ".join(f"{key} in {text(allowed)}" for key, allowed in self.when.items())
        if self.range is None:
            what = ", ".join(text(label) for label in self.choices)
        else:
            step = f" in steps of {self.range.step}" if self.range.step is not None else ""
            what = f"{self.range.low} to {self.range.high}{step}{', logarithmic' if self.range.log else ''}"
        return f"{self.name}: {what}{when if self.when else ''}"

    def suggest(self, trial: Trial) -> Label:
        """What Optuna's sampler chooses for a trial, or what was queued for it."""
        if self.range is None:
            return trial.suggest_categorical(self.name, list(self.choices))
        try:
            return _drawn(trial, self.name, self.range)
        except ValueError as error:  # a study that was begun with a range of another kind
            raise ConfigError(
                f"sweep.space.{self.name}: does not go on with this study: {reason(error)}; give it "
                f"another name (name=...)"
            ) from None


def dimension_of(name: str, entry: Any) -> Dimension:
    """Of an entry of sweep.space. `entry` has the shape that `check_values` asks for."""
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
            raise ConfigError(
                f"sweep.space.{name}: the choice named {label} is {choice!r}; expected the keys it sets, "
                f"such as {{scheme.name: dfa}}"
            )
        made[label] = _set_by(name, choice) if isinstance(choice, dict) else {name: choice}
    return Dimension(name, made, when)


def _set_by(name: str, choice: dict[str, Any]) -> dict[str, Any]:
    """The keys that a choice sets: `{optimizer: {lr: 1}}` and `{optimizer.lr: 1}` alike."""
    found: dict[str, Any] = {}
    for key, value in choice.items():
        more = dotted({key: value})
        if twice := sorted(found.keys() & more.keys()):
            raise ConfigError(f"sweep.space.{name}: {twice[0]} is given twice, with dots and in a group")
        found |= more
    return found


def _range(name: str, low: Any, high: Any, step: Any = None, log: bool = False) -> Range:
    key = f"sweep.space.{name}"
    for word, number in (("low", low), ("high", high), ("step", step)):
        if isinstance(number, bool) or not isinstance(number, int | float | None) or not math.isfinite(number or 0):
            raise ConfigError(f"{key}.{word}: must be a finite number, got {number!r}")
    if low > high:
        raise ConfigError(f"{key}: low is {low}, above high, which is {high}")
    if step is not None and step <= 0:
        raise ConfigError(f"{key}.step: must be greater than 0, got {step}")
    if log and low <= 0:
        raise ConfigError(f"{key}: log needs numbers above 0; low is {low}")
    if log and step is not None:
        raise ConfigError(f"{key}: log and step cannot go together")
    found = Range(low, high, step, log)
    span = high - low
    if not math.isfinite(span) or (step is not None and span / step > _EXACT):
        raise ConfigError(
            f"{key}: {low} to {high} is more than floats can tell apart; choose nearer ends or a larger step"
        )
    if found.is_whole and max(abs(low), abs(high)) > _EXACT:
        raise ConfigError(f"{key}: must be whole numbers from -2**53 to 2**53, got {low} to {high}")
    return found


def _label(choice: Any) -> Label:
    """What Optuna stores for a choice; a mapping as `name=dfa lr=0.0003`."""
    if isinstance(choice, dict):
        return " ".join(f"{key.rpartition('.')[2]}={text(value)}" for key, value in dotted(choice).items())
    return choice if choice is None or isinstance(choice, bool | int | float | str) else text(choice)


def text(value: Any) -> str:
    return flatten({"value": value})["value"]


def _drawn(trial: Trial, name: str, numbers: Range) -> int | float:
    low, high, step, log = numbers.low, numbers.high, numbers.step, numbers.log
    if numbers.is_whole:
        return trial.suggest_int(name, int(low), int(high), step=int(step or 1), log=log)
    return trial.suggest_float(name, low, high, step=step, log=log)
