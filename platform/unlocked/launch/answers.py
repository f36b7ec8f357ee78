"""Answers of Ray workers, waited for as long as Ray itself lives: those of a private Ray that has died never come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unlocked.engine.group import WorkerFailed
from unlocked.launch import private_ray

STARTING = 300.0  # seconds in which a worker must be up: its imports may come over a slow network
RAY_ALIVE = 1.0  # seconds between two looks at whether the private Ray lives


def ray_died() -> WorkerFailed | None:
    """If the private Ray is dead beneath its workers: ends what is left of it, for the next group to start another."""
    what = private_ray.lost()
    if what is None:
        return None
    private_ray.end()
    return WorkerFailed(f"Ray died: {what}", "", may_pass=True)


def refuse_dead_ray() -> None:
    """Before whatever asks the raylet for something: if it is dead, Ray ends this process without a word."""
    if (died := ray_died()) is not None:
        raise died


def answered(refs: Sequence[Any], seconds: float = RAY_ALIVE, number: int = 1) -> tuple[list[Any], list[Any]]:
    """The answered ones and the others, once `number` have an answer or after so many `seconds`, at most `RAY_ALIVE`.

    Raises `WorkerFailed` if Ray died, whatever it then says of the answers.
    """
    import ray

    refuse_dead_ray()
    done, waiting = ray.wait(list(refs), num_returns=number, timeout=min(seconds, RAY_ALIVE))
    refuse_dead_ray()
    return done, waiting


def last_line(text: object) -> str:
    """Of a failure's own words, a traceback of another process: what was raised there."""
    lines = [line.strip() for line in str(text).splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
