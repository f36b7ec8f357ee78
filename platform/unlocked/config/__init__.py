"""One validated configuration tree: typed dataclasses, YAML, `key=value` overrides."""

from unlocked.config.load import from_tree, load_config, presets, to_dict, to_yaml
from unlocked.config.schema import Config

__all__ = ["Config", "from_tree", "load_config", "presets", "to_dict", "to_yaml"]
