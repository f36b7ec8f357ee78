"""The keeper of the queue: a detached actor on the head node that starts waiting jobs in their order.

    python -m unlocked.jobs.keeper     inside a Ray job: makes sure that there is one

It remembers nothing: every second it reads Ray's table of jobs anew. So it can be killed at any moment; Ray starts it
again, and a job that was submitted twice is refused by Ray itself, by its id.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
import traceback
from typing import Any

from unlocked import __version__
from unlocked.jobs.client import KEEPER
from unlocked.jobs.spec import JOB, STOPPING, VARIABLE, Resources
from unlocked.jobs.table import LIVE, WAITING, Job, admitted, read_table, ticket_id

PERIOD = 1.0  # seconds
PINNED = 86_400  # seconds for which a waiting job's package is kept; Ray drops what nobody uses after ten minutes
PIN_AGAIN = 3_600


class Queue:
    """One look at the table, and the jobs that it lets start; `client` is Ray's, `pin` keeps a package."""

    def __init__(self, client: Any, pin: Any):
        self._client, self._pin = client, pin
        self._pinned: dict[str, float] = {}

    def step(self, capacity: Resources) -> tuple[list[str], Resources]:
        """Starts what has room; gives the ids, and how large the cluster would have to be for the next one as well."""
        jobs = read_table(self._client.list_jobs())
        for job in jobs:
            if job.state == WAITING:
                self._keep_package(job)
        started = [job.id for job in admitted(jobs, capacity) if self._start(job)]
        first = next((job for job in jobs if job.state == WAITING and job.id not in started), None)
        if first is None:
            return started, {}
        live = [job.spec.needs for job in jobs if job.id in started or job.state in LIVE]
        return started, {kind: sum(needs.get(kind, 0.0) for needs in (*live, first.spec.needs)) for kind in capacity}

    def _start(self, job: Job) -> bool:
        spec = job.spec
        if not self._has_ticket(job.id):  # taken out of the queue since
            return False
        env = dict(job.runtime_env or {})
        env["env_vars"] = {**env.get("env_vars", {}), VARIABLE: spec.id, "RAY_JOB_STOP_WAIT_TIME_S": str(STOPPING)}
        try:
            self._client.submit_job(
                entrypoint=spec.entrypoint,
                submission_id=spec.id,
                runtime_env=env,
                metadata=spec.metadata(JOB),
                entrypoint_num_cpus=spec.driver.get("CPU") or None,
                entrypoint_num_gpus=spec.driver.get("GPU") or None,
            )
        except RuntimeError as error:
            if "already exists" in str(error):  # a keeper before this one got that far
                return False
            raise
        if not self._has_ticket(job.id):
            self._client.stop_job(spec.id)
        return True

    def _has_ticket(self, job_id: str) -> bool:
        try:
            self._client.get_job_info(ticket_id(job_id))
        except RuntimeError as error:
            if "does not exist" in str(error):
                return False
            raise
        return True

    def _keep_package(self, job: Job) -> None:
        uri = (job.runtime_env or {}).get("working_dir")
        if uri and time.monotonic() - self._pinned.get(uri, -PIN_AGAIN) >= PIN_AGAIN:
            self._pin(uri, expiration_s=PINNED)
            self._pinned[uri] = time.monotonic()


class Keeper:
    """The actor: a thread that steps, begun anew whenever Ray restarts the actor."""

    def __init__(self) -> None:
        threading.Thread(target=self._keep, name="keeper", daemon=True).start()

    def version(self) -> str:
        return __version__

    def _keep(self) -> None:
        queue: Queue | None = None
        wanted: Resources = {}
        while True:
            try:
                import ray

                queue = queue or _make_queue()
                have = ray.cluster_resources()
                started, size = queue.step({kind: have.get(kind, 0.0) for kind in ("CPU", "GPU")})
                for job_id in started:
                    print(f"started {job_id}", flush=True)
                if size != wanted:
                    _ask_autoscaler(size)
                    wanted = size
            except Exception:  # the dashboard may be restarting; whatever it is, the queue must go on
                traceback.print_exc()
                queue = None
                time.sleep(10 * PERIOD)
            time.sleep(PERIOD)


def _make_queue() -> Queue:
    import ray
    from ray.experimental.internal_kv import _pin_runtime_env_uri
    from ray.job_submission import JobSubmissionClient

    return Queue(JobSubmissionClient(ray.get_runtime_context().gcs_address), _pin_runtime_env_uri)


def _ask_autoscaler(size: Resources) -> None:
    """Where nodes can be added, they are asked for until the next job fits; elsewhere nothing happens."""
    from ray.autoscaler.sdk import request_resources

    request_resources(bundles=[{kind: 1} for kind, count in size.items() for _ in range(math.ceil(count))])


def ensure() -> None:
    """One keeper of this version, on the head node: the dashboard may listen there alone."""
    import ray

    ray.init(address="auto", namespace=KEEPER, logging_level=logging.ERROR)
    with contextlib.suppress(ValueError):  # there is none
        old = ray.get_actor(KEEPER)
        if str(ray.get(old.version.remote(), timeout=60)) == __version__:
            return
        ray.kill(old)
        time.sleep(PERIOD)
    keeper: Any = ray.remote(Keeper)
    actor = keeper.options(
        name=KEEPER,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=-1,
        resources={"node:__internal_head__": 0.001},
    ).remote()
    ray.get(actor.version.remote(), timeout=120)


if __name__ == "__main__":
    from unlocked.jobs import keeper as module  # under its own name: the actor's class must not come from __main__

    module.ensure()
