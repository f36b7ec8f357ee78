"""How a cluster on this machine is started, without starting it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from unlocked.jobs import local
from unlocked.launch.private_ray import LOOPBACK
from unlocked.processes import RAY_FOLDER


@pytest.fixture
def start(monkeypatch, tmp_path):
    """`start(host)`: the commands and environments of a head and a second node at `host`, and the cluster."""
    begun = []

    class Node:
        pid = 1

        def __init__(self, command, env, **_):
            begun.append((command, env))

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(subprocess, "Popen", Node)
    monkeypatch.setattr(local, "_wait", lambda *_, **__: None)
    folders = []

    def run(host):
        found = local.up(workers=1, cpus=1, host=host, port=local.free_port())
        folders.append(Path(found.folder))
        return begun, found

    yield run
    for folder in folders:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def test_a_cluster_on_loopback_keeps_to_it_and_to_a_folder_of_its_users(start):
    nodes, found = start("127.0.0.1")
    assert found.gcs.startswith("127.0.0.1:")
    for number, (command, environment) in enumerate(nodes):
        assert "unlocked.jobs.node" in command  # Ray's own would replace the address by the machine's
        assert "--node-ip-address=127.0.0.1" in command
        assert f"--temp-dir={found.folder}/{number}" in command  # what Ray opens to everybody is inside
        assert environment.items() >= LOOPBACK.items()
        assert environment[RAY_FOLDER] == found.folder
    assert Path(found.folder).stat().st_mode & 0o077 == 0


def test_a_cluster_beyond_loopback_is_known_under_that_address(start, monkeypatch):
    monkeypatch.setattr(local, "_node_ip", lambda host: "192.0.2.7")
    monkeypatch.setattr(local, "free_port", lambda host="": 4242)
    nodes, found = start("0.0.0.0")
    assert found.gcs == "192.0.2.7:4242"
    for command, environment in nodes:
        assert "ray.scripts.scripts" in command
        assert not environment.items() >= LOOPBACK.items()
        assert environment["RAY_enable_metrics_collection"] == "0"  # its port would ask nobody for a token
