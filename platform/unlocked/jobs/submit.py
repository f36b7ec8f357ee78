"""What a user does with jobs: submit, follow, stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from unlocked.config import Config, from_tree, load_config
from unlocked.errors import ConfigError, RunFailed, UnlockedError
from unlocked.jobs.along import along
from unlocked.jobs.client import KEEPER, LOOK, Cluster
from unlocked.jobs.pack import pack
from unlocked.jobs.spec import (
    STOPPING,
    TICKET,
    Resources,
    Spec,
    new_id,
    refuse_secrets,
    sweep_needs,
    train_needs,
)
from unlocked.jobs.table import LIVE, WAITING, Job, ticket_id
from unlocked.runs.folder import read_config
from unlocked.runs.longer import with_more_epochs
from unlocked.runs.mirror import is_address, mirrored_config
from unlocked.runs.needs import VARIABLE as NEEDS
from unlocked.runs.needs import Needs, began_in, bring
from unlocked.security import is_loopback

ARRIVING = 120.0  # seconds in which a ticket's own process must have ended


def submit(
    cluster: Cluster,
    kind: str,
    config: str | None,
    overrides: Sequence[str] = (),
    *,
    resume: str | None = None,
    imports: Sequence[str] = (),
    name: str | None = None,
    gpus: float | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Spec:
    """Queues `unlocked train` or `sweep` on the cluster; returns what was queued.

    The configuration is checked here first; the project - the working directory - is packed and sent along. Relative
    paths of runs and data mean this machine's if the cluster is on it, and are refused if it is not.
    `imports`: the full names of imported modules, which travel with what they import from beside them. A run that is
    gone on with brings its own, and the project it was begun in.
    Raises `ConfigError` before anything is sent, `UnlockedError` if the cluster does not take it.
    """
    project, here = Path.cwd(), _is_here(cluster)
    if resume is not None:
        run = resume if is_address(resume) else os.path.abspath(resume)
        if not is_address(run):
            imports = bring(Path(run), imports)
            project = began_in(Path(run)) or project
        tree = mirrored_config(run) if is_address(run) else read_config(Path(run))
        checked, words = from_tree(tree), ["train", "--resume", run, *overrides]
        if overrides:
            with_more_epochs(checked, overrides, run)
    else:
        assert config is not None
        checked = load_config(config, overrides)
        refuse_secrets(checked, overrides)
        places = _places(checked, here)
        words = [kind, config, *overrides, *places]
        if kind == "sweep":
            from unlocked.studies.check import check_study
            from unlocked.studies.space import Space

            for warning in check_study(checked, Space(checked)).warnings:
                say(warning)
    modules = along(project, imports)
    words += [word for module in modules.words for word in ("--import", module)]
    capacity = cluster.capacity()
    needs, driver = _needs(kind, checked, gpus, capacity)
    spec = Spec(new_id(name or checked.name), kind, words, needs, driver)
    with tempfile.TemporaryDirectory() as folder:
        package = pack(project, Path(folder), [project / checked.tracking.runs], modules.files)
        if config is not None and not here:
            _refuse_unpacked(config, project, package.files)
            _refuse_left_behind(checked, package.files)
        elif config is not None and not _travels(config, project, package.files):  # it is read where it is
            spec = replace(spec, words=[kind, str(Path(config).absolute()), *words[2:]])
        if package.left_out:
            say(f"left out: {', '.join(package.left_out[:5])}{' ...' if len(package.left_out) > 5 else ''}")
        env: dict[str, Any] = {"working_dir": str(package.path)} if package.files else {}
        if here:  # the job's own folder is a copy that goes with it
            env["env_vars"] = {NEEDS: Needs(str(project), Needs.here(imports).imports).words()}
        put(cluster, spec, env)
    return spec


def _is_here(cluster: Cluster) -> bool:
    """Whether the cluster runs on this machine, as far as its address says."""
    return is_loopback(urlsplit(cluster.address).hostname or "")


def put(cluster: Cluster, spec: Spec, env: dict[str, Any]) -> None:
    """At the end of the queue; `env` is Ray's runtime environment of the job."""
    with cluster.readable():
        cluster.client.submit_job(
            entrypoint="true", submission_id=ticket_id(spec.id), runtime_env=env, metadata=spec.metadata(TICKET)
        )
    if not cluster.has_keeper():
        _start_keeper(cluster, {key: value for key, value in env.items() if key != "env_vars"})


def _needs(kind: str, config: Config, gpus: float | None, capacity: Resources) -> tuple[Resources, Resources]:
    if gpus is not None and not (gpus >= 0 and math.isfinite(gpus)):
        raise ConfigError(f"--gpus: must be a number of at least 0, got {gpus:g}")
    if gpus is not None and gpus > 0 and config.parallel.device == "cpu":
        raise ConfigError("--gpus: the configuration says parallel.device=cpu")
    count = sweep_needs if kind == "sweep" else train_needs
    return count(config, gpus, capacity.get("GPU", 0.0))


def _places(config: Config, here: bool) -> list[str]:
    """Overrides that make relative paths mean the same in the job, which runs in a folder of its own."""
    if not here:
        if not Path(config.tracking.runs).is_absolute() and "://" not in config.tracking.runs:
            raise ConfigError(
                f"tracking.runs: {config.tracking.runs!r} is a folder of this machine; say where the "
                "cluster keeps runs: tracking.runs=/mnt/shared/runs"
            )
        return []
    if config.data.root is not None and not Path(config.data.root).is_dir():
        raise ConfigError(f"data.root: {config.data.root} is no folder")
    places = [f"tracking.runs={Path(config.tracking.runs).absolute()}"]
    places += [f"{key}={json.dumps(str(path.absolute()))}" for key, path in _paths(config)]
    data = Path(config.data.root or os.environ.get("UNLOCKED_DATA", "data")).absolute()
    return [*places, f"data.root={data}"] if data.is_dir() else places


def _paths(config: Config) -> Iterator[tuple[str, Path]]:
    """Keys beside the folders of data and runs that name something of this machine: another run, a file of the data."""
    if config.transfer.run is not None and os.path.isdir(config.transfer.run):
        yield "transfer.run", Path(config.transfer.run)
    for part, run in config.transfer.parts.items():
        if os.path.isdir(run):
            yield f"transfer.parts.{part}", Path(run)
    for key in ("file", "vectors"):
        value = getattr(config.transfer, key)
        if value is not None and os.path.exists(value):
            yield f"transfer.{key}", Path(value)
    for name, value in config.data.options.items():
        if isinstance(value, str) and ("." in value or os.sep in value) and os.path.isfile(value):
            yield f"data.options.{name}", Path(value)


def _refuse_left_behind(config: Config, files: Sequence[str]) -> None:
    """Relative paths lead into the archive on another machine."""
    for key, path in _paths(config):
        if not path.is_absolute() and os.path.normpath(path) not in files:
            raise ConfigError(
                f"{key}: {path} does not travel with the project; put it where the nodes have it, and "
                "give that path, or have git keep it"
            )


def _travels(config: str, project: Path, files: Sequence[str]) -> bool:
    """Whether the job finds a configuration under this name in its own folder, or as a preset."""
    path = Path(config)
    if path.suffix not in (".yaml", ".yml"):
        return True
    inside = path.resolve().is_relative_to(project.resolve())
    return not path.is_absolute() and inside and path.as_posix().removeprefix("./") in files


def _refuse_unpacked(config: str, project: Path, files: Sequence[str]) -> None:
    if not _travels(config, project, files):
        raise ConfigError(
            f"config: {config} does not travel with the project {project}: give its path in there, and "
            "see that .gitignore keeps it"
        )


def _start_keeper(cluster: Cluster, env: dict[str, str]) -> None:
    """By a job of its own: an HTTP address is all that a submitter needs to know."""
    job = f"{KEEPER}-{os.urandom(3).hex()}"
    with cluster.readable():
        cluster.client.submit_job(entrypoint="exec python -m unlocked.jobs.keeper", submission_id=job, runtime_env=env)
        status = cluster.wait(job, ARRIVING)
        if status is None:
            raise UnlockedError(
                f"the cluster did not start the queue's keeper within {ARRIVING:.0f} s; the job is "
                "queued, and the next submit tries again"
            )
        if status != "SUCCEEDED":
            log = [line for line in cluster.client.get_job_logs(job).splitlines() if line.strip()]
            raise UnlockedError(
                f"the queue's keeper could not start (is unlocked installed on the cluster?): "
                f"{log[-1] if log else status}"
            )


def follow(cluster: Cluster, job_id: str, write: Callable[[str], object], say: Callable[[str], object]) -> Job:
    """Tells a job's place in the queue, then writes its log as it comes; returns the job once it has ended."""
    position: int | None = None
    while (job := cluster.job(job_id)).state == WAITING:
        if job.position != position:
            position = job.position
            say(f"{job_id} waits: number {position} in the queue")
        time.sleep(LOOK)

    async def tail() -> None:
        async for lines in cluster.client.tail_job_logs(job_id):
            write(lines)

    with cluster.readable():
        asyncio.run(tail())
    while (job := cluster.job(job_id)).state in LIVE:  # its state follows its last words
        time.sleep(LOOK)
    return job


def stop(cluster: Cluster, job_id: str, say: Callable[[str], object]) -> Job:
    """Takes a waiting job out of the queue, or has a running one save itself and stop; returns it as it then is.

    Raises `RunFailed` if it did not end in time.
    """
    job = cluster.job(job_id)
    if job.state == WAITING:
        _remove_ticket(cluster, job_id)
        time.sleep(2 * LOOK)  # a keeper that had just looked submits it now, and takes it back
        if not any(other.id == job_id for other in cluster.jobs()):
            return job
    deadline = time.monotonic() + STOPPING + 30
    asked = None
    while (job := cluster.job(job_id)).state in LIVE:
        if job.state != asked:  # Ray forgets a wish for a job that has not begun
            asked = job.state
            with cluster.readable():
                cluster.client.stop_job(job_id)
            say(f"{job_id} is asked to save itself and stop (at most {STOPPING} s)")
        if time.monotonic() > deadline:
            raise RunFailed(f"{job_id} did not stop within {STOPPING + 30} s")
        time.sleep(LOOK)
    return job


def _remove_ticket(cluster: Cluster, job_id: str) -> None:
    if cluster.wait(ticket_id(job_id), ARRIVING) is None:
        raise UnlockedError(f"{job_id}: its ticket did not arrive within {ARRIVING:.0f} s")
    with cluster.readable():
        cluster.client.delete_job(ticket_id(job_id))


def how_to_go_on(cluster: Cluster, job_id: str) -> str | None:
    """The command that the last words of a stopped run or study name, as a job."""
    log = ""
    with contextlib.suppress(UnlockedError), cluster.readable():
        log = cluster.client.get_job_logs(job_id)
    spec = cluster.job(job_id).spec
    if spec.kind == "sweep" and not _is_here(cluster):  # the study lies where this machine may not see it
        return f"unlocked submit {shlex.join(spec.words)}"
    _, found, rest = log.rpartition("go on with: unlocked ")
    return f"unlocked submit {rest.splitlines()[0].strip()}" if found and rest.strip() else None
