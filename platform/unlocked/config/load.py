"""From a name or a path, and `key=value` overrides, to one checked `Config`; every mistake is one line."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unlocked.config.check import check_values
from unlocked.config.schema import DIMENSION_KEYS, MULTI_STAGE, Config, SweepConfig
from unlocked.config.schemes import completed, entry_of, flatten
from unlocked.errors import ConfigError, reason

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
        _merge([(f"schemes.{name}", _tree_of(flatten(entry or {}), f"schemes.{name}"))], copy.deepcopy(files))
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


@cache
def _defaults() -> DictConfig:
    """The configuration that nobody has said anything about; to be copied: making one takes longer."""
    return OmegaConf.structured(Config)


def _merge(layers: Sequence[tuple[str, dict[str, Any]]], below: DictConfig | None = None) -> DictConfig:
    """The layers over `below`, which they change, or over the defaults."""
    merged = copy.deepcopy(_defaults()) if below is None else below
    for source, layer in layers:
        try:
            _refuse_resolvers(layer, source)
        except RecursionError:
            raise ConfigError(f"{source}: a YAML alias contains itself") from None
        _refuse_values_for_groups(layer, Config(), f"{source}: ")
        _flatten_space(layer)
        _drop_outdated(merged, layer)
        try:
            merged.merge_with(OmegaConf.create(layer))
        except OmegaConfBaseException as error:
            raise ConfigError(f"{source}: {_one_line(error, layer)}") from None
    return merged


def _flatten_space(layer: dict[str, Any]) -> None:
    """`sweep.space.scheme.lag=[1, 4]` and `scheme: {lag: [1, 4]}` name the dimension `scheme.lag`, as files do."""
    space = (layer.get("sweep") or {}).get("space")
    if not isinstance(space, dict):
        return
    flat: dict[str, Any] = {}

    def walk(name: str, entry: Any) -> None:
        inner = {key: value for key, value in entry.items() if key not in DIMENSION_KEYS and _is_entry(value)} \
            if isinstance(entry, dict) else {}
        for key, value in inner.items():
            walk(f"{name}.{key}", value)
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
    model, parallel = layer.get("model"), layer.get("parallel")
    name = model.get("name", merged.model.get("name")) if isinstance(model, dict) else merged.model.get("name")
    if name != merged.model.get("name"):
        merged.model = {}
        merged.parallel.partition = None
    before = {key: merged.parallel[key] for key in ("stages", "virtual_stages", "schedule")}
    if isinstance(parallel, dict) and _modules(**before) != _modules(**{k: parallel.get(k, before[k]) for k in before}):
        merged.parallel.partition = None


def _modules(stages: Any, virtual_stages: Any, schedule: Any) -> tuple[Any, ...]:
    """What decides their number."""
    return stages, virtual_stages, schedule in MULTI_STAGE


def from_tree(tree: Any) -> Config:
    """A checked `Config` from a merged tree (or from the dictionary that `to_dict` gave)."""
    try:
        if not isinstance(tree, DictConfig):
            _refuse_values_for_groups(tree, Config(), "")
            tree = OmegaConf.merge(_defaults(), OmegaConf.create(tree))
        _refuse_resolvers(OmegaConf.to_container(tree))
        OmegaConf.resolve(tree)
        _refuse_resolvers(OmegaConf.to_container(tree))  # one that only the references spelled out
        config = OmegaConf.to_object(tree)
    except OmegaConfBaseException as error:
        raise ConfigError(_one_line(error, {})) from None
    assert isinstance(config, Config)
    check_values(config)
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """All keys and values; `sweep` only where the configuration is that of a study."""
    tree = asdict(config)
    if config.sweep == SweepConfig():
        del tree["sweep"]
    return tree


def to_yaml(config: Config) -> str:
    return yaml.safe_dump(to_dict(config), sort_keys=False, default_flow_style=None)


def _find(config: str) -> Path:
    path = Path(config)
    if path.suffix in (".yaml", ".yml"):
        if path.is_file():
            return path
        raise ConfigError(f"config: no file {config!r}")
    for folder in preset_folders():
        candidate = folder / f"{config}.yaml"
        if candidate.is_file():
            return candidate
    near = difflib.get_close_matches(config, presets(), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"config: no preset {config!r}{hint} (a path ends in .yaml; presets: {', '.join(presets())})")


def _file_layers(path: Path, seen: tuple[Path, ...] = ()) -> list[tuple[str, dict[str, Any]]]:
    if path.resolve() in seen:
        raise ConfigError(f"{path}: extends itself")
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or reason(error)
        raise ConfigError(f"{path}: not readable as YAML{where}: {problem}") from None
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(tree).__name__}")
    base = tree.pop("extends", None)
    sibling = path.parent / f"{base}.yaml"
    below = [] if base is None else _file_layers(sibling if sibling.is_file() else _find(str(base)),
                                                (*seen, path.resolve()))
    return [*below, (str(path), tree)]


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
        try:
            value = yaml.load(text, Loader=_Loader)
        except yaml.YAMLError:
            raise ConfigError(f"{key}: the value {text!r} is not readable as YAML") from None
        _place(tree, key, value, repr(override))
    return tree


def _place(tree: dict[str, Any], key: str, value: Any, source: str) -> None:
    """`value` at the dotted `key` of a tree."""
    *parents, leaf = key.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"{source}: an earlier override gives {parent} the value {tree!r}")
    tree[leaf] = value


class _Loader(yaml.SafeLoader):
    """YAML 1.2 scalars: `1e-3` is a float, and `off`, `on`, `yes`, `no` are words."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"),
                              list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float",
                              re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d+)([eE][-+]?\d+)$"), list("-+0123456789."))


_REFERENCE = re.compile(r"\$\{[\w.\[\]-]*\}")


def _refuse_resolvers(layer: Any, source: str = "", key: str = "") -> None:
    """Configurations are shared: a reference to another key is fine, one that reads the machine is not."""
    if isinstance(layer, dict):
        for name, value in layer.items():
            _refuse_resolvers(value, source, f"{key}.{name}" if key else str(name))
    elif isinstance(layer, list):
        for value in layer:
            _refuse_resolvers(value, source, key)
    elif isinstance(layer, str) and "${" in _REFERENCE.sub("", layer):
        where = f"{source}: {key}" if source else key
        raise ConfigError(f"{where}: {layer!r} calls a resolver; only references such as "
                          "${seed} are allowed in a configuration")


def _refuse_values_for_groups(layer: dict[str, Any], schema: Any, where: str, key: str = "") -> None:
    """`optimizer: adam` where `optimizer` holds keys."""
    for field in fields(schema):
        value, group = layer.get(field.name), getattr(schema, field.name)
        if value is None or not is_dataclass(group):
            continue
        name = f"{key}{field.name}"
        if not isinstance(value, dict):
            known = sorted(f.name for f in fields(group))
            hint = f"; did you mean {name}.name?" if "name" in known else ""
            raise ConfigError(f"{where}{name}: {value!r} is not keys and values{hint} "
                              f"(known here: {', '.join(known)})")
        _refuse_values_for_groups(value, group, where, f"{name}.")


def _one_line(error: OmegaConfBaseException, layer: dict[str, Any]) -> str:
    key = error.full_key or "?"
    if type(error).__name__ in ("ConfigKeyError", "ConfigAttributeError"):
        parent, _, leaf = str(key).rpartition(".")
        known = _known_keys(parent)
        near = difflib.get_close_matches(leaf, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{key}: unknown key{hint} (known here: {', '.join(known)})"
    if type(error).__name__ == "MissingMandatoryValue":
        return f"{key}: a value is required"
    message = reason(error)
    return f"{key}: {message[0].lower()}{message[1:]}{_expected(str(key))}"


def _node(key: str) -> Any:
    node: Any = Config()
    for part in filter(None, key.split(".")):
        node = getattr(node, re.sub(r"\[.*", "", part), None)
    return node


def _known_keys(key: str) -> list[str]:
    node = _node(key)
    return sorted(f.name for f in fields(node)) if is_dataclass(node) else []


def _expected(key: str) -> str:
    parent, _, leaf = key.partition("[")[0].rpartition(".")
    node = _node(parent)
    kinds = {f.name: f.type for f in fields(node)} if is_dataclass(node) else {}
    return f" (expected {kinds[leaf]})" if leaf in kinds and isinstance(kinds[leaf], str) else ""
