"""One validated configuration tree: typed dataclasses, YAML, `key=value` overrides."""

from unlocked.config.load import (
    Template,
    from_tree,
    load_config,
    parse_overrides,
    presets,
    read_tree,
    to_dict,
    to_yaml,
    with_values,
)
from unlocked.config.schema import schema
from unlocked.schema.keys import Config

__all__ = [
    "Config",
    "Template",
    "from_tree",
    "load_config",
    "parse_overrides",
    "presets",
    "read_tree",
    "schema",
    "to_dict",
    "to_yaml",
    "with_values",
]
