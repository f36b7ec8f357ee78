"""A cluster of this machine's own: a head and three worker nodes, with a token, a home and a folder of their own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 400  # seconds for one command: a busy machine starts a Python process slowly


class Shell:
    """`unlocked ...` in processes of their own, as a user of the cluster calls it."""

    def __init__(self, home: Path, project: Path, unlocked: list[str]):
        self.home, self.project, self.unlocked = home, project, unlocked
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        self.environment |= {"HOME": str(home), "OMP_NUM_THREADS": "1", "COLUMNS": "160"}

    def __call__(self, *words: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self.unlocked, *words],
            cwd=self.project,
            text=True,
            check=False,
            env=self.environment | environment,
            capture_output=True,
            timeout=PATIENCE,
            stdin=subprocess.DEVNULL,
        )
        if check and done.returncode:
            pytest.fail(f"unlocked {' '.join(words)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def python(self, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=self.project,
            text=True,
            check=False,
            env=self.environment | environment,
            capture_output=True,
            timeout=PATIENCE,
        )

    def jobs(self) -> dict[str, dict[str, Any]]:
        return {job["id"]: job for job in json.loads(self("jobs", "--json").stdout.splitlines()[-1])}

    def until(self, condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"not within {seconds} s: {what}")
            time.sleep(0.5)


@pytest.fixture(scope="package")
def shell(warm_python: list[str]) -> Iterator[Shell]:
    """Inside a cluster with four nodes of two CPUs each."""
    root = Path(tempfile.mkdtemp(prefix="j", dir="/tmp"))  # Ray's sockets need a short path
    (root / "home").mkdir()
    (root / "project").mkdir()
    (root / "project" / "notes.txt").write_text("a project")
    found = Shell(root / "home", root / "project", [*warm_python, "-m", "unlocked"])
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    try:
        up = found("cluster", "up", "--cpus", "2", "--workers", "3", "--port", str(port), "--json")
        found.environment["RAY_API_SERVER_ADDRESS"] = json.loads(up.stdout.splitlines()[-1])["address"]
        yield found
    finally:
        record = root / "home" / ".unlocked" / "cluster.json"
        pids = [each["pid"] for each in json.loads(record.read_text())["processes"]] if record.exists() else []
        found("cluster", "down", check=False)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        shutil.rmtree(root, ignore_errors=True)
