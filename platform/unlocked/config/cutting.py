"""How a net is cut: blocks into modules, modules to workers, and what a pipeline of them needs."""

from __future__ import annotations

from unlocked.config.nets import modules_of, nets_of
from unlocked.errors import ConfigError
from unlocked.schema.keys import MULTI_STAGE, Config


def check_cut(config: Config) -> None:
    """Modules per worker, and blocks per module."""
    parallel = config.parallel
    schedule, held, partition = parallel.schedule, parallel.modules_per_worker, parallel.partition
    if schedule in MULTI_STAGE and held == 1:
        raise ConfigError(
            f"parallel.modules_per_worker: 1, but {schedule} needs at least 2 modules per worker; 1f1b has one"
        )
    if schedule == "zero_bubble" and held not in (None, 2):
        raise ConfigError(
            f"parallel.modules_per_worker: {held}, but zero_bubble folds the chain once into a V: "
            f"exactly 2 modules per worker; interleaved_zero_bubble takes more"
        )
    if schedule in ("gpipe", "1f1b") and parallel.held() > 1:
        raise ConfigError(
            f"parallel.modules_per_worker: {held}, but {schedule} has 1 module per worker; "
            f"{', '.join(MULTI_STAGE[:-1])} and {MULTI_STAGE[-1]} have several"
        )
    if (modules := modules_of(config)) % parallel.held():
        raise ConfigError(
            f"parallel.modules: {modules}{' in all nets' if nets_of(config) else ''} cannot be shared out, "
            f"{parallel.held()} to a worker"
            + ("" if held else f" as {schedule} has them")
            + "; it must be a multiple of parallel.modules_per_worker"
        )
    if partition is not None and len(partition) != parallel.modules:
        raise ConfigError(
            f"parallel.partition: {partition} cuts the chain into {len(partition)} modules, "
            f"parallel.modules is {parallel.modules}"
        )


def check_pipeline(config: Config) -> None:
    from unlocked.schemes import SCHEMES

    parallel, model = config.parallel, config.model["name"]
    if nets_of(config):
        raise ConfigError(
            f"parallel.schedule: pipelines are of one net, whose one loss fills them with microbatches; each phase of "
            f"{model} has a loss of its own, and changes weights that the next one reads"
        )
    schedule, workers, microbatches = parallel.schedule, parallel.workers_per_replica(), parallel.microbatch_count()
    if config.scheme.name not in (able := [name for name in SCHEMES if vars(SCHEMES.get(name)).get("pipelines")]):
        raise ConfigError(
            f"parallel.schedule: {schedule} pipelines {' and '.join(able)}; scheme.name is {config.scheme.name}"
        )
    if workers == 1:
        raise ConfigError(
            f"parallel.schedule: {schedule} needs at least 2 workers with {parallel.held()} "
            f"module{'s' * (parallel.held() > 1)} each; parallel.modules is {parallel.modules}"
        )
    if schedule == "1f1b" and microbatches < workers:
        raise ConfigError(
            f"parallel.microbatches: {microbatches} is fewer than the {workers} workers, which 1f1b needs; "
            f"gpipe does not"
        )
    if schedule.startswith("interleaved") and microbatches % workers:
        raise ConfigError(
            f"parallel.microbatches: {microbatches} is not a multiple of the {workers} workers, which "
            f"{schedule} needs; zero_bubble, 1f1b and gpipe do not"
        )
    rows = config.data.batch_size // parallel.replicas
    if rows % microbatches:
        of = f"the {rows} examples of a minibatch{' in each replica' if parallel.replicas > 1 else ''}"
        if parallel.microbatches is None:
            raise ConfigError(
                f"parallel.microbatches: null is {microbatches} for {schedule} over {workers} workers, which does not "
                f"divide {of}; set it to a number that does"
            )
        raise ConfigError(f"parallel.microbatches: {microbatches} does not divide {of}")
