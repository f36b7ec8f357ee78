"""Keys that have another name now: the old ones are accepted for one version, with a note that names the new one.

Until 0.1 `parallel.stages` counted workers, each with `parallel.virtual_stages` modules; now `parallel.modules` counts
modules, of which a worker holds `parallel.modules_per_worker`. `data.augment: [crop:2]` listed what is now one kind of
`data.transforms`: `[{name: crop, size: 2}]`. `pretrain.noise` and `pretrain.level` are options of a scheme now.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from unlocked.errors import ConfigError
from unlocked.schema.keys import MULTI_STAGE

NOW = {
    "parallel.stages": "parallel.modules",
    "parallel.virtual_stages": "parallel.modules_per_worker",
    "parallel.launcher": "parallel.engine",
    "data.augment": "data.transforms",
    "pretrain.noise": "scheme.denoise.noise",
    "pretrain.level": "scheme.denoise.level",
}
# of runs, under which they are found and compared
TAGS = {"stages": "modules", "launcher": "engine", "accelerator": "gpu"}


class RenamedKey(FutureWarning):
    """An old key was given; the next version no longer takes it."""


def now(key: str) -> str:
    """The present name of a key or tag."""
    return NOW.get(key) or TAGS.get(key) or key


@contextmanager
def unsaid() -> Iterator[None]:
    """Without the notes: while a file is read that an earlier version wrote and nobody is to change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RenamedKey)
        yield


def present(point: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a study's dimensions by their present names."""
    return {NOW.get(key, key): _with_sizes(value) if key == "data.augment" else value for key, value in point.items()}


def renamed(layer: dict[str, Any], below: Mapping[str, Any], source: str) -> dict[str, Any]:
    """A layer of a configuration with the present names, but for those in its study.

    `below`: the values of `parallel` that hold if the layer does not give them.
    Raises `ConfigError` if a key is given under both names.
    """
    layer = _denoise(_transforms(layer, source), source)
    parallel = layer.get("parallel")
    if not isinstance(parallel, Mapping) or not any(f"parallel.{key}" in NOW for key in parallel):
        return layer
    present: dict[str, Any] = {}
    for key, value in parallel.items():
        name = now(f"parallel.{key}").removeprefix("parallel.")
        if name != key:
            _note(f"parallel.{key}", source)
        if name in present or (name != key and name in parallel):
            raise ConfigError(f"{source}: parallel.{name} is given twice, once by its old name")
        present[name] = value
    stages = parallel.get("stages")
    if stages is None and "virtual_stages" in parallel and "modules" not in parallel:  # as many workers as before
        stages = _workers(below)
    if isinstance(stages, int) and not isinstance(stages, bool):
        schedule = present.get("schedule", below.get("schedule"))
        held = present.get("modules_per_worker", below.get("modules_per_worker"))
        held = held if isinstance(held, int) and held > 0 else 2 if schedule in MULTI_STAGE else 1
        present["modules"] = stages * held
    return {**layer, "parallel": present}


def _workers(below: Mapping[str, Any]) -> int | None:
    """Of one replica; None if no layer has named modules, or they cannot be shared out."""
    modules, held = below.get("modules"), below.get("modules_per_worker")
    held = held or (2 if below.get("schedule") in MULTI_STAGE else 1)
    return modules // held if isinstance(modules, int) and modules % held == 0 else None


def _transforms(layer: dict[str, Any], source: str) -> dict[str, Any]:
    data = layer.get("data")
    if not isinstance(data, Mapping) or "augment" not in data:
        return layer
    _note("data.augment", source)
    if "transforms" in data:
        raise ConfigError(f"{source}: data.transforms is given twice, once by its old name")
    others = {key: value for key, value in data.items() if key != "augment"}
    return {**layer, "data": {**others, "transforms": _with_sizes(data["augment"])}}


def _denoise(layer: dict[str, Any], source: str) -> dict[str, Any]:
    pretrain = layer.get("pretrain")
    if not isinstance(pretrain, Mapping) or not pretrain.keys() & {"noise", "level"}:
        return layer
    moved = {key: pretrain[key] for key in ("noise", "level") if key in pretrain}
    scheme = layer.get("scheme") or {}
    if not isinstance(scheme, Mapping):  # which is told elsewhere
        return layer
    within = scheme.get("denoise") or {}
    for key in moved:
        _note(f"pretrain.{key}", source)
        if key in within:
            raise ConfigError(f"{source}: scheme.denoise.{key} is given twice, once by its old name")
    others = {key: value for key, value in pretrain.items() if key not in moved}
    return {**layer, "pretrain": others, "scheme": {**scheme, "denoise": {**within, **moved}}}


def _with_sizes(augment: Any) -> Any:
    """`crop:2` as name and option, at any depth; anything else as it is."""
    if isinstance(augment, list):
        return [_with_sizes(entry) for entry in augment]
    if isinstance(augment, Mapping):
        return {key: _with_sizes(value) for key, value in augment.items()}
    name, colon, size = (word.strip() for word in str(augment).partition(":"))
    return {"name": name, "size": int(size)} if colon and size.isascii() and size.isdigit() else augment


def renamed_study(layer: dict[str, Any], source: str) -> dict[str, Any]:
    """A layer whose study (space and plot) names keys by their present names; dimensions have dotted names."""
    sweep = layer.get("sweep")
    if not isinstance(sweep, Mapping):
        return layer
    changed = dict(sweep)
    if isinstance(sweep.get("space"), Mapping):
        changed["space"] = _names(sweep["space"], source)
    if isinstance(plot := sweep.get("plot"), Mapping):
        of_plot = dict(plot)
        if isinstance(plot.get("x"), str):
            of_plot["x"] = NOW.get(plot["x"], plot["x"])
        if isinstance(plot.get("lines"), list):
            of_plot["lines"] = [NOW.get(key, key) if isinstance(key, str) else key for key in plot["lines"]]
        changed["plot"] = of_plot
    return {**layer, "sweep": changed}


def _names(value: Any, source: str) -> Any:
    """Dotted keys at any depth."""
    if isinstance(value, list):
        return [_names(each, source) for each in value]
    if not isinstance(value, Mapping):
        return value
    out = {}
    for key, inner in value.items():
        if key in NOW:
            _note(key, source)
        out[NOW.get(key, key)] = _with_sizes(inner) if key == "data.augment" else _names(inner, source)
    return out


def _note(key: str, source: str) -> None:
    warnings.warn(
        f"{source}: {key} is now {NOW[key]}; the old name is accepted in this version alone", RenamedKey, stacklevel=2
    )
