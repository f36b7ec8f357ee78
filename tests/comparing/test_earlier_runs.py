"""Runs of earlier versions are of one group with those of today that are configured alike."""

from unlocked.comparing.finished import FinishedRun
from unlocked.comparing.stored import StoredRun
from unlocked.config import load_config, to_dict
from unlocked.schema.renamed import NOW
from unlocked.tracking import flatten
from unlocked.tracking.identity import config_hash

BEFORE = {present: old for old, present in NOW.items()}
TAGS = {
    "modules": "2",
    "replicas": "1",
    "partition": "[2, 3]",
    "version.unlocked": "0.1.0",
    "lag": "0",
    "engine": "ray",
}


def finished(params, tags):
    return FinishedRun(StoredRun("r", "run", "0", 0, tags, params))


def test_a_run_with_the_old_names_and_without_the_new_keys_has_the_hash_of_one_of_today():
    params = flatten(to_dict(load_config("quickstart", ["scheme.name=frozen"])))
    today = finished(params, TAGS | {"config_hash": config_hash(params, TAGS)})
    old = {BEFORE.get(key, key): value for key, value in params.items() if key not in ("nets", "data.transforms")}
    assert "parallel.stages" in old
    names = {"modules": "stages", "engine": "launcher"}
    tags = {names.get(tag, tag): value for tag, value in TAGS.items()}
    run = finished(old | {"data.augment": "[]"}, tags | {"config_hash": "of the old names"})
    assert run.hash == today.hash
    assert run.identity == today.identity


def test_a_new_key_that_is_set_makes_another_group():
    params = flatten(to_dict(load_config("quickstart", ["scheme.name=frozen"])))
    assert config_hash(params | {"data.transforms": "[{'name': 'flip'}]"}, TAGS) != config_hash(params, TAGS)


def test_words_of_a_store_give_a_terminal_no_orders():
    params = flatten(to_dict(load_config("quickstart", ["scheme.name=frozen"])))
    run = finished(
        params | {"model.note": "\x1b]0;x\x07"}, TAGS | {"unlocked.run": "a\x1b[2Jb", "dataset": "d\x9b2J\nt"}
    )
    assert (run.name, run.word("dataset"), run.word("model.note")) == ("a [2Jb", "d 2J\nt", " ]0;x ")
    assert "\x1b" not in str(run.identity)
