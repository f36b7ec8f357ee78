"""What makes runs seeds of one experiment: every key of the schema is decided, by the table or by being in the hash."""

from __future__ import annotations

import dataclasses

import pytest

from unlocked.config import load_config, to_dict
from unlocked.loop.report import run_tags
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.schema.keys import Config
from unlocked.tracking import flatten
from unlocked.tracking.identity import CHANGES_NO_NUMBER, PLACE, TAG_OF, config_hash, identity

TREE = flatten(to_dict(load_config("quickstart")))
TAGS = {
    "scheme": "cdni",
    "model": "mlp",
    "dataset": "digits",
    "task": "classification",
    "modules": "2",
    "replicas": "1",
    "lag": "2",
    "device": "cpu",
    "partition": "[2, 3]",
    "version.unlocked": "0.1.0",
    "data_digest": "d",
    "engine": "ray",
    "host": "a",
    "cpus": "2",
    "seed": "0",
    "name": "quickstart",
}
FREE = {
    "seed",
    "name",
    "tracking.uri",
    "tracking.experiment",
    "tracking.figures",
    "tracking.timeline",
    "data.root",
    "data.download",
    "train.checkpoint_every",
    "pretrain.scheme",
    "pretrain.order",
    "parallel.engine",
    "parallel.modules_per_worker",
    "parallel.threads",
    "parallel.link",
    "parallel.place",
    "parallel.address",
    "parallel.max_failures",
    "parallel.memory",
    "parallel.timeout",
    "tracking.runs",
    "tracking.mirror",
    "schemes",
    "expect",
    "metrics",
}


@pytest.mark.parametrize("key", sorted(TREE))
def test_a_key_changes_the_hash_unless_no_number_depends_on_it(key):
    tag = TAG_OF.get(key)
    other = (TREE, TAGS | {tag: "other"}) if tag in TAGS else (TREE | {key: "other"}, TAGS)
    assert (config_hash(*other) == config_hash(TREE, TAGS)) == (key in FREE)


@pytest.mark.parametrize("tag", ["version.unlocked", "data_digest", "code_digest"])
def test_code_and_data_are_part_of_the_hash(tag):
    assert config_hash(TREE, TAGS | {tag: "other"}) != config_hash(TREE, TAGS)


@pytest.mark.parametrize("tag", ["host", "cpus", "seed", "name", "git.commit", "platform", "unlocked.parent"])
def test_machine_label_and_seed_are_not(tag):
    assert config_hash(TREE, TAGS | {tag: "other"}) == config_hash(TREE, TAGS)


def test_what_auto_came_to_counts_and_not_the_word():
    """lag: auto and lag: 2 are one experiment where auto is 2."""
    assert config_hash(TREE | {"scheme.lag": "2"}, TAGS) == config_hash(TREE | {"scheme.lag": "auto"}, TAGS)


def test_a_param_that_was_changed_later_counts_as_it_is_now():
    assert identity(TREE, {"changed.train.epochs": "40"})["train.epochs"] == "40"


@pytest.mark.parametrize(("schedule", "same"), [("locked", True), ("interleaved", False)])
def test_modules_per_worker_count_in_pipelines_alone(schedule, same):
    one, other = (TREE | {"parallel.schedule": schedule, "parallel.modules_per_worker": n} for n in ("2", "4"))
    assert (config_hash(one, TAGS) == config_hash(other, TAGS)) == same
    assert ("parallel.modules_per_worker" in identity(one, TAGS)) != same


def test_how_blocks_are_pre_trained_counts_if_they_are():
    one, other = (TREE | {"pretrain.epochs": "5", "pretrain.order": order} for order in ("greedy", "together"))
    assert config_hash(one, TAGS) != config_hash(other, TAGS)
    before = {key: value for key, value in TREE.items() if key not in ("pretrain.scheme", "pretrain.order")}
    assert config_hash(before | {"pretrain.noise": "masking", "pretrain.level": "0.2"}, TAGS) == config_hash(TREE, TAGS)


def test_every_key_of_the_tables_is_one_of_the_schema():
    groups = {field.name for field in dataclasses.fields(Config)}
    known = {".".join(key.split(".")[:n]) for key in TREE for n in (1, 2, 3)} | groups
    assert set(CHANGES_NO_NUMBER) <= known
    assert {key for key in TAG_OF if not key.startswith("model.")} <= known
    assert {key for key in PLACE if "." in key} <= known


def tags(*overrides, imports=()):
    config = load_config("quickstart", ["parallel.engine=inprocess", *overrides])
    data = load_data(config)
    return run_tags(make_plan(config, data), data, imports)


def test_the_two_runs_that_were_once_averaged_have_two_hashes():
    plain = tags("scheme.name=backprop")["config_hash"]
    odd = tags("scheme.name=backprop", "train.epochs=1", "data.transforms=[flip]")["config_hash"]
    assert plain != odd
    assert tags("scheme.name=backprop", "seed=1", "name=other", "parallel.threads=2")["config_hash"] == plain


def test_runs_say_the_machine_and_what_their_task_follows():
    found = tags()
    assert {"host", "cpus", "data_digest", "config_hash"} <= set(found)
    assert (found["monitor"], found["partition"], found["version.unlocked"]) == ("accuracy", "[2, 3]", "0.1.0")
    assert "code_digest" not in found


def test_another_split_is_other_data():
    assert tags("data.seed=1")["data_digest"] != tags()["data_digest"]


def test_code_of_ones_own_is_part_of_the_run(tmp_path, monkeypatch):
    """Its own module, and what that imports from beside it; not what else is loaded."""
    import importlib
    import sys

    (tmp_path / "own_models.py").write_text("import json\nfrom own_layers import WIDTH\n")
    (tmp_path / "own_layers.py").write_text("WIDTH = 1\n")
    (tmp_path / "own_other.py").write_text("X = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("own_models", "own_other"):
        importlib.import_module(name)
    first = tags(imports=["own_models"])
    assert first["config_hash"] != tags()["config_hash"]
    (tmp_path / "own_other.py").write_text("X = 2\n")
    assert tags(imports=["own_models"])["code_digest"] == first["code_digest"]
    (tmp_path / "own_layers.py").write_text("WIDTH = 2\n")
    assert tags(imports=["own_models"])["code_digest"] != first["code_digest"]
    for name in ("own_models", "own_layers", "own_other"):
        sys.modules.pop(name)
