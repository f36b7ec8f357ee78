"""The way to a cluster: Ray's Jobs and State APIs over HTTP, with its token; every failure is one line."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

from unlocked.errors import ConfigError, UnlockedError, reason
from unlocked.jobs.spec import Resources
from unlocked.jobs.table import Job, read_table, total
from unlocked.network import spare_loopback
from unlocked.security import authenticate, redact, refuse_address, token_path

ADDRESS = "RAY_API_SERVER_ADDRESS"  # Ray's clients let it win over any address that they are given
LOOK = 0.5  # seconds between two looks at what a job does
KEEPER = "unlocked-queue"  # the name of the actor, in the namespace of the same name

# of Ray's State API: what its filter leaves out, such as a lost node, it takes for an answer cut short, and refuses
EVERYTHING: dict[str, Any] = {"limit": 10_000, "raise_on_missing_output": False}


class Cluster:
    """A cluster as a submitter sees it: the address of its head node's dashboard, such as http://127.0.0.1:8265."""

    def __init__(self, address: str | None = None):
        """Raises `ConfigError` for no address or another kind, `UnlockedError` for no answer or a refused token."""
        key = "--address" if address else ADDRESS
        address = address or os.environ.get(ADDRESS)
        if not address:
            raise ConfigError(
                f"--address: which cluster? set {ADDRESS}=http://HOST:8265, or start one on this "
                "machine: unlocked cluster up"
            )
        refuse_address(key, address)
        self.address = os.environ[ADDRESS] = address.rstrip("/")
        authenticate()
        spare_loopback()
        from ray.job_submission import JobSubmissionClient

        with self.readable():
            self.client = JobSubmissionClient(self.address)
        for name in ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):
            logging.getLogger(name).setLevel(logging.WARNING)  # Ray sets INFO when it is imported

    @contextlib.contextmanager
    def readable(self) -> Iterator[None]:
        """Ray's errors as one line each."""
        import requests
        from ray.exceptions import AuthenticationError
        from ray.util.state.exception import RayStateApiException

        shown = redact(self.address)
        try:
            yield
        except AuthenticationError as error:
            what = "asks for a token" if "required" in str(error) else "refuses this machine's token"
            raise UnlockedError(
                f"{shown}: {what}; it is looked for in $RAY_AUTH_TOKEN and {token_path()} (on the head "
                "node: ray get-auth-token)"
            ) from None
        except (ConnectionError, requests.exceptions.RequestException):
            raise UnlockedError(
                f"{shown}: no cluster answers there; start one on this machine with: unlocked cluster up"
            ) from None
        except (RuntimeError, RayStateApiException) as error:
            raise UnlockedError(f"{shown}: {redact(reason(error))}") from None

    def jobs(self) -> list[Job]:
        """All that was ever submitted to this cluster by `unlocked submit`, in its order."""
        with self.readable():
            return read_table(self.client.list_jobs())

    def job(self, job_id: str) -> Job:
        """Raises `ConfigError` if there is none of this id, with the nearest."""
        jobs = {job.id: job for job in self.jobs()}
        if job_id not in jobs:
            import difflib

            near = difflib.get_close_matches(job_id, jobs, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"no job {job_id!r} at {redact(self.address)}{hint} (unlocked jobs lists them)")
        return jobs[job_id]

    def wait(self, submission_id: str, seconds: float) -> str | None:
        """The status in which a job of Ray's ended; None if it has not within `seconds`."""
        deadline = time.monotonic() + seconds
        with self.readable():
            while not (status := self.client.get_job_status(submission_id)).is_terminal():
                if time.monotonic() > deadline:
                    return None
                time.sleep(LOOK)
        return status.value

    def nodes(self) -> list[Mapping[str, Any]]:
        """The live nodes: `node_ip`, `is_head_node`, `resources_total`, ..."""
        from ray.util.state import list_nodes

        with self.readable():
            found = list_nodes(filters=[("state", "=", "ALIVE")], **EVERYTHING)
        nodes = [vars(node) if not isinstance(node, Mapping) else node for node in found]
        return [node for node in nodes if node["state"] == "ALIVE"]

    def capacity(self) -> Resources:
        return total(node["resources_total"] for node in self.nodes())

    def has_keeper(self) -> bool:
        from ray.util.state import list_actors

        with self.readable():
            actors = list_actors(filters=[("name", "=", KEEPER), ("state", "!=", "DEAD")], **EVERYTHING)
        return bool(actors)
