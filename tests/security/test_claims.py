"""Configurations and names of other people run no code, read no secrets and stay in their folders.

Malicious checkpoints: tests/engine/test_checkpoint.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from unlocked.config import load_config
from unlocked.errors import ConfigError
from unlocked.security import is_loopback, refuse_name


@pytest.mark.parametrize(
    "value",
    ["${oc.env:SECRET}", "${oc.env:SECRET,x}", "${oc.decode:${oc.env:SECRET}}", "a-${oc.env:SECRET}", "${now:%Y}"],
)
def test_a_configuration_cannot_read_the_environment(tmp_path, monkeypatch, value):
    monkeypatch.setenv("SECRET", "hunter22")
    (tmp_path / "theirs.yaml").write_text(f"extends: quickstart\nname: '{value}'\n")
    with pytest.raises(ConfigError, match=r"name: .* calls a resolver") as caught:
        load_config(tmp_path / "theirs.yaml")
    assert "hunter22" not in str(caught.value)
    with pytest.raises(ConfigError, match="calls a resolver"):
        load_config("quickstart", [f"model.name={value}"])


@pytest.mark.parametrize("name", ["../evil", "a/b", "..", ".", "", " ", "a\\b", "a\0b", "a\nb"])
def test_a_name_that_could_leave_its_folder_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match=r"^key: .* is no name") as caught:
        refuse_name("key", name)
    assert "\n" not in str(caught.value)


def test_configurations_with_such_names_are_refused():
    for key in ("name", "tracking.experiment"):
        with pytest.raises(ConfigError, match=rf"^{key}: '\.\./evil' is no name"):
            load_config("quickstart", [f"{key}=../evil"])


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.mkdir [it_ran]", "!!python/name:os.system"])
def test_yaml_tags_build_no_objects(tmp_path, monkeypatch, tag):
    monkeypatch.chdir(tmp_path)
    Path("theirs.yaml").write_text(f"extends: quickstart\nname: {tag}\n")
    with pytest.raises(ConfigError, match=r"the tag .* is not known here"):
        load_config("theirs.yaml")
    assert not Path("it_ran").exists()


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("localhost", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.evil.example", False),
        ("", False),
    ],
)
def test_loopback_is_known_from_everything_else(host, own):
    assert is_loopback(host) is own
