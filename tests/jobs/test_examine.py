"""What `unlocked doctor --address` makes of a report."""

from __future__ import annotations

import pytest

from unlocked.jobs.examine import PACKAGES, findings
from unlocked.tracking.tags import versions

MINE = {"python": "3.12.1", "torch": "2.13.0"}
NODE = {
    "ip": "10.0.0.1",
    "head": True,
    "resources": {"CPU": 4.0, "GPU": 1.0},
    "versions": dict(MINE),
    "storage": "",
    "tracking": "",
}
PAIR = {"backend": "gloo", "apart": True, "megabytes_per_second": 512.4}


def report(*nodes, pair=PAIR, runs="/mnt/runs", uri="http://mlflow:5000"):
    return {"nodes": list(nodes), "pair": pair, "runs": runs, "uri": uri}


def test_a_sound_cluster_is_sound_in_every_line():
    checks = findings(report(NODE, NODE | {"ip": "10.0.0.2", "head": False}), MINE)
    assert all(ok for _, ok, _ in checks)
    assert [name for name, _, _ in checks] == [
        "node 10.0.0.1 (head)",
        "node 10.0.0.2",
        "storage",
        "tracking",
        "collective",
    ]
    assert checks[0][2] == "4 CPU, 1 GPU; python 3.12.1, torch 2.13.0"
    assert "512 MB/s" in checks[-1][2]
    assert "two nodes" in checks[-1][2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"versions": {"python": "3.11.9", "torch": "2.13.0"}}, "python 3.11.9 (here 3.12.1)"),
        ({"versions": {"python": "3.12.1"}}, "torch missing (here 2.13.0)"),
        ({"storage": "/mnt/runs cannot be written: Read-only file system"}, "storage: /mnt/runs cannot be written"),
        ({"tracking": "nobody answers"}, "tracking: nobody answers"),
        ({"error": "does not answer: ray::_node() failed"}, "does not answer"),
    ],
)
def test_what_is_wrong_with_a_node_is_said_in_its_line(change, words):
    checks = findings(report(NODE, NODE | {"ip": "10.0.0.2", "head": False} | change), MINE)
    assert next(name for name, ok, _ in checks if not ok) == "node 10.0.0.2"
    assert words in checks[1][2]
    assert checks[0][1]


def test_what_was_not_asked_for_is_not_checked():
    names = [name for name, _, _ in findings(report(NODE, runs=None, uri=None), MINE)]
    assert names == ["node 10.0.0.1 (head)", "collective"]


def test_workers_that_cannot_talk_are_a_finding():
    (*_, last) = findings(report(NODE, pair={"error": "two workers cannot talk: timed out"}), MINE)
    assert last == ("collective", False, "two workers cannot talk: timed out")


def test_this_process_knows_its_own_versions():
    assert {"python", "torch", "ray"} <= versions(PACKAGES).keys()
