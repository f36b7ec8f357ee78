"""Whether a run that goes on still is the network of its checkpoint; said before anything starts."""

from __future__ import annotations

from pathlib import Path

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


def _misfit(checkpoint: Path, plan: Plan) -> str | None:
    try:  # not the files: one may be lost
        held = read_regular(checkpoint / SUMS).count("worker-")
    except (OSError, UnicodeDecodeError):
        held = 0  # of a version without sums
    if held and held != plan.learners:
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
