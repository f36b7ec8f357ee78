"""A run over several nodes, by Ray's own multi-node test cluster: raylets of their own on this machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from unlocked.config import to_yaml
from unlocked.launch.cluster import bundles
from unlocked.runs.checkpoint import Checkpoints

RUN = ["scheme.name=cdni", "parallel.modules=4", "train.probe_every=0", "train.epochs=6", "parallel.max_failures=3"]

# In a process of its own: this one may hold a Ray already. Its findings go to a file: Ray writes to stdout as well.
DRIVER = """
import json, os, signal, sys, threading, time
os.environ["RAY_AUTH_MODE"] = "token"
import ray
from pathlib import Path
from ray.cluster_utils import Cluster
from unlocked.config import load_config
from unlocked.runs.checkpoint import Checkpoints
from unlocked.loop.train import Silent, train

config, runs, kill = sys.argv[1], Path(sys.argv[2]), sys.argv[3] == "kill"
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 80 * 2**20})
nodes = [cluster.add_node(num_cpus=3, object_store_memory=80 * 2**20) for _ in range(3)]
cluster.wait_for_nodes()
seen = []

class Watcher(Silent):
    def __init__(self):
        self.notes = []

    def started(self, plan, run_dir, step):
        seen.append(sorted(places()))

    def note(self, text):
        self.notes.append(text)

def places():
    return [row["Address"]["NodeID"] for row in ray._private.state.actors().values()
            if row["ActorClassName"] == "Worker" and row["State"] == "ALIVE"]

def lose_a_node():
    while not (checkpoints := [Checkpoints(run).last() for run in runs.glob("*")]) or checkpoints[0] is None:
        time.sleep(0.01)
    victim = next(node for node in nodes if node.node_id in places())
    for process in victim.all_processes["raylet"]:
        os.kill(process.process.pid, signal.SIGKILL)

killer = threading.Thread(target=lose_a_node, daemon=True)
if kill:
    killer.start()
watcher = Watcher()
summary = train(load_config(config, [f"parallel.address={cluster.address}"]), reporter=watcher)
Path("found.json").write_text(json.dumps({"summary": summary, "notes": watcher.notes, "nodes": seen}))
ray.shutdown()  # a cluster does not end a node that its driver is on
cluster.shutdown()
"""


def run_on_three_nodes(small, tmp_path, mode, *overrides):
    (tmp_path / "nodes.yaml").write_text(to_yaml(small(*RUN, *overrides)))
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, "nodes.yaml", str(tmp_path / "runs"), mode],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads((tmp_path / "found.json").read_text())


def weights(summary):
    last = Checkpoints(Path(summary["run_dir"])).last()
    assert last is not None
    return load_file(last / "model.safetensors")


@pytest.mark.slow("four nodes start, one is killed")
@pytest.mark.live
@pytest.mark.ray
@pytest.mark.timeout(300)
def test_a_node_that_is_killed_in_the_middle_changes_no_number(small, tmp_path, unbroken):
    found = run_on_three_nodes(small, tmp_path, "kill", "parallel.place=spread")
    assert found["summary"]["restarts"] >= 1
    assert "restart 1 of 3 from step-" in found["notes"][0]
    before, after = found["nodes"][0], found["nodes"][-1]
    assert len(before) == len(after) == 4  # a worker for each module
    assert len(set(before)) == 3  # over all nodes
    assert len(set(after)) == 2  # on what is left
    expected, got = unbroken(*RUN), weights(found["summary"])
    for name, weight in expected.items():
        torch.testing.assert_close(got[name], weight, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("place", "reserved", "places", "strategy"),
    [
        ("pack", [{"CPU": 1.0}] * 4, [0, 1, 2, 3], "PACK"),
        ("spread", [{"CPU": 1.0}] * 4, [0, 1, 2, 3], "SPREAD"),
        ("replicas", [{"CPU": 2.0}] * 2, [0, 1, 0, 1], "SPREAD"),
    ],
)
def test_a_placement_reserves_a_worker_each_or_all_of_a_replica_on_one_node(lab, place, reserved, places, strategy):
    plan = lab.plan(
        model={"name": "mlp", "hidden": [8, 8]},
        parallel={"modules": 2, "replicas": 2, "place": place, "engine": "ray"},
    )
    assert bundles(plan, {"CPU": 1.0}) == (reserved, places, strategy)
