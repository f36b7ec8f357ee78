"""Passwords in addresses: on no disk, and still there when a run goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from unlocked.config import load_config, to_yaml
from unlocked.errors import ConfigError
from unlocked.runs.folder import RunFolder, write_config
from unlocked.runs.mirror import Mirror
from unlocked.security import unmask
from unlocked.tracking.uris import resolve_uri

WHOLE = "http://ann:hunter2222@mlflow.example:5000"
SHOWN = "http://***@mlflow.example:5000"


@pytest.fixture(autouse=True)
def no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "UNLOCKED_TRACKING_URI",
        "UNLOCKED_TRACKING_MIRROR",
        "MLFLOW_TRACKING_USERNAME",
        "MLFLOW_TRACKING_PASSWORD",
        "MLFLOW_TRACKING_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)


def run_of(tmp_path: Path, *overrides: str) -> Path:
    folder = RunFolder.create(load_config("quickstart", [f"tracking.runs={tmp_path}", *overrides]))
    folder.release()
    return folder.path


@pytest.mark.parametrize(
    ("key", "address"),
    [
        ("tracking.uri", WHOLE),
        ("tracking.uri", "postgresql://ann:hunter/2222@db.example/runs"),
        ("tracking.mirror", "s3://ann:hunter2222@bucket/runs"),
        ("sweep.storage", "mysql+pymysql://ann:hunter2222@db.example/studies"),
    ],
)
def test_the_password_of_an_address_is_on_no_disk(tmp_path: Path, key: str, address: str):
    config = load_config("quickstart", [f"{key}={address}", f"tracking.runs={tmp_path}"])
    text = write_config(config, tmp_path / "config.yaml").read_text()
    assert "2222" not in text
    assert "ann" not in text
    assert "***@" in text
    assert to_yaml(config) == text  # and is not printed


def test_a_configuration_that_holds_a_secret_of_the_users_own_is_its_owners_alone(tmp_path: Path):
    plain = load_config("quickstart", [])
    assert write_config(plain, tmp_path / "plain.yaml").stat().st_mode & 0o077
    plain.data.options["api_key"] = "hunter2222"
    assert not write_config(plain, tmp_path / "secret.yaml").stat().st_mode & 0o077


def test_a_run_that_goes_on_takes_its_password_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = run_of(tmp_path, f"tracking.uri={WHOLE}")
    with pytest.raises(ConfigError, match="set the environment variable UNLOCKED_TRACKING_URI") as refusal:
        RunFolder.open(path)
    assert "hunter" not in str(refusal.value)
    monkeypatch.setenv("UNLOCKED_TRACKING_URI", WHOLE)
    folder, config = RunFolder.open(path)
    folder.release()
    assert config.tracking.uri == WHOLE


@pytest.mark.parametrize(
    ("key", "address"),
    [
        ("tracking.uri", "http://attacker.example:5000"),
        ("tracking.uri", "sqlite:////home/ann/mine.db"),
        ("tracking.mirror", "s3://attacker/loot"),
    ],
)
def test_an_address_in_a_run_folder_from_elsewhere_is_followed_only_if_the_user_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, address: str
):
    monkeypatch.setenv("HOME", str(tmp_path / "theirs"))
    path = run_of(tmp_path, f"{key}={address}")
    monkeypatch.setenv("HOME", str(tmp_path / "mine"))
    variable = f"UNLOCKED_{key.upper().replace('.', '_')}"
    with pytest.raises(ConfigError, match=f"from elsewhere.*{variable}"):
        RunFolder.open(path)
    monkeypatch.setenv(variable, address)
    RunFolder.open(path)[0].release()


def test_a_signature_is_of_one_run_and_its_addresses(tmp_path: Path):
    first, second = run_of(tmp_path, "tracking.uri=http://mine.example:5000"), run_of(tmp_path)
    config = (first / "config.yaml").read_text()
    (first / "config.yaml").write_text(config.replace("mine.example", "attacker.example"))
    with pytest.raises(ConfigError, match="would send to 'http://attacker"):
        RunFolder.open(first)
    (second / "config.yaml").write_text(config)
    shutil.copy(first / "tracking" / "addresses.json", second / "tracking")
    with pytest.raises(ConfigError, match="would send to 'http://mine"):
        RunFolder.open(second)


def test_a_run_from_elsewhere_that_sends_nowhere_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = run_of(tmp_path, "tracking.uri=off")
    monkeypatch.setenv("HOME", str(tmp_path / "mine"))
    RunFolder.open(path)[0].release()


def test_a_copy_holds_no_file_from_outside_the_run(tmp_path: Path):
    (tmp_path / "secret").write_text("key")
    run = run_of(tmp_path / "runs")
    (run / "figures").mkdir()
    (run / "figures" / "loot.png").symlink_to(tmp_path / "secret")
    (run / "checkpoints" / "step-00000010").mkdir(parents=True)
    (run / "checkpoints" / "step-00000010" / "model.safetensors").symlink_to(tmp_path / "secret")
    Mirror(f"file://{tmp_path}/store", run).push()
    assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file() and path.read_text() == "key"]
    assert (tmp_path / "store" / run.name / "config.yaml").exists()


def test_a_trial_that_goes_on_takes_its_password_from_its_study(tmp_path: Path):
    path = run_of(tmp_path, f"tracking.uri={WHOLE}", "tracking.mirror=s3://ann:hunter2222@bucket/runs")
    study = load_config("quickstart", [f"tracking.uri={WHOLE}", "tracking.mirror=s3://ann:hunter2222@bucket/runs"])
    folder, config = RunFolder.open(path, addresses=study.tracking)
    folder.release()
    assert (config.tracking.uri, config.tracking.mirror) == (study.tracking.uri, study.tracking.mirror)


def test_the_environment_fills_a_masked_address_wherever_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("UNLOCKED_TRACKING_URI", WHOLE)
    assert resolve_uri(SHOWN, tmp_path) == WHOLE
    with pytest.raises(ConfigError, match="names another address"):
        resolve_uri("http://***@elsewhere.example:5000", tmp_path)


def test_mlflows_own_variables_stand_for_the_login_of_a_web_address(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "hunter2222")
    assert unmask("tracking.uri", SHOWN) == "http://mlflow.example:5000"
    with pytest.raises(ConfigError, match="its password is not kept in files"):
        unmask("tracking.uri", "postgresql://***@db.example/runs")


def test_a_masked_mirror_is_refused_in_one_line():
    with pytest.raises(ConfigError, match="UNLOCKED_TRACKING_MIRROR"):
        Mirror.check("s3://***@bucket/runs")
