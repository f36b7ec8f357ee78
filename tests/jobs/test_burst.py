"""Fifty jobs at once on a real cluster that has room for four, while the keeper of the queue is killed."""

from __future__ import annotations

import json

import pytest

# In a process of its own: a test's may hold another Ray. What it sees goes to a file, after every look.
BURST = """
import json, os, signal, time
from pathlib import Path
from ray.util.state import list_actors
from unlocked.jobs.client import KEEPER, Cluster
from unlocked.jobs.spec import Spec
from unlocked.jobs.submit import put

cluster, looks, killed = Cluster(), [], []
for number in range(50):
    put(cluster, Spec(f"burst-{number:02}", "train", ["--version"], {"CPU": 2.0}, {"CPU": 0.0}), {})
while not looks or any(state in ("waiting", "starting", "running") for _, state, *_ in looks[-1]):
    looks.append([(job.id, job.state, job.position, job.started) for job in cluster.jobs() if "burst-" in job.id])
    Path("looks.json").write_text(json.dumps({"looks": looks, "killed": killed}))
    done = sum(state == "succeeded" for _, state, *_ in looks[-1])
    if done >= 10 * (len(killed) + 1) and len(killed) < 3:
        (actor,) = list_actors(filters=[("name", "=", KEEPER), ("state", "!=", "DEAD")], detail=True)
        if actor.pid and actor.pid not in killed:
            os.kill(actor.pid, signal.SIGKILL)
            killed.append(actor.pid)
    time.sleep(0.5)
"""


@pytest.mark.slow("fifty jobs")
@pytest.mark.ray
@pytest.mark.timeout(900)
def test_fifty_jobs_run_in_order_four_at_once_and_none_is_lost_though_the_keeper_is_killed(shell):
    done = shell.python(BURST)
    assert done.returncode == 0, done.stderr[-4000:]
    seen = json.loads((shell.project / "looks.json").read_text())
    assert len(seen["killed"]) == 3
    names = [f"burst-{number:02}" for number in range(50)]
    for look in seen["looks"]:
        assert [name for name, *_ in look] == names  # none lost, none twice, in the order of their submission
        states = [state for _, state, *_ in look]
        assert sum(state in ("starting", "running") for state in states) <= 4
        begun = next((i for i, state in enumerate(states) if state == "waiting"), 50)
        assert set(states[begun:]) <= {"waiting"}  # nobody overtakes
        assert [position for _, _, position, _ in look[begun:]] == list(range(1, 51 - begun))
    last = seen["looks"][-1]
    assert {state for _, state, *_ in last} == {"succeeded"}
    starts = [started for *_, started in last]
    assert starts == sorted(starts)
