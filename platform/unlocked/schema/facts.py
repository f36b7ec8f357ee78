"""What is known of one key of the configuration, stated once, beside the key: default, meaning, choices, range.

`--help`, checks and the reference page are made from it. A scheme of your own declares its options in the same way:

    @dataclass
    class Options:
        rate: float = key(0.1, "share of the units that learn", low=0, high=1)
        kind: str = key("fast", "how they learn", choices=("fast", "exact"))
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import Field, dataclass, field, fields, is_dataclass
from typing import Any

from unlocked.errors import ConfigError

# Upper ends that are far beyond sense and below what breaks something else: torch dies of a signal at a hundred million
# threads, and seeds have 63 bits, as torch's have.
MOST = 10**9  # of anything that is counted
MOST_WIDTH = 10**7  # of a layer
MOST_WORKERS = 10_000  # modules, replicas, processes, nodes
MOST_THREADS = 1024
MOST_SEED = 2**63 - 1
LONGEST_WAIT = 31_536_000.0  # seconds, a year
_OBVIOUS = 1000.0  # an upper end from here on is no news to a reader of --help


@dataclass(frozen=True)
class Fact:
    """Of a list, `choices` and the range are of every entry; of a key that takes texts and numbers, each of its own."""

    meaning: str
    choices: tuple[str, ...] = ()
    named: str | None = None  # the kind of registry (`optimizer`) that has the names, beside those of `choices`
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    odd: bool = False
    or_zero: bool = False  # 0 is allowed below `low`
    entries: int | None = None  # of a list: exactly as many
    binding: bool = False  # of a scheme's option: refused, if set, under a scheme that does not have it

    def problem(self, value: Any) -> str | None:
        """Why the value cannot be: `must be at least 1, got 0`; None: it can."""
        if isinstance(value, list):
            if self.entries is not None and len(value) != self.entries:
                return f"must be {self.entries} numbers, got {value}"
            broken = next(filter(None, map(self._broken, value)), None)
            return broken and f"every entry must be {broken}, got {value}"
        broken = self._broken(value)
        if self.choices and self.has_range() and isinstance(value, str) and value not in self.choices:
            broken = f"{' or '.join(self.choices)}, or {self.range()}"
        return broken and f"must be {broken}, got {value!r}"

    def _broken(self, value: Any) -> str | None:
        """The expectation that a number does not meet."""
        if not isinstance(value, int | float) or isinstance(value, bool) or (self.or_zero and value == 0):
            return None
        zero = "0 or " if self.or_zero else ""
        if self.low is not None and not value >= self.low:
            return f"{zero}at least {number(self.low)}"
        if self.above is not None and not value > self.above:
            return f"{zero}greater than {number(self.above)}"
        if self.high is not None and not value <= self.high:
            return f"{zero}at most {number(self.high)}"
        if self.below is not None and not value < self.below:
            return f"below {number(self.below)}"
        if not math.isfinite(value):
            return "finite"
        return "odd" if self.odd and value % 2 == 0 else None

    def has_range(self) -> bool:
        return any(end is not None for end in (self.low, self.high, self.above, self.below))

    def range(self) -> str:
        """In words, for a reader: `at least 0 and below 1`; upper ends that nobody would pass are left out."""
        low = "" if self.low is None else f"at least {number(self.low)}"
        low = low if self.above is None else f"greater than {number(self.above)}"
        high = "" if self.high is None or self.high >= _OBVIOUS else f"at most {number(self.high)}"
        high = high if self.below is None else f"below {number(self.below)}"
        found = " and ".join(filter(None, (low, high)))
        return f"{'0 or ' * self.or_zero}{found}" if not self.odd else f"odd, {found}"


def key(
    default: Any,
    meaning: str,
    *,
    choices: Sequence[str] = (),
    named: str | None = None,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    odd: bool = False,
    or_zero: bool = False,
    entries: int | None = None,
    binding: bool = False,
) -> Any:
    """A field of a dataclass of options, with the facts about it; see `Fact`.

    >>> @dataclass
    ... class Options:
    ...     steps: int = key(1, "Gibbs steps per update", low=1)
    >>> Options().steps, fact_of(fields(Options)[0]).problem(0)
    (1, 'must be at least 1, got 0')
    """
    fact = Fact(meaning, tuple(choices), named, low, high, above, below, odd, or_zero, entries, binding)
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: copy.deepcopy(default), metadata={"fact": fact})
    return field(default=default, metadata={"fact": fact})


def group(schema: type) -> Any:
    """A field that holds the keys of another dataclass."""
    return field(default_factory=schema)


def fact_of(of: Field[Any]) -> Fact | None:
    """None for a group, and for a field that was not declared by `key`."""
    return of.metadata.get("fact")


def default_of(of: Field[Any]) -> Any:
    return of.default_factory() if callable(of.default_factory) else of.default


def all_fields(schema: type, prefix: str = "") -> Iterator[tuple[str, Field[Any]]]:
    """Every key of the schema by its dotted name, groups left out."""
    for each in fields(schema):
        default = default_of(each)
        if is_dataclass(default):
            yield from all_fields(type(default), f"{prefix}{each.name}.")
        else:
            yield f"{prefix}{each.name}", each


def check_facts(tree: Any, schema: type, prefix: str = "") -> None:
    """Raises `ConfigError`, one line, for a value out of range or none of the choices; names of registries are left."""
    for name, each in all_fields(schema):
        fact, value = fact_of(each), value_of(tree, name)
        if fact is None or value is None:
            continue
        if (problem := fact.problem(value)) is not None:
            raise ConfigError(f"{prefix}{name}: {problem}")
        if not fact.choices or fact.named or (fact.has_range() and not isinstance(value, str)):
            continue
        for one in value if isinstance(value, list) else [value]:
            if one not in fact.choices:
                from unlocked_models.contract.registry import unknown  # with which torch comes

                raise ConfigError(f"{prefix}{name}: {unknown(name.rpartition('.')[2], one, fact.choices)}")


def value_of(tree: Any, name: str) -> Any:
    """The value at a dotted name of nested dataclasses."""
    for part in name.split("."):
        tree = getattr(tree, part)
    return tree


def number(value: float) -> str:
    """Without a trailing `.0`."""
    return str(int(value)) if value == int(value) else f"{value:g}"
