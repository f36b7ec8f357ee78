"""One validated configuration tree: typed dataclasses, YAML, `key=value` overrides."""

from unlocked.config.load import check_types, from_tree, load_config, presets, to_dict, to_yaml, with_values
from unlocked.config.schema import Config

__all__ = ["Config", "check_types", "from_tree", "load_config", "presets", "to_dict", "to_yaml", "with_values"]
