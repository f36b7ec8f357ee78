"""What a run is, seed apart: everything that can change one of its numbers, and the hash by which runs are grouped.

Runs are seeds of one group only if their `config_hash` is equal. It covers the resolved configuration without the keys
below, what the automatic ones came to, the platform's version, the user's own code and the examples trained on. It is
taken over what MLflow keeps of a run, so that runs which were made before the tag have one too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import NamedTuple

BASELINE, CONTROL = "backprop", "frozen"  # the schemes that every other is held against


class While(NamedTuple):
    """A reason that holds while another key has this value."""

    key: str
    value: str
    reason: str


# keys, and groups of keys, that no number of a run depends on; each with the reason
CHANGES_NO_NUMBER: dict[str, str | While] = {
    "seed": "what the runs of a group differ in",
    "name": "a label",
    "tracking": "where what was measured is kept and drawn",
    "sweep": "read by `unlocked sweep` alone; a trial's own choices stand in the other keys",
    "schemes": "already laid over the keys of the run's scheme",
    "metrics": "measured beside the task's own; nothing follows them",
    "expect": "held against the numbers afterwards",
    "data.root": "where the files lie; what is in them is in the digest of the data",
    "data.download": "whether missing files are fetched",
    "train.checkpoint_every": "how often state is saved; the best weights are saved whenever there are better ones",
    "parallel.engine": "in process and over workers a lag is replayed to the same numbers",
    "parallel.modules_per_worker": While(
        "parallel.schedule", "locked", "where a module is trained; the microbatches of a pipeline follow it"
    ),
    "pretrain.scheme": While("pretrain.epochs", "0", "no block is pre-trained"),
    "pretrain.order": While("pretrain.epochs", "0", "no block is pre-trained"),
    "parallel.threads": "another order of additions: rounding",
    "parallel.link": "how a message travels, not what it says",
    "parallel.place": "on which nodes the workers are",
    "parallel.address": "of the cluster",
    "parallel.max_failures": "a restart goes on from a checkpoint to the same numbers",
    "parallel.memory": "a run within it is as one without",
    "parallel.timeout": "when a silent worker is given up",
}
# of the keys above, those that change how fast a run is: its speed is comparable only where they are equal
PLACE = (
    "parallel.engine",
    "parallel.modules_per_worker",
    "host",
    "cpus",
    "device",
    "gpu",
    "parallel.threads",
    "parallel.link",
    "parallel.place",
    "parallel.address",
)
# the tag, which is shorter or says what `auto` came to, of a configuration key
TAG_OF = {
    "scheme.name": "scheme",
    "model.name": "model",
    "data.name": "dataset",
    "parallel.modules": "modules",
    "parallel.replicas": "replicas",
    "scheme.lag": "lag",
    "parallel.device": "device",
    "task": "task",
    "parallel.partition": "partition",
    "parallel.engine": "engine",
}
# keys that not all runs have, with the value at which they change nothing: left out at it, so that runs from before
# (or after) them are of one group with those that have them
ABSENT_AT = {
    "callbacks": "[]",
    "data.examples": "null",
    "data.easy_by": "data",
    "data.easy_first": "null",
    "nets": "{}",
    "optimizer.clip_global": "null",
    "optimizer.clip_value": "null",
    "optimizer.cycle_growth": "1",
    "optimizer.decay": "0.1",
    "optimizer.decay_every": "null",
    "optimizer.groups": "[]",
    "optimizer.l1": "0.0",
    "optimizer.l2": "0.0",
    "optimizer.max_norm": "null",
    "optimizer.noise": "0.0",
    "optimizer.noise_decay": "0.55",
    "optimizer.plateau_patience": "3",
    "train.accumulate": "1",
    "train.adversary.attack": "none",
    "train.adversary.clean": "0.0",
    "train.adversary.epsilon": "0.1",
    "train.adversary.step": "null",
    "train.adversary.steps": "7",
    "train.average": "null",
    "train.compile": "false",
    "train.evaluate_steps": "null",
    "train.recompute": "false",
    "train.steps": "null",
    "objective": "{}",
    "init": "{}",
    "data.transforms": "[]",
    "data.augment": "[]",
    "pretrain.noise": "masking",
    "pretrain.level": "0.2",
}
BESIDE = ("version.unlocked", "data_digest", "code_digest", "lengthened", "mixed")  # tags that are no configuration
_NO_EXAMPLES = set(BESIDE) - {"data_digest"}
_GROUPS = ("objective", "data", "model", "init", "scheme", "optimizer", "train", "transfer", "pretrain", "parallel")


def identity(params: Mapping[str, str], tags: Mapping[str, str]) -> dict[str, str]:
    """What a run is, from its params and tags: by tag if a key has one, else by configuration key."""
    given = dict(params)
    given |= {key: value for key, value in tags.items() if "." in key and key.partition(".")[0] in _GROUPS}
    given |= {key.removeprefix("changed."): value for key, value in tags.items() if key.startswith("changed.")}
    found = {TAG_OF.get(key, key): tags.get(TAG_OF.get(key, key), value) for key, value in given.items()}
    found |= {tag: tags[tag] for tag in (*TAG_OF.values(), *BESIDE) if tag in tags}
    found = {key: value for key, value in found.items() if ABSENT_AT.get(key) != value}
    return {key: value for key, value in sorted(found.items()) if not _is_left_out(key, given)}


def config_hash(params: Mapping[str, str], tags: Mapping[str, str]) -> str:
    """Of a run's params and tags, 16 hex digits.

    >>> params = {"optimizer.lr": "0.001", "seed": "0", "parallel.engine": "ray"}
    >>> config_hash(params, {"lag": "2"}) == config_hash(params | {"seed": "1", "parallel.engine": "x"}, {"lag": "2"})
    True
    >>> config_hash(params, {"lag": "2"}) == config_hash(params | {"optimizer.lr": "0.01"}, {"lag": "2"})
    False
    """
    entries = json.dumps(list(identity(params, tags).items()))
    return hashlib.sha256(entries.encode()).hexdigest()[:16]


def setting_hash(params: Mapping[str, str], tags: Mapping[str, str], of_schemes: Collection[str] = ()) -> str:
    """Equal for runs that differ in their scheme and seed alone: what a baseline and a control are looked up by.

    `of_schemes`: the keys that a preset tunes for every scheme.

    >>> params, tags = {"scheme.name": "dfa", "train.epochs": "3", "optimizer.lr": "0.1"}, {"lag": "2"}
    >>> other = params | {"scheme.name": "frozen", "optimizer.lr": "0.2"}
    >>> setting_hash(params, tags) == setting_hash(other, {"lag": "0"})
    True
    >>> setting_hash(params, tags) == setting_hash(params | {"train.epochs": "4"}, tags)
    False
    """
    apart = {"lag", "partition", "optimizer.lr", *_NO_EXAMPLES, *of_schemes}
    whole = identity(params, tags)
    kept = [(key, value) for key, value in whole.items() if key not in apart and key.partition(".")[0] != "scheme"]
    return hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:16]


def _is_left_out(key: str, given: Mapping[str, str]) -> bool:
    if key == "engine":
        return True
    parts = key.split(".")
    why = (CHANGES_NO_NUMBER.get(".".join(parts[:n])) for n in range(1, len(parts) + 1))
    return any(
        given.get(each.key, each.value) == each.value if isinstance(each, While) else each is not None for each in why
    )
