"""Two hosts by network namespaces: a head node and a worker node that have nothing in common but a link."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from unlocked.config import to_yaml
from unlocked.runs.checkpoint import Checkpoints

RUN = ["scheme.name=cdni", "parallel.modules=2", "train.probe_every=0", "train.epochs=40", "parallel.timeout=20"]
CUT = 30  # seconds


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)


@dataclass
class Hosts:
    home: Path
    gcs: str
    names: tuple[str, str]

    def link(self, state: str) -> None:
        ip("-n", self.names[0], "link", "set", "veth0", state)

    def start(self, host: int, *words: str, cwd: Path) -> subprocess.Popen[str]:
        """`python -m ...` on one of them, in a session of its own."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        environment |= {"HOME": str(self.home), "OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "token"}
        return subprocess.Popen(
            ["ip", "netns", "exec", self.names[host], sys.executable, "-m", *words],
            cwd=cwd,
            env=environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """10.203.0.1 with a head node and 10.203.0.2 with a worker node, one CPU each."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need root and iproute2")
    names = (f"unlocked-a{os.getpid()}", f"unlocked-b{os.getpid()}")
    home = Path(tempfile.mkdtemp(prefix="n", dir="/tmp"))  # Ray's sockets need a short path
    found, node = Hosts(home, "", names), None
    try:
        try:
            for name in names:
                ip("netns", "add", name)
            ip("link", "add", "veth0", "netns", names[0], "type", "veth", "peer", "name", "veth1", "netns", names[1])
        except subprocess.CalledProcessError as error:
            pytest.skip(f"this machine lets nobody make network namespaces: {error.stderr!r}")
        for i, name in enumerate(names):
            ip("-n", name, "addr", "add", f"10.203.0.{i + 1}/24", "dev", f"veth{i}")
            for device in ("lo", f"veth{i}"):
                ip("-n", name, "link", "set", device, "up")
        up = found.start(0, "unlocked", "cluster", "up", "--host", "10.203.0.1", "--cpus", "1", "--json", cwd=home)
        words = up.communicate(timeout=200)
        assert up.returncode == 0, words
        found.gcs = json.loads((home / ".unlocked" / "cluster.json").read_text())["gcs"]
        node = found.start(
            1,
            "ray.scripts.scripts",
            "start",
            f"--address={found.gcs}",
            "--block",
            "--num-cpus=1",
            "--node-ip-address=10.203.0.2",
            "--disable-usage-stats",
            "--object-store-memory=80000000",
            f"--temp-dir={home / 'ray'}",
            cwd=home,
        )
        yield found
    finally:
        if node is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(node.pid, signal.SIGTERM)
            node.communicate(timeout=60)
        if (home / ".unlocked" / "cluster.json").exists():
            found.start(0, "unlocked", "cluster", "down", cwd=home).communicate(timeout=100)
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.slow("a link is cut for 30 seconds")
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_link_that_is_cut_for_30_seconds_changes_no_number(hosts, small, tmp_path, unbroken):
    """Or, where Ray has given the other host up by then, ends the run in one line, and its checkpoints can be read."""
    (tmp_path / "hosts.yaml").write_text(
        to_yaml(small(*RUN, "parallel.place=spread", "parallel.max_failures=5", f"parallel.address={hosts.gcs}"))
    )
    driver = hosts.start(0, "unlocked", "train", "hosts.yaml", "--quiet", cwd=tmp_path)
    runs = tmp_path / "runs"
    while not any(Checkpoints(run).last() for run in runs.glob("*")):
        assert driver.poll() is None, driver.communicate()
        time.sleep(0.01)
    (run,) = runs.glob("*")
    hosts.link("down")
    time.sleep(CUT)
    hosts.link("up")
    _, said = driver.communicate(timeout=300)  # it never hangs
    last = Checkpoints(run).last()
    assert last is not None
    weights = load_file(last / "model.safetensors")
    if driver.returncode:
        assert driver.returncode == 1
        assert said.strip().count("\n") == 0, said
        return
    assert json.loads((run / "summary.json").read_text())["restarts"] >= 1
    for name, weight in unbroken(*RUN).items():
        torch.testing.assert_close(weights[name], weight, rtol=0, atol=0)
