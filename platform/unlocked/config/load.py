"""From a name or a path, and `key=value` overrides, to one checked `Config`; every mistake is one line."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unlocked.config.check import check_values, settle_engine, with_floats
from unlocked.config.schema import schema, to_tree
from unlocked.config.schemes import NOT_OF_A_SCHEME, completed, entry_of, flatten
from unlocked.config.typed import is_text, kind_at, refuse_references, typed
from unlocked.config.yaml12 import DEEPEST, Plain, clipped, is_null, read_file, read_value, read_yaml, write_yaml
from unlocked.errors import ConfigError, reason
from unlocked.nearest import did_you_mean
from unlocked.options import type_name
from unlocked.schema.describe import keys_of
from unlocked.schema.keys import DIMENSION_KEYS, Config, SweepConfig
from unlocked.schema.renamed import renamed, renamed_study, unsaid
from unlocked.security import redact
from unlocked_models.contract.registry import unknown

_LISTED = 24  # keys in a message
PACKAGE = Path(__file__).resolve().parents[1]


def preset_folders() -> list[Path]:
    """Where a preset's name is looked up: ./experiments, the checkout's, and the copies inside the wheel."""
    folders = [Path("experiments"), PACKAGE.parents[1] / "experiments", PACKAGE / "experiments"]
    return [folder for folder in folders if folder.is_dir()]


def presets() -> list[str]:
    names = {
        path.relative_to(folder).with_suffix("").as_posix()
        for folder in preset_folders()
        for path in folder.rglob("*.yaml")
    }
    return sorted(names)


def load_config(config: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a preset name or a YAML file, with overrides such as `scheme.name=dfa`.

    A file may say `extends: NAME` and give only what differs. Another `model.name` or `data.name` in a
    later layer drops the options of the earlier one, and another model or number of modules its `parallel.partition`.
    Raises `ConfigError`: one line with the key, the value, what was expected and the nearest match.

    >>> load_config("quickstart", ["optimizer.lr=0.01"]).optimizer.lr
    0.01
    """
    files, given = _file_layers(_find(str(config))), ("command line", parse_overrides(overrides))
    merged = _merge(files)
    if merged.schemes:
        merged = _merge([_scheme_layer(merged, given[1])], merged)
    return from_tree(_merge([given], merged))


def _scheme_layer(files: DictConfig, given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What the files say for the chosen scheme, and all of it, completed, for studies that choose others."""
    whole: Any = OmegaConf.to_container(files)
    entries: dict[str, Any] = whole["schemes"]
    for name, entry in entries.items():
        if not isinstance(entry, (dict, NoneType)):
            raise ConfigError(f"schemes.{name}: {entry!r} is not keys and values, such as {{optimizer: {{lr: 1e-3}}}}")
        own = flatten(entry or {})
        if other := next((key for key in own if key in NOT_OF_A_SCHEME), None):
            raise ConfigError(f"schemes.{name}: {other} does not depend on the scheme; give it outside of schemes")
        _merge([(f"schemes.{name}", _tree_of(own, f"schemes.{name}"))], copy.deepcopy(files))
    schemes = completed(entries, whole, given)
    chosen = (given.get("scheme") or {}).get("name", files.scheme.name)
    source = f"schemes.{chosen}"
    return source, _tree_of(entry_of(schemes, str(chosen)), source) | {"schemes": schemes}


def _tree_of(flat: Mapping[str, Any], source: str) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        _place(tree, key, value, source)
    return tree


def with_values(config: Config, values: Mapping[str, Any], source: str) -> Config:
    """The configuration with other values, `{"scheme.name": "dfa"}`, as if a later file had given them.

    References were followed when `config` was read: a value set here does not reach keys that referred to it.
    Raises `ConfigError`, naming `source` where a key is unknown or of another type.
    """
    return Template(config).with_values(values, source)


class Template:
    """A configuration from which many are made, each as by `with_values`: what they share is merged once."""

    def __init__(self, config: Config):
        self._merged = _merge([("", to_dict(config))])

    def with_values(self, values: Mapping[str, Any], source: str) -> Config:
        return from_tree(self._layered(values, source))

    def check_types(self, values: Mapping[str, Any], source: str) -> None:
        """Raises `ConfigError` for an unknown key or a value of another type; ranges and names are not looked at."""
        self._layered(values, source)

    def _layered(self, values: Mapping[str, Any], source: str) -> DictConfig:
        below = copy.deepcopy(self._merged)
        name = values.get("scheme.name", below.scheme.name)
        if below.schemes and name != below.scheme.name:
            entry = entry_of(OmegaConf.to_container(below.schemes), str(name))  # type: ignore[arg-type]
            below = _merge([(f"schemes.{name}", _tree_of(entry, source))], below)
        return _merge([(source, _tree_of(values, source))], below)


def _defaults() -> DictConfig:
    """The configuration that nobody has said anything about."""
    whole: Any = schema()
    return copy.deepcopy(_made(whole))  # making one takes longer


@cache
def _made(whole: Any) -> DictConfig:
    out: DictConfig = OmegaConf.structured(whole)
    return out


def _merge(layers: Sequence[tuple[str, dict[str, Any]]], below: DictConfig | None = None) -> DictConfig:
    """The layers over `below`, which they change, or over the defaults."""
    merged = _defaults() if below is None else below
    for source, layer in layers:
        layer = typed(renamed(layer, merged.parallel, source), source)
        _refuse_values_for_groups(layer, schema()(), f"{source}: ")
        _refuse_no_list(layer, f"{source}: ")
        _flatten_space(layer, source)
        layer = renamed_study(layer, source)
        _drop_outdated(merged, layer)
        try:
            merged.merge_with(OmegaConf.create(layer))
        except OmegaConfBaseException as error:
            raise ConfigError(f"{source}: {_one_line(error, layer)}") from None
    return merged


def _flatten_space(layer: dict[str, Any], source: str) -> None:
    """`sweep.space.scheme.lag=[1, 4]` and `scheme: {lag: [1, 4]}` name the dimension `scheme.lag`, as files do."""
    space = (layer.get("sweep") or {}).get("space")
    if not isinstance(space, dict):
        return
    flat: dict[str, Any] = {}

    def walk(name: str, entry: Any) -> None:
        inner = (
            {key: value for key, value in entry.items() if key not in DIMENSION_KEYS and _is_entry(value)}
            if isinstance(entry, dict)
            else {}
        )
        for key, value in inner.items():
            walk(f"{name}.{key}", value)
        if name in flat:
            raise ConfigError(f"{source}: sweep.space.{name}: given twice, with dots and in a group")
        if not inner or len(inner) < len(entry):
            flat[name] = {key: entry[key] for key in entry if key not in inner} if isinstance(entry, dict) else entry

    for name, entry in space.items():
        walk(str(name), entry)
    layer["sweep"] = layer["sweep"] | {"space": flat}


def _is_entry(value: Any) -> bool:
    """Whether it could be a dimension's; else its key is one that a dimension does not have."""
    return value is None or isinstance(value, (list, dict))


def _drop_outdated(merged: DictConfig, layer: dict[str, Any]) -> None:
    """What an earlier layer said of another model or data set, or another number of modules, no longer applies."""
    data = layer.get("data")
    before_it = None if OmegaConf.is_missing(merged.data, "name") else merged.data.name
    if isinstance(data, dict) and data.get("name", before_it) != before_it:
        merged.data.options = {}
    if layer.get("task", merged.task) != merged.task:
        merged.objective = {}
    init = layer.get("init")
    if isinstance(init, dict) and init.get("name", merged.init.get("name")) != merged.init.get("name"):
        merged.init = {}
    model, parallel = layer.get("model"), layer.get("parallel")
    name = model.get("name", merged.model.get("name")) if isinstance(model, dict) else merged.model.get("name")
    if name != merged.model.get("name"):
        merged.model = {}
        merged.parallel.partition = None
    if isinstance(parallel, dict) and parallel.get("modules", merged.parallel.modules) != merged.parallel.modules:
        merged.parallel.partition = None


def from_tree(tree: Any) -> Config:
    """A checked `Config` from a merged tree (or from the dictionary that `to_dict` gave)."""
    try:
        if not isinstance(tree, DictConfig):
            if isinstance(tree, dict):
                with unsaid():  # an earlier version wrote it
                    tree = renamed_study(renamed(tree, {}, "configuration"), "configuration")
            tree = typed(tree)
            _refuse_values_for_groups(tree, schema()(), "")
            tree = OmegaConf.merge(_defaults(), OmegaConf.create(tree))
        OmegaConf.resolve(tree)
        refuse_references(OmegaConf.to_container(tree))
        config = OmegaConf.to_object(tree)
    except OmegaConfBaseException as error:
        raise ConfigError(_one_line(error, tree if isinstance(tree, dict) else {})) from None
    assert isinstance(config, Config)
    check_values(config)
    with_floats(config)
    settle_engine(config)
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """All keys and values; `sweep` only if the configuration is that of a study, see also `to_tree`."""
    tree = to_tree(config)
    if config.sweep == SweepConfig():
        del tree["sweep"]
    return tree


ADDRESSES = ("tracking.uri", "tracking.mirror", "sweep.storage")  # which may hold a password


def to_yaml(config: Config) -> str:
    """What `load_config` reads as the same configuration; passwords in addresses are masked, see `unmask`."""
    tree = to_dict(config)
    for key in ADDRESSES:
        group, _, name = key.partition(".")
        if isinstance(tree.get(group, {}).get(name), str):
            tree[group][name] = redact(tree[group][name])
    return write_yaml(tree)


def read_tree(text: str, source: str) -> dict[str, Any]:
    """The keys and values of a YAML file with that text; raises `ConfigError`, which begins with `source`."""
    tree = read_yaml(text, source)
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        kind = {Plain: "text", str: "text"}.get(type(tree), type(tree).__name__)
        raise ConfigError(f"{source}: expected keys and values, found {kind}")
    out: dict[str, Any] = typed(tree, source)
    return out


def _find(config: str) -> Path:
    path = Path(config)
    if path.suffix in (".yaml", ".yml"):
        if _is_file(path):
            return path
        raise ConfigError(f"config: no file {clipped(config)!r}")
    for folder in preset_folders():
        candidate = folder / f"{config}.yaml"
        if _is_file(candidate):
            return candidate
    known = presets()
    raise ConfigError(
        f"config: no preset {clipped(config)!r}{did_you_mean(config, known)} (a path ends in .yaml; `unlocked list "
        f"presets` shows all {len(known)})"
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or has a NUL in it
        return False


def _file_layers(path: Path, seen: tuple[Path, ...] = ()) -> list[tuple[str, dict[str, Any]]]:
    if path.resolve() in seen:
        raise ConfigError(f"{path}: extends itself")
    try:
        text = read_file(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    tree = read_tree(text, str(path))
    base = tree.pop("extends", None)
    sibling = path.parent / f"{base}.yaml"
    below = (
        []
        if base is None
        else _file_layers(sibling if _is_file(sibling) else _find(str(base)), (*seen, path.resolve()))
    )
    return [*below, (str(path), tree)]


def model_of(preset: str) -> str | None:
    """The `model.name` that a preset's files give; None if they give none."""
    models = [tree.get("model") for _, tree in reversed(_file_layers(_find(preset)))]
    return next((str(model["name"]) for model in models if isinstance(model, dict) and "name" in model), None)


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """The tree of `key=value` words; values are YAML.

    >>> parse_overrides(["scheme.name=dfa", "seed=1"])
    {'scheme': {'name': 'dfa'}, 'seed': 1}
    """
    tree: dict[str, Any] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not re.fullmatch(r"\w+(\.\w+)*", key):
            raise ConfigError(f"{override!r}: an override is key=value, such as scheme.name=dfa")
        if key.count(".") > DEEPEST:
            raise ConfigError(f"{clipped(key)}: unknown key")
        _place(tree, key, _text_as_typed(key, text) or read_value(text, key), repr(override))
    out: dict[str, Any] = typed(tree, "command line")
    return out


def _text_as_typed(key: str, text: str) -> Plain | None:
    """The value of a key that is a text, without quotes; None for anything else, which YAML reads."""
    text = text.strip()
    as_typed = is_text(kind_at(key)) and not is_null(text) and text[0] not in "\"'[{"
    return Plain(text) if as_typed else None


def _place(tree: dict[str, Any], key: str, value: Any, source: str) -> None:
    """`value` at the dotted `key` of a tree."""
    *parents, leaf = key.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            value = tree.text if isinstance(tree, Plain) else repr(tree)
            raise ConfigError(f"{source}: an earlier override gives {parent} the value {clipped(value)}")
    tree[leaf] = value


def _refuse_values_for_groups(layer: dict[str, Any], known: Any, where: str, key: str = "") -> None:
    """`optimizer: adam` where `optimizer` holds keys."""
    for field in fields(known):
        value, group = layer.get(field.name), getattr(known, field.name)
        if value is None or not is_dataclass(group):
            continue
        name = f"{key}{field.name}"
        if not isinstance(value, dict):
            names = sorted(f.name for f in fields(group))
            hint = f"; did you mean {name}.name?" if "name" in names else ""
            raise ConfigError(f"{where}{name}: {value!r} is not keys and values{hint} (known here: {', '.join(names)})")
        _refuse_values_for_groups(value, group, where, f"{name}.")


def _refuse_no_list(layer: dict[str, Any], where: str) -> None:
    """`data.transforms=flip`."""
    data = layer.get("data")
    given = data.get("transforms", []) if isinstance(data, dict) else []
    if not isinstance(given, list | tuple) and not str(given).startswith("${"):
        raise ConfigError(f"{where}data.transforms: {given!r} is not a list; write [flip], or [] for none")


def _one_line(error: OmegaConfBaseException, layer: dict[str, Any]) -> str:
    from unlocked.schemes import SCHEMES

    key = error.full_key or "?"
    if type(error).__name__ in ("ConfigKeyError", "ConfigAttributeError"):
        parent, _, leaf = str(key).rpartition(".")
        scheme = (layer.get("scheme") or {}).get("name")
        if parent.partition(".")[0] == "scheme" and isinstance(scheme, str) and scheme not in SCHEMES:
            return f"scheme.name: {unknown('scheme', scheme, SCHEMES.names())}; --import brings in one of your own"
        known = _known_keys(parent)
        hint = did_you_mean(leaf, known) or did_you_mean(str(key), _all_keys())
        if len(known) > _LISTED:
            where = f"`unlocked keys {parent}`" if parent else "`unlocked keys`"
            return f"{key}: unknown key{hint} ({where} explains those that there are)"
        return f"{key}: unknown key{hint} (known here: {', '.join(known)})"
    if type(error).__name__ == "MissingMandatoryValue":
        return f"{key}: a value is required"
    message = reason(error)
    return f"{key}: {message[0].lower()}{message[1:]}{_expected(str(key))}"


def _node(key: str) -> Any:
    node: Any = schema()()
    for part in filter(None, key.split(".")):
        node = getattr(node, re.sub(r"\[.*", "", part), None)
    return node


def _all_keys() -> list[str]:
    return [key.name for key in keys_of(schema())]


def _known_keys(key: str) -> list[str]:
    node = _node(key)
    return sorted(f.name for f in fields(node)) if is_dataclass(node) else []


def _expected(key: str) -> str:
    parent, _, leaf = key.partition("[")[0].rpartition(".")
    node = _node(parent)
    kinds = {f.name: f.type for f in fields(node)} if is_dataclass(node) else {}
    return f" (expected {type_name(kinds[leaf])})" if leaf in kinds else ""
