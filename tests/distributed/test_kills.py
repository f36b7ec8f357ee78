"""Workers killed at every place of a run, and Ray beneath them: the same numbers, each point once, nothing left behind.

(In one process: tests/engine/test_kills; one kill after which nobody goes on: test_leftovers.)
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from unlocked.config import to_yaml
from unlocked.loop.train import train
from unlocked.tracking import sync_leftovers

pytestmark = [pytest.mark.ray, pytest.mark.slow("kills at every place of a run"), pytest.mark.timeout(900)]

RUN = [
    "scheme.name=cdni",
    "parallel.modules=2",
    "train.epochs=12",
    "train.log_every=15",
    "data.validation=0.2",
    "parallel.max_failures=12",
    "tracking.uri=null",
]
NOT_NUMBERS = ("time/", "system/")  # what differs from one undisturbed run to the next


def points(runs):
    """All that MLflow has of the one run in `runs`: (key, step, value), without times."""
    with sqlite3.connect(runs / "mlflow.db") as database:
        assert database.execute("select status from runs").fetchall() == [("FINISHED",)]
        rows = database.execute("select key, step, value from metrics").fetchall()
    return sorted(row for row in rows if not row[0].startswith(NOT_NUMBERS))


@pytest.fixture
def kills(small, tmp_path, drive, processes, last_weights):
    """`kills(*todo)` trains and kills as `kills.py` does, again after each death of the driver; checks all there is."""

    def run(*todo):
        runs, found, left = tmp_path / "killed", tmp_path / "found.json", list(todo)
        (tmp_path / "kills.yaml").write_text(to_yaml(small(*RUN, f"tracking.runs={runs}")))
        place, before = drive(start=False), {str(path) for path in Path("/dev/shm").iterdir()}
        # its parent ends at once: Ray treats a process whose parent is number 1 unlike others
        command = [
            "sh",
            "-c",
            '"$@" &',
            "sh",
            sys.executable,
            str(Path(__file__).with_name("kills.py")),
            "kills.yaml",
            str(runs),
            str(found),
        ]
        report = {}
        while "run" not in report:
            done = subprocess.run(
                [*command, *left],
                cwd=tmp_path,
                env=place.environment,
                text=True,
                timeout=600,
                capture_output=True,
                check=False,
            )  # until nobody has its stdout or stderr any more
            assert found.exists(), f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            report = json.loads(found.read_text())
            found.unlink()
            assert "(raylet)" not in done.stdout
            if "run" not in report:
                assert "was ended, or Ray beneath it; go on with: unlocked train --resume " in done.stderr, done.stderr
            left = left[len(report["killed"]) :]
        assert left == [], done.stdout
        processes.until(lambda: not processes.alive(processes.marked(place.mark)), 30, "the end of all processes")
        assert list(place.temporary.glob("unlocked-*")) == []
        new = {str(path) for path in Path("/dev/shm").iterdir()} - before
        assert new <= processes.shared_memory([int(path.name) for path in Path("/proc").glob("[0-9]*")])  # of others

        undisturbed = tmp_path / "undisturbed"
        summary = train(small(*RUN, f"tracking.runs={undisturbed}", "parallel.engine=inprocess"))
        wanted, got = last_weights(Path(summary["run_dir"])), last_weights(Path(report["run"]))
        for name, weight in wanted.items():
            torch.testing.assert_close(got[name], weight, rtol=0, atol=0)
        for root in (runs, undisturbed):
            sync_leftovers(root, wait=120)
        assert points(runs) == points(undisturbed)
        return report

    return run


def test_workers_killed_at_every_place(kills):
    report = kills(
        "prepare:worker0",
        "segment:worker1",
        "restore:worker0",
        "probe:worker0",
        "probe:worker1",
        "evaluation:worker0",
        "checkpoint:worker1",
    )
    assert report["restarts"] == 7


def test_ray_itself_killed_at_every_place(kills):
    report = kills(
        "prepare:raylet",
        "start:store",
        "segment:raylet",
        "restore:store",
        "segment:store",
        "probe:raylet",
        "probe:store",
        "evaluation:raylet",
        "evaluation:store",
        "checkpoint:raylet",
        "checkpoint:store",
    )
    assert report["restarts"] == 11  # all by one driver


def test_agents_of_ray_and_writers_killed(kills):
    kills("segment:agent", "evaluation:environments", "segment:writer", "probe:writer", "checkpoint:writer")


def test_drivers_killed_at_every_place(kills):
    kills(
        "prepare:driver", "segment:driver", "restore:driver", "probe:driver", "evaluation:driver", "checkpoint:driver"
    )
