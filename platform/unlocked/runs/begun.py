"""Whether a run goes on as it was begun: with the configuration, the user's code and the examples of its first step.

What it began with stands in its own records (`start` in tracking/spool.jsonl), and where it goes on from another run,
in what that one handed on (`longer.json`). An edited configuration is refused. Code, examples, version and device may
have had to change (a fault in the user's code, another machine): such a run is tagged, so that no comparison takes it
for an unbroken one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from unlocked.config import Config, to_dict
from unlocked.errors import ConfigError
from unlocked.files import read_json
from unlocked.security import redact
from unlocked.tracking import flatten
from unlocked.tracking.folder import TrackingFolder
from unlocked.tracking.identity import TAG_OF, config_hash, identity
from unlocked.tracking.spool import records

HANDED_ON = "longer.json"  # key "begun"
_MAY_CHANGE = {
    "version.unlocked": "the version of unlocked",
    "data_digest": "the data",
    "code_digest": "the user's code",
    "device": "the device",
}  # tags


def beginnings(run_dir: Path) -> list[dict[str, Any]]:
    """Params and tags of every time that the run, or one that it goes on from, was started; oldest first."""
    handed = read_json(run_dir / HANDED_ON).get("begun")
    found = [each for each in handed if _is_start(each)] if isinstance(handed, list) else []
    return found + [
        {"params": each["params"], "tags": {key: each["tags"][key] for key in _MAY_CHANGE if key in each["tags"]}}
        for each in records(TrackingFolder(run_dir).spool)
        if each["t"] == "start"
    ]


def refuse_edited(run_dir: Path, config: Config) -> None:
    """Raises `ConfigError`, one line, if a key that numbers depend on is not what the run began with."""
    begun = beginnings(run_dir)
    if not begun:
        return
    then, now = _deciding(begun[0]["params"]), _deciding(flatten(to_dict(config)))
    for key in [key for key in then if key in now and then[key] != now[key]]:
        raise ConfigError(
            f"{run_dir / 'config.yaml'}: {key} is {now[key]}, and was {then[key]} when the run began; a "
            f"run goes on as it was begun: put it back, or train a run of its own"
        )


def going_on(
    run_dir: Path, params: Mapping[str, str], tags: dict[str, str], note: Callable[[str], None]
) -> dict[str, str]:
    """The tags of a run that is about to start, with `mixed` if it has been trained with something else before."""
    begun, mixed = beginnings(run_dir), []
    for tag, name in _MAY_CHANGE.items():
        values = dict.fromkeys([*(each["tags"].get(tag, "none") for each in begun), tags.get(tag, "none")])
        if len(values) > 1:
            mixed.append(f"{tag} {' then '.join(values)}")
            note(f"{run_dir.name}: {name} changed since the run began; tagged `mixed`, apart from unbroken runs")
    if not mixed:
        return tags
    tags = tags | {"mixed": ", ".join(mixed)}
    return tags | {"config_hash": config_hash(params, tags)}


def _deciding(params: Mapping[str, str]) -> dict[str, str]:
    """What numbers depend on, as the records have it: without passwords inside addresses."""
    shown = json.loads(redact(json.dumps({key: str(value) for key, value in params.items()})))
    keys = {tag: key for key, tag in TAG_OF.items()}
    found: dict[str, str] = identity(shown, {}) | {"seed": shown.get("seed", "")}
    return {keys.get(name, name): value for name, value in found.items() if name not in _MAY_CHANGE}


def _is_start(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(key), dict) and all(isinstance(word, str) for word in value[key].values())
        for key in ("params", "tags")
    )
