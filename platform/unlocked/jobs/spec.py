"""What a job is: the command it runs, and all that it will ask of the cluster."""

from __future__ import annotations

import json
import re
import secrets
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from unlocked.config import Config, to_dict
from unlocked.config.nets import workers_of
from unlocked.config.schemes import flatten
from unlocked.engines import engine_of
from unlocked.errors import ConfigError
from unlocked.security import is_secret, redact, refuse_name

Resources = dict[str, float]  # CPU and GPU

SPEC, TICKET, JOB = "unlocked.spec", "unlocked.ticket", "unlocked.job"  # keys of Ray's metadata
STOPPING = 300  # seconds in which a run that was asked to stop may reach its next checkpoint
VARIABLE = "UNLOCKED_JOB"  # in a job's environment, its id


@dataclass(frozen=True)
class Spec:
    """`needs`: of the whole job, its workers and trials included; `driver`: the part that its first process takes.

    A run that trains in one process is its own driver; one with workers has a driver that only waits for them.
    """

    id: str
    kind: str  # train | sweep
    words: list[str]  # after `unlocked`
    needs: Resources
    driver: Resources

    @property
    def entrypoint(self) -> str:
        """A shell command; `exec`, so that Ray's stop signal reaches the run and not a shell around it."""
        return "exec python -m unlocked " + shlex.join(self.words)

    def metadata(self, key: str) -> dict[str, str]:
        return {key: self.id, SPEC: json.dumps(asdict(self))}

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> Spec:
        return cls(**json.loads(metadata[SPEC]))


def new_id(name: str) -> str:
    """A job's id: its name, as far as it fits an address, and six random digits."""
    refuse_name("--name", name)
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '-', name).strip('-')[:60] or 'job'}-{secrets.token_hex(3)}"


def train_needs(config: Config, gpus: float | None, cluster_gpus: float) -> tuple[Resources, Resources]:
    """(needs, driver) of one run; `gpus` None: one for each worker if the cluster has GPUs."""
    parallel = config.parallel
    engine = engine_of(parallel)
    workers = workers_of(config) if engine.on_workers else 1
    if gpus is None:
        gpus = float(workers) if parallel.device == "cuda" or (parallel.device == "auto" and cluster_gpus) else 0.0
    whole = {"CPU": float(workers), "GPU": gpus}
    return whole, {"CPU": 0.0, "GPU": 0.0} if engine.on_ray else whole


def sweep_needs(config: Config, gpus: float | None, cluster_gpus: float) -> tuple[Resources, Resources]:
    """(needs, driver) of a study: of all its trials at once; a single one without workers trains in the driver."""
    from unlocked.studies.runners import most_workers
    from unlocked.studies.space import Space

    sweep, workers = config.sweep, most_workers(Space(config))
    if workers > 1:
        each = {
            "CPU": float(workers),
            "GPU": float(workers) if cluster_gpus and config.parallel.device != "cpu" else 0.0,
        }
    else:
        each = {"CPU": sweep.resources.cpu, "GPU": sweep.resources.gpu}
    whole = {kind: count * sweep.concurrent for kind, count in each.items()}
    if gpus is not None:
        whole["GPU"] = gpus
    alone = sweep.concurrent == 1 and workers == 1
    return whole, whole if alone else {"CPU": 0.0, "GPU": 0.0}


def refuse_secrets(config: Config, words: Sequence[str]) -> None:
    """Raises `ConfigError` for a password or token in a configuration: whoever sees a job could read it."""
    for key, value in (*flatten(to_dict(config)).items(), *(word.split("=", 1) for word in words if "=" in word)):
        if value is not None and (is_secret(key) or redact(str(value)) != str(value)):
            raise ConfigError(
                f"{key}: holds a secret, and everybody on the cluster can read a job's configuration; "
                "set it where the nodes are started (for tracking.uri MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD)"
            )
