"""What a job will ask of the cluster, and that no secret travels in what everybody on it can read."""

from __future__ import annotations

import pytest

from unlocked.config import load_config
from unlocked.data import DATA
from unlocked.errors import ConfigError
from unlocked.jobs.spec import Spec, new_id, refuse_secrets, sweep_needs, train_needs

NONE = {"CPU": 0.0, "GPU": 0.0}
CUT = "parallel.partition=null"


@pytest.mark.parametrize(
    ("overrides", "cluster_gpus", "needs", "driver"),
    [
        (["parallel.engine=inprocess"], 0, {"CPU": 1.0, "GPU": 0.0}, {"CPU": 1.0, "GPU": 0.0}),
        (["parallel.engine=inprocess"], 8, {"CPU": 1.0, "GPU": 1.0}, {"CPU": 1.0, "GPU": 1.0}),
        (["parallel.modules=4", CUT], 0, {"CPU": 4.0, "GPU": 0.0}, NONE),
        (["parallel.modules=2", "parallel.replicas=2"], 8, {"CPU": 4.0, "GPU": 4.0}, NONE),
        (["parallel.modules=2", "parallel.device=cpu"], 8, {"CPU": 2.0, "GPU": 0.0}, NONE),
        (["parallel.modules=1", CUT, "parallel.engine=ray"], 0, {"CPU": 1.0, "GPU": 0.0}, NONE),
    ],
)
def test_a_run_needs_a_place_for_every_worker_or_for_its_driver(overrides, cluster_gpus, needs, driver):
    assert train_needs(load_config("quickstart", overrides), None, cluster_gpus) == (needs, driver)


GAN = ["parallel.engine=ray", "nets.discriminator.parallel.modules=1"]


@pytest.mark.parametrize(("overrides", "workers"), [(GAN, 4.0), ([*GAN, "parallel.modules_per_worker=2"], 2.0)])
def test_a_run_of_several_nets_needs_a_place_for_the_modules_of_all(overrides, workers):
    """Three of the generator, one of the discriminator."""
    assert train_needs(load_config("adversarial/gan", overrides), None, 0.0)[0]["CPU"] == workers


def test_a_study_of_several_nets_needs_a_place_for_the_modules_of_all():
    space = "sweep.space={nets.discriminator.parallel.modules: [1, 2], seed: [0, 1]}"
    config = load_config("adversarial/gan", [*GAN, space, "sweep.concurrent=2"])
    assert sweep_needs(config, None, 0.0)[0]["CPU"] == 2 * (3 + 2)


def test_gpus_can_be_given():
    config = load_config("quickstart", ["parallel.modules=2"])
    assert train_needs(config, 1.0, 0.0)[0] == {"CPU": 2.0, "GPU": 1.0}
    assert train_needs(config, 0.0, 8.0)[0] == {"CPU": 2.0, "GPU": 0.0}


STUDY = ["sweep.space.seed=[0,1,2]", "parallel.engine=inprocess"]


@pytest.mark.parametrize(
    ("overrides", "needs", "driver"),
    [
        (STUDY, {"CPU": 1.0, "GPU": 0.0}, {"CPU": 1.0, "GPU": 0.0}),
        ([*STUDY, "sweep.concurrent=3", "sweep.resources.cpu=2"], {"CPU": 6.0, "GPU": 0.0}, NONE),
        ([STUDY[0], "sweep.concurrent=2", "parallel.modules=2"], {"CPU": 4.0, "GPU": 0.0}, NONE),
        ([*STUDY, "sweep.concurrent=2", "sweep.resources.gpu=0.5"], {"CPU": 2.0, "GPU": 1.0}, NONE),
    ],
)
def test_a_study_needs_a_place_for_all_its_trials_at_once(overrides, needs, driver):
    assert sweep_needs(load_config("quickstart", overrides), None, 0.0) == (needs, driver)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("tracking.uri=https://ann:hunter22@mlflow.example", "tracking.uri"),
        ("sweep.storage=postgresql://u:hunter22@db/x", "sweep.storage"),
        ("data={name: bought, options: {api_key: hunter22}}", "data.options.api_key"),
    ],
)
def test_a_secret_in_a_configuration_is_refused_and_not_repeated(override, key, monkeypatch):
    monkeypatch.setitem(DATA._entries, "bought", lambda source, api_key: None)
    monkeypatch.setitem(DATA._facts, "bought", {"task": "classification"})
    with pytest.raises(ConfigError) as caught:
        refuse_secrets(load_config("quickstart", [override]), [override])
    assert str(caught.value).startswith(f"{key}: holds a secret, and everybody on the cluster can read")
    assert "hunter22" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_value_of_a_secret_in_the_environment_is_refused_anywhere(monkeypatch):
    monkeypatch.setenv("STORE_PASSWORD", "hunter22")
    with pytest.raises(ConfigError, match=r"^name: holds a secret"):
        refuse_secrets(load_config("quickstart", ["name=x-hunter22"]), [])


def test_ordinary_configurations_hold_none():
    for preset in ("quickstart", "studies/lag", "transformer/gpt"):
        refuse_secrets(load_config(preset, ["tracking.uri=https://mlflow.example"]), ["seed=1"])


def test_a_spec_comes_back_from_rays_metadata_as_it_was():
    spec = Spec("a-1", "train", ["train", "x.yaml", "name=it's"], {"CPU": 1.0, "GPU": 0.5}, dict(NONE))
    metadata = spec.metadata("unlocked.job")
    assert all(isinstance(value, str) for value in metadata.values())  # Ray takes nothing else
    assert Spec.of(metadata) == spec
    assert spec.entrypoint == """exec python -m unlocked train x.yaml 'name=it'"'"'s'"""


@pytest.mark.parametrize(("name", "stem"), [("quickstart", "quickstart"), ("mein Lauf é", "mein-Lauf"), ("...", "job")])
def test_an_id_fits_into_an_address_and_differs_every_time(name, stem):
    assert new_id(name) != new_id(name)
    assert new_id(name).rpartition("-")[0] == stem
    assert new_id(name).isascii()


@pytest.mark.parametrize("name", ["../x", "a/b", ""])
def test_a_jobs_name_leads_nowhere(name):
    with pytest.raises(ConfigError, match=r"^--name: .* is no name"):
        new_id(name)
