"""The shape of a study, and bounds of metrics, in a study and in `expect`."""

from __future__ import annotations

from typing import Any

from unlocked.errors import ConfigError
from unlocked.options import fits
from unlocked.schema.keys import DIMENSION_KEYS, Config
from unlocked_models.contract.registry import unknown


def check_sweep(config: Config) -> None:
    """The shape of a study; what its trials come to is checked by `sweep` before it starts the first."""
    sweep = config.sweep
    for name, entry in sweep.space.items():
        if entry is not None:  # else a dimension taken out again by a later layer
            _check_dimension(f"sweep.space.{name}", entry)
    for key, value in (("metric", sweep.metric), ("direction", sweep.direction)):
        words = value if isinstance(value, list) else [value]
        if (
            not words
            or not all(isinstance(word, str) for word in words)
            or len(set(sweep.metrics())) < len(sweep.metrics())
        ):
            raise ConfigError(f"sweep.{key}: expected a name or a list of distinct names, got {value!r}")
    directions = ["auto", "maximize", "minimize"]
    for word in sweep.directions():
        if word not in directions:
            raise ConfigError(f"sweep.direction: {unknown('direction', word, directions)}")
    if isinstance(sweep.direction, list) and len(sweep.direction) != len(sweep.metrics()):
        raise ConfigError(f"sweep.direction: {sweep.direction} for {len(sweep.metrics())} metrics")
    check_bounds("sweep.constraints", sweep.constraints)
    for i, point in enumerate(sweep.enqueue):
        if not isinstance(point, dict):
            raise ConfigError(
                f"sweep.enqueue[{i}]: expected dimensions and their values, such as {{optimizer.lr: 1e-3}}, "
                f"got {point!r}"
            )
    if sweep.concurrent > 1 and sweep.resources.cpu == sweep.resources.gpu == 0:
        raise ConfigError(
            f"sweep.resources.cpu: 0, and no GPU, limits nothing: all {sweep.concurrent} trials of "
            f"sweep.concurrent would start on one machine; expected more than 0"
        )
    if sweep.repeats > 1 and "seed" in sweep.space:
        raise ConfigError("sweep.repeats: the seed is in the space; one of them says how trials are repeated")


def check_bounds(key: str, metrics: Any) -> None:
    if not isinstance(metrics, dict):
        raise ConfigError(f"{key}: {metrics!r} is not metrics and bounds, such as {{test/accuracy: {{min: 0.9}}}}")
    for metric, bounds in metrics.items():
        if (
            not isinstance(bounds, dict)
            or not bounds
            or bounds.keys() - {"min", "max"}
            or not all(fits(bound, float) for bound in bounds.values())
        ):
            raise ConfigError(f"{key}.{metric}: expected {{min: 0.9}}, {{max: 100}} or both, got {bounds!r}")


def _check_dimension(key: str, entry: Any) -> None:
    if isinstance(entry, dict) and (strange := sorted(entry.keys() - set(DIMENSION_KEYS))):
        raise ConfigError(f"{key}: {unknown('entry', strange[0], list(DIMENSION_KEYS))}")
    if isinstance(entry, dict) and not isinstance(entry.get("when", {}), dict):
        raise ConfigError(f"{key}.when: {entry['when']!r} is not keys and values, such as {{scheme.name: cdni}}")
    if isinstance(entry, dict) and entry.keys() & {"low", "high", "step", "log"}:
        if "choice" in entry:
            raise ConfigError(f"{key}: choice and {sorted(entry.keys() - {'choice', 'when'})[0]} cannot go together")
        if not {"low", "high"} <= entry.keys():
            raise ConfigError(f"{key}: a range needs low and high")
        if not isinstance(entry.get("log", False), bool):
            raise ConfigError(f"{key}.log: must be true or false, got {entry['log']!r}")
        return
    choices = entry.get("choice") if isinstance(entry, dict) else entry
    if not isinstance(choices, (list, dict)):
        raise ConfigError(
            f"{key}: {choices!r} gives no choices; expected a list such as [1, 4], or "
            f"{{choice: [1, 4], when: {{scheme.name: cdni}}}}, or {{low: 1e-4, high: 0.1, log: true}}"
        )
    if not choices:
        raise ConfigError(f"{key}: the list of choices is empty")
