"""A run folder that is named in part."""

import os

import pytest

from unlocked.errors import ConfigError
from unlocked.runs.folder import read_config


def test_a_run_that_is_named_in_part_is_told_in_whole(tmp_path):
    for age, name in enumerate(["wine-dfa-s0-2", "wine-dfa-s0-1", "wine-cdni-s0-3"]):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("name: wine")
        os.utime(tmp_path / name / "config.yaml", (1000 - age, 1000 - age))
    (tmp_path / "wine-dfa-s0-9").mkdir()  # no run
    for begun in ("wine-dfa", "wine-dfa-..."):
        with pytest.raises(ConfigError, match=r"the newest run that begins so: .*/wine-dfa-s0-2$"):
            read_config(tmp_path / begun)
    with pytest.raises(ConfigError, match=r"can be read there\)$"):
        read_config(tmp_path / "beer")
