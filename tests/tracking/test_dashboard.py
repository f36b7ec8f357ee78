"""What MLflow is given of a run, so that its dashboard reads well: names, tags in order, few params, the data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from unlocked.config import from_tree, load_config, to_dict
from unlocked.loop.report import data_facts, run_tags, shown_params
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.tracking import Recorder, flatten
from unlocked.tracking.captions import trial_name
from unlocked.tracking.params import CONFIG_TAG, pack, unpack, whole
from unlocked.tracking.surroundings import keep_surroundings
from unlocked.tracking.writer import write_run

FIRST = [
    "scheme", "model", "dataset", "task", "seed", "modules", "lag", "replicas", "engine", "device", "config_hash",
    "parameters", "host", "cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def digits():
    config = load_config("quickstart", ["parallel.engine=inprocess", "optimizer.lr=0.004", "seed=3"])
    return config, load_data(config)


def test_tags_come_in_the_order_of_the_dashboard_with_a_name_and_the_schemes_colour(digits):
    config, data = digits
    tags = run_tags(make_plan(config, data), data)
    shown = [key for key in tags if not key.startswith("mlflow.")]
    assert shown[: len(FIRST)] == FIRST
    assert (tags["mlflow.runName"], tags["mlflow.runColor"]) == ("cdni s3", "#009E73")
    assert tags["user"] == tags["mlflow.user"]


def test_runs_of_other_schemes_and_rates_are_of_one_setting_and_others_are_not(digits):
    config, data = digits

    def setting(*changes):
        tree = flatten(to_dict(config))
        changed = load_config("quickstart", ["parallel.engine=inprocess", f"seed={tree['seed']}", *changes])
        return run_tags(make_plan(changed, data), data)["mlflow.unlocked.setting"]

    assert setting("scheme.name=frozen") == setting("scheme.name=backprop", "optimizer.lr=0.01", "seed=0")
    assert setting("scheme.name=frozen") != setting("scheme.name=frozen", "train.epochs=3")


def test_params_are_shown_only_if_they_differ_from_their_default(digits):
    config, _ = digits
    shown = shown_params(config)
    assert {"optimizer.lr", "seed", "model.hidden", "data.name", "scheme.name"} <= set(shown)
    assert "scheme.sg.kernel" not in shown
    assert "data.batch_size" not in shown
    assert not [key for key in shown if key.startswith("tracking.")]
    assert len(shown) < 20 < len(flatten(to_dict(config)))
    assert "data.batch_size" in shown_params(config, always=["data.batch_size"])
    plain = from_tree({"data": {"name": "digits"}, "model": {"name": "mlp", "norm": "none"}})
    assert {"scheme.name", "optimizer.lr", "train.epochs"} <= set(shown_params(plain))
    assert len(shown_params(plain)) < 8


def test_all_params_are_kept_where_the_dashboard_does_not_show_them():
    params = flatten(to_dict(load_config("quickstart")))
    packed = pack(params)
    assert packed is not None
    assert len(packed) < 4000
    assert whole({"seed": "1"}, {CONFIG_TAG: packed}) == params | {"seed": "1"}
    assert whole(params, {}) == params  # a run of an earlier version
    assert unpack("not packed") is None
    assert pack({"key": "".join(chr(33 + i * i * 7 % 90) + str(i * 7919 % 1013) for i in range(9000))}) is None


@pytest.mark.parametrize(
    ("point", "seed", "name"),
    [
        ({"scheme.name": "dfa", "optimizer.lr": "0.004237"}, None, "#7 dfa lr 4.2e-3"),
        ({"optimizer.lr": "0.25", "scheme.sg.lr": "1e-05"}, "1", "#7 dfa optimizer.lr 0.25 sg.lr 1e-5 s1"),
        ({"model.hidden": "[64, 64]", "seed": "2"}, "2", "#7 dfa hidden [64, 64] s2"),
        ({"x" * 80: "1"}, None, ("#7 dfa " + "x" * 80)[:57] + "..."),
    ],
)
def test_trials_are_named_by_what_was_chosen(point, seed, name):
    assert trial_name(7, "dfa", point, seed) == name


def test_the_data_set_is_told_with_its_sizes(digits):
    config, data = digits
    facts = data_facts(config, data, "d")
    assert (facts["name"], facts["train"], facts["validation"], facts["test"]) == ("digits", 1293, 144, 360)


def test_packages_hardware_and_imports_are_files(tmp_path: Path):
    folder = keep_surroundings(tmp_path, ["json"], ["an accelerator"])
    assert "torch==" in (folder / "packages.txt").read_text()
    assert "an accelerator" in (folder / "hardware.json").read_text()
    assert '"sha256"' in (folder / "imports.json").read_text()


def test_a_run_arrives_with_its_name_ordered_tags_its_data_set_and_few_params(tmp_path: Path):
    from mlflow.tracking import MlflowClient

    run_dir = tmp_path / "run"
    data = {"name": "digits", "digest": "d1", "source": "a.b", "num_rows": 10, "train": 8, "test": 2}
    recorder = Recorder(run_dir)
    tags = {"scheme": "dni", "seed": "0", "mlflow.runName": "dni s0", "mlflow.runColor": "#56B4E9"}
    for _ in range(2):  # resumed: all of it is told again
        recorder.start({"seed": "0", "optimizer.lr": "0.1", "x": "1"}, tags, shown=["optimizer.lr"], data=data)
    recorder.finish("FINISHED")
    recorder.close()
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert write_run(run_dir, uri, "test", tmp_path, None, 5.0) == 0
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("test").experiment_id])
    assert run.info.run_name == "dni s0"
    assert [key for key in run.data.tags if not key.startswith("mlflow.")][:2] == ["scheme", "seed"]
    assert run.data.tags["mlflow.runColor"] == "#56B4E9"
    assert run.data.params == {"optimizer.lr": "0.1"}
    assert whole(run.data.params, run.data.tags) == {"seed": "0", "optimizer.lr": "0.1", "x": "1"}
    (entry,) = run.inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("digits", "d1")
    assert '"train": 8' in entry.dataset.profile
