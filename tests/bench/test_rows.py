"""Rows in files against rows in memory: the same losses, and files that are gone in the end."""

from __future__ import annotations

import json
import shutil

import pytest

from unlocked.bench.measured import measure as shared
from unlocked.bench.measured import rows
from unlocked.bench.rows_report import rows_json, rows_lines, rows_table
from unlocked.cli.main import main
from unlocked.errors import ConfigError, RunFailed

LEAST = 10 * rows.BATCH * rows.ROW


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(rows, "STEPS", 2)
    monkeypatch.setattr(shared, "SPOILT", 2.0)


def test_files_hold_all_rows_the_first_are_held_and_all_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "SHARD", LEAST)
    result = rows.measure(2 * LEAST, LEAST, 1, 0.001, hidden=(8,), folder=tmp_path)
    assert (result.rows, result.size, result.held) == (1280, 2 * LEAST, LEAST)
    assert set(result.rates) == {"memory", "mapped", "all"}
    assert set(result.ratios) == set(result.cpu) == {"mapped", "all"}
    assert list(tmp_path.iterdir()) == []
    assert json.loads(json.dumps(rows_json(result)))["bytes"] == 2 * LEAST
    assert rows_table(result).row_count == 3
    assert "memory of the process" in rows_lines(result)[1]


def test_other_losses_are_no_measurement(tmp_path, monkeypatch):
    taken = rows.Contender.train

    def train(self, steps):
        taken(self, steps)
        self.losses[-1] = id(self)

    monkeypatch.setattr(rows.Contender, "train", train)
    with pytest.raises(RunFailed, match="gave other losses"):
        rows.measure(LEAST, LEAST, 1, 0.001, hidden=(8,), folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_the_disk_cannot_hold_is_refused_before_anything_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 5, 4))
    with pytest.raises(ConfigError, match=r"--gigabytes: 10 GB do not fit into .*--folder names another"):
        rows.measure(10**10, LEAST, folder=tmp_path)
    assert main(["bench", "data", "--gigabytes", "0.0011"]) == 2
    assert "--gigabytes: at least 0.008" in capsys.readouterr().err
