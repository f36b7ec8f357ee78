"""One private Ray for the whole session, driver processes that cannot outlive a test, and small runs."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from unlocked.config import Config, load_config
from unlocked.launch.ray_group import RayGroup
from unlocked.launch.worker import Worker
from unlocked.loop.train import train
from unlocked.runs.checkpoint import Checkpoints

SMALL = [
    "model.hidden=[24,20,16,12]",
    "model.norm=batch",
    "model.dropout=0.2",
    "scheme.sg.hidden=[16]",
    "data.batch_size=32",
    "parallel.partition=null",
    "parallel.threads=1",
    "parallel.timeout=60",
    "tracking.uri=off",
    "tracking.figures=false",
]


def descendants(pid: int, named: str = "") -> list[int]:
    """Processes below `pid` whose command line holds `named`, from /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], list(children.get(pid, []))
    while waiting:
        child = waiting.pop()
        waiting += children.get(child, [])
        with contextlib.suppress(OSError):
            if named in Path(f"/proc/{child}/cmdline").read_bytes().decode(errors="replace"):
                found.append(child)
    return found


def marked(mark: str) -> list[int]:
    """Processes that were started with `mark` in their environment, whoever is their parent now."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def alive(pids: list[int]) -> list[int]:
    """Those of `pids` that still run; a zombie does not."""
    running = []
    for pid in pids:
        with contextlib.suppress(OSError, IndexError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                running.append(pid)
    return running


def commands(pid: int) -> str:
    with contextlib.suppress(OSError):
        return re.sub(rb"\0+", b" ", Path(f"/proc/{pid}/cmdline").read_bytes()).decode()[:80]
    return "?"


def shared_memory(pids: list[int]) -> set[str]:
    """Files of /dev/shm that these processes hold and that still have a name."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
                if "/dev/shm/" in line and not line.endswith("(deleted)"):
                    found.add(line[line.index("/dev/shm/") :])
    return found


def until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait for `condition`; fail the test, saying `what` did not happen, after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what}")
        time.sleep(0.01)


@pytest.fixture(scope="session")
def processes() -> type:
    """`descendants`, `marked`, `alive`, `until`, `shared_memory`: what the tests ask of the process table."""

    class Processes:
        pass

    Processes.descendants = staticmethod(descendants)  # type: ignore[attr-defined]
    Processes.marked = staticmethod(marked)  # type: ignore[attr-defined]
    Processes.alive = staticmethod(alive)  # type: ignore[attr-defined]
    Processes.until = staticmethod(until)  # type: ignore[attr-defined]
    Processes.shared_memory = staticmethod(shared_memory)  # type: ignore[attr-defined]
    return Processes


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """A Ray of our own with eight logical CPUs; every `RayGroup` of the session reuses it."""
    import ray

    ray.shutdown()  # of a test elsewhere, with fewer CPUs
    ray.init(
        address="local",
        num_cpus=8,
        include_dashboard=False,
        logging_level="ERROR",
        log_to_driver=False,
        object_store_memory=256 * 2**20,
    )
    started = descendants(os.getpid(), "ray")
    yield
    ray.shutdown()
    time.sleep(0.5)
    for pid in alive(started):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def warm(cluster: None) -> type[RayGroup]:
    """A `RayGroup` over four actors that stay: a worker's imports take seconds, joining a group does not."""
    import ray

    def actor() -> Any:
        return ray.remote(Worker).options(num_cpus=1).remote(os.getcwd(), sys.path, [], 1)

    actors = [actor() for _ in range(4)]

    def leave(worker: Worker) -> None:
        import torch.distributed as dist

        if dist.is_initialized():
            dist.destroy_process_group()
        worker._store = worker._together = None
        worker._modules = []  # they hold their links

    def wake(worker: Worker) -> None:
        import torch._dynamo  # noqa: F401  # optimisers import it, while the others wait for parallel.timeout

    class WarmGroup(RayGroup):
        pool = actors

        def _start_workers(self, bundle: dict[str, float], imports: Sequence[str]) -> None:
            self._workers = actors[: self.plan.workers]
            ray.get([worker.__ray_call__.remote(wake) for worker in self._workers])

        def close(self) -> None:
            for rank, left in enumerate([worker.__ray_call__.remote(leave) for worker in self._workers]):
                try:
                    ray.get(left)
                except ray.exceptions.ActorDiedError:  # a test killed it
                    actors[rank] = actor()

    return WarmGroup


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., Config]:
    """A configuration on digits that runs 45 steps an epoch, with batch norm and dropout."""

    def make(*overrides: str) -> Config:
        return load_config("quickstart", [*SMALL, f"tracking.runs={tmp_path / 'runs'}", *overrides])

    return make


@pytest.fixture
def last_weights() -> Callable[[Path], dict[str, torch.Tensor]]:
    def read(run_dir: Path) -> dict[str, torch.Tensor]:
        last = Checkpoints(run_dir).last()
        assert last is not None
        return load_file(last / "model.safetensors")

    return read


@pytest.fixture
def unbroken(
    small: Callable[..., Config], tmp_path: Path, last_weights: Callable[[Path], dict[str, torch.Tensor]]
) -> Callable[..., dict[str, torch.Tensor]]:
    """The last weights of a run of `overrides` that nothing disturbs, in process."""

    def run(*overrides: str) -> dict[str, torch.Tensor]:
        summary = train(small(*overrides, f"tracking.runs={tmp_path / 'unbroken'}", "parallel.engine=inprocess"))
        return last_weights(Path(summary["run_dir"]))

    return run


class Driver:
    """`python -m unlocked train ...` in a process of its own, with a folder of its own for temporary files."""

    def __init__(self, overrides: list[str], cwd: Path, start: bool = True):
        self.cwd = cwd
        self.temporary = Path(tempfile.mkdtemp(prefix="u", dir="/tmp"))  # Ray's sockets need a short path
        self.mark = f"UNLOCKED_TEST_RUN={self.temporary.name}"  # in the environment of all that it starts
        self.environment = os.environ | {"TMPDIR": str(self.temporary), "UNLOCKED_TEST_RUN": self.temporary.name}
        self.below: list[int] = []
        self.holding: list[int] = []  # of those, the ones that hold memory, devices and ports of the run
        self.named: set[str] = set()  # files of shared memory that they hold
        self.process: Any = None
        if start:
            command = [sys.executable, "-m", "unlocked", "train", "quickstart", *SMALL, *overrides, "--quiet"]
            self.process = subprocess.Popen(
                command,
                cwd=cwd,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                env=self.environment,
            )

    def run_dir(self) -> Path | None:
        found = sorted((self.cwd / "runs").glob("*/config.yaml"))
        return found[0].parent if found else None

    def wait_for(self, condition: Callable[[Path], object], seconds: float = 90.0) -> Path:
        """Until `condition(run_dir)` holds; the driver must not have ended before."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            run_dir = self.run_dir()
            if run_dir is not None and condition(run_dir):
                self.below = descendants(self.process.pid)
                agents = descendants(self.process.pid, "Agent")  # Ray's own notice after a minute
                self.holding = [pid for pid in self.below if pid not in agents]
                self.named = shared_memory(self.below)
                return run_dir
            time.sleep(0.005)
        self.end()
        out, err = self.process.communicate()
        pytest.fail(f"the driver did not come that far (exit code {self.process.returncode})\n{out}\n{err}")

    def leaves_nothing(self) -> None:
        """Asserts, when it has ended, that but for the run folder nothing is left of it: no process, no file."""
        until(lambda: not alive(marked(self.mark)), 5, f"the end of {[commands(pid) for pid in marked(self.mark)]}")
        left = [path.name for path in self.temporary.iterdir()]
        assert [name for name in left if not name.startswith("torchinductor_")] == []  # a cache of torch's, per user
        assert [path for path in self.named if Path(path).exists()] == []
        assert {path.name for path in self.cwd.iterdir()} <= {"runs", "data", "unbroken"}

    def signal(self, number: int) -> None:
        """To the driver and all of its terminal's processes, as Ctrl-C does."""
        os.killpg(self.process.pid, number)

    def end(self) -> None:
        below = [*self.below, *marked(self.mark)]
        if self.process is not None:
            below += descendants(self.process.pid)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        for pid in alive(below):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.temporary, ignore_errors=True)


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    """Start a driver in the test's folder; whatever is left of it is killed when the test ends."""
    started: list[Driver] = []

    def begin(*overrides: str, start: bool = True) -> Driver:
        """`start=False`: the folder and the environment alone, for a test that starts its own process."""
        started.append(Driver(list(overrides), tmp_path, start))
        return started[-1]

    yield begin
    for driver in started:
        driver.end()
        if driver.process is not None:
            driver.process.wait(timeout=20)
