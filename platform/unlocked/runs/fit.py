"""Whether a run that goes on still is the network of its checkpoint; said before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from unlocked.errors import ConfigError
from unlocked.files import read_regular
from unlocked.plan.plan import Plan
from unlocked.runs.checkpoint import WEIGHTS, Checkpoints
from unlocked.runs.digests import SUMS


def refuse_misfit(run_dir: Path, plan: Plan) -> None:
    """Raises `ConfigError` if the configuration, or the data, no longer gives the weights of the last checkpoint.

    A checkpoint that cannot be read is left to whoever loads it.
    """
    checkpoint = Checkpoints(run_dir).last()
    if checkpoint is None:
        return
    fault = _misfit(checkpoint, plan)
    if fault is not None:
        raise ConfigError(
            f"{run_dir / 'config.yaml'} no longer fits the run's checkpoint {checkpoint.name}: {fault}; "
            "a run goes on as it was begun, another network is a run of its own"
        )


def held_in(checkpoint: Path) -> int:
    """States of modules and replicas; 0: of a version that did not say so."""
    try:  # not the files: one may be lost
        return read_regular(checkpoint / SUMS).count("worker-")
    except (OSError, UnicodeDecodeError):
        return 0


def shared_out(states: list[dict[str, Any]], plan: Plan) -> list[dict[str, Any]]:
    """Those of a run that had another number of replicas, for the plan's: each begins as the first did."""
    if len(states) == plan.learners or not plan.make_engine().resizes:
        return states
    before, now = len(states) // plan.modules, plan.config.parallel.replicas
    return [states[k * before] for k in range(plan.modules) for _ in range(now)]


def refuse_resizing(plan: Plan, step: int) -> None:
    """Raises `ConfigError` if states of a replica after so many steps are of its own examples."""
    why = "layers carry what they saw of them" if plan.carries else "late messages are of them" if plan.lag else None
    if step % plan.config.train.accumulate:
        why = "gradients that wait for a step are of them"
    if why is not None:
        raise ConfigError(
            f"parallel.replicas: {plan.config.parallel.replicas} gives each replica other examples of a minibatch, and "
            f"{why}; put it back"
        )


def _misfit(checkpoint: Path, plan: Plan) -> str | None:
    held = held_in(checkpoint)
    if held and held != plan.learners and plan.make_engine().resizes and not held % plan.modules:
        refuse_resizing(plan, int(checkpoint.name.removeprefix("step-")))
    elif held and held != plan.learners:
        return f"it was cut into {held} modules (over all replicas), now into {plan.learners}"
    if not (checkpoint / WEIGHTS).is_file():
        return None
    try:
        with safe_open(checkpoint / WEIGHTS, "pt") as file:
            stored = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    for key in [*plan.weights, *stored]:
        there, now = stored.get(key), plan.weights.get(key)
        if there != now:
            return f"weight {key} {_has(there)} there and {_has(now)} now"
    return None


def _has(shape: tuple[int, ...] | None) -> str:
    return "is missing" if shape is None else f"has shape {shape}"
