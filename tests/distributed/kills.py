"""python kills.py CONFIG.yaml RUNS FOUND.json PLACE:VICTIM ...     (for test_kills)

Trains CONFIG in this process with a private Ray, or goes on with the run in RUNS, and kills each VICTIM at its PLACE of
the run: one after the other, each after another checkpoint. FOUND says at any time what was killed.
"""

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import psutil

from unlocked.config import load_config
from unlocked.launch import private_ray
from unlocked.launch.ray_group import RayGroup
from unlocked.loop.train import Silent, resume, train
from unlocked.runs.checkpoint import Checkpoints

PLACES = {
    "start": "_meet",
    "restore": "load_states",
    "segment": "_stats",
    "probe": "probe",
    "evaluation": "outputs",
    "checkpoint": "states",
}
AGAIN = ("prepare", "start", "restore")  # places of a group that begins at the checkpoint of the last kill
VICTIMS = {
    "raylet": "raylet",
    "store": "gcs_server",
    "agent": "ray::DashboardAgent",
    "environments": "ray::RuntimeEnvAgent",
    "writer": "unlocked.tracking.writer",
}


class Notes(Silent):
    def note(self, text: str) -> None:
        print(f"{time.monotonic() - begun:.1f} s: {text}", flush=True)


def processes(name: str) -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if any(word.endswith(name) for word in (process.name(), *process.cmdline()))
    ]


def kill(group: RayGroup, victim: str) -> None:
    """Returns when it is dead: a driver that asks a raylet in the instant of its death is ended by Ray as well."""
    if victim == "driver":
        os.kill(os.getpid(), signal.SIGKILL)
    found = (
        [psutil.Process(group._who[int(victim.removeprefix("worker"))].pid)]
        if victim.startswith("worker")
        else processes(VICTIMS[victim])
    )
    assert found, f"no {victim} runs"
    for process in found:
        process.kill()
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
            # the first of its threads is a zombie already while the last still holds its sockets
            while process.status() != psutil.STATUS_ZOMBIE or len(os.listdir(f"/proc/{process.pid}/task")) > 1:
                time.sleep(0.001)


def main(config: str, runs: Path, found: Path, todo: list[str]) -> None:
    place, taken, killed = ["prepare"], -1, list[str]()
    inside = RayGroup._get

    def get(group: RayGroup, refs: list) -> list:
        nonlocal taken
        last = next((Checkpoints(path).last() for path in runs.glob("*-s0-*")), None)
        step = int(last.name.removeprefix("step-")) if last else -1
        where, _, victim = todo[0].partition(":") if todo else ("", "", "")
        if where == place[-1] and (step > taken or where in AGAIN) and (group._who or not victim.startswith("worker")):
            taken = step
            killed.append(todo.pop(0))
            found.write_text(json.dumps({"killed": killed}))
            print(f"{time.monotonic() - begun:.1f} s: kill {killed[-1]} after step {step}", flush=True)
            kill(group, victim)
        return inside(group, refs)

    def at(name: str, method):
        def told(self, *arguments):
            place.append(name)
            try:
                return method(self, *arguments)
            finally:
                place.pop()

        return told

    RayGroup._get = get  # type: ignore[method-assign]
    for name, method in PLACES.items():
        setattr(RayGroup, method, at(name, getattr(RayGroup, method)))
    begun_before = next(runs.glob("*-s0-*"), None)
    summary = resume(begun_before, reporter=Notes()) if begun_before else train(load_config(config), reporter=Notes())
    private_ray.end()
    found.write_text(json.dumps({"killed": killed, "restarts": summary["restarts"], "run": summary["run_dir"]}))


if __name__ == "__main__":
    begun = time.monotonic()
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
