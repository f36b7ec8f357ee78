"""Ray's table of jobs, read as ours: which wait, in which order, which run, and which may start now.

A ticket whose job is not in the table waits. Nothing else is remembered anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from unlocked.jobs.spec import JOB, TICKET, Resources, Spec

WAITING, LIVE = "waiting", ("starting", "running")
_STATES = {
    "PENDING": "starting",
    "RUNNING": "running",
    "STOPPED": "stopped",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
}


@dataclass(frozen=True)
class Job:
    """Times in seconds since 1970."""

    spec: Spec
    state: str  # waiting | starting | running | succeeded | failed | stopped
    submitted: float
    started: float | None = None
    ended: float | None = None
    message: str = ""  # why it failed, one line
    position: int | None = None  # in the queue, from 1
    runtime_env: dict[str, Any] | None = None  # of the ticket, to start the job with

    @property
    def id(self) -> str:
        return self.spec.id


def ticket_id(job_id: str) -> str:
    """The id under which Ray knows a job's ticket."""
    return f"{job_id}.ticket"


def read_table(details: Iterable[Any]) -> list[Job]:
    """Our jobs among Ray's (`JobSubmissionClient.list_jobs`), in the order in which they were submitted."""
    tickets: dict[str, Any] = {}
    found: dict[str, Any] = {}
    for entry in details:
        metadata = entry.metadata or {}
        if TICKET in metadata:
            tickets[metadata[TICKET]] = entry
        elif JOB in metadata:
            found[metadata[JOB]] = entry
    jobs = [_job(found.get(job_id), ticket) for job_id, ticket in tickets.items()]
    jobs += [_job(entry, None) for job_id, entry in found.items() if job_id not in tickets]
    jobs.sort(key=lambda job: (job.submitted, job.id))
    waiting = [job.id for job in jobs if job.state == WAITING]
    return [replace(job, position=waiting.index(job.id) + 1) if job.state == WAITING else job for job in jobs]


def _job(entry: Any, ticket: Any) -> Job:
    submitted = _seconds((ticket or entry).start_time) or 0.0
    if entry is None:
        return Job(Spec.of(ticket.metadata), WAITING, submitted, runtime_env=ticket.runtime_env)
    status = getattr(entry.status, "value", entry.status)
    lines = [line for line in (entry.message or "").splitlines() if line.strip()]
    message = lines[-1].strip() if status == "FAILED" and lines else ""
    return Job(
        Spec.of(entry.metadata),
        _STATES[status],
        submitted,
        _seconds(entry.start_time),
        _seconds(entry.end_time),
        message,
    )


def in_use(jobs: Iterable[Job]) -> Resources:
    """What the jobs that have started and not ended asked for."""
    return total(job.spec.needs for job in jobs if job.state in LIVE)


def total(several: Iterable[Resources]) -> Resources:
    listed = list(several)
    return {kind: sum(each.get(kind, 0.0) for each in listed) for kind in ("CPU", "GPU")}


def admitted(jobs: Sequence[Job], capacity: Resources) -> list[Job]:
    """The waiting jobs that may start now: strictly in order, so that a large one is not overtaken for ever."""
    used, found = in_use(jobs), []
    for job in jobs:
        if job.state != WAITING:
            continue
        after = total([used, job.spec.needs])
        if not fits(after, capacity):
            break
        used = after
        found.append(job)
    return found


def fits(needs: Resources, capacity: Resources) -> bool:
    return all(count <= capacity.get(kind, 0.0) + 1e-9 for kind, count in needs.items())


def words(resources: Resources) -> str:
    """For example `2 CPU + 1 GPU`."""
    return " + ".join(f"{count:g} {kind}" for kind, count in resources.items() if count) or "nothing"


def _seconds(milliseconds: float | None) -> float | None:
    return milliseconds / 1000 if milliseconds is not None else None
