"""How many examples a pass has: a minibatch is shared by replicas, and cut into microbatches by a pipeline."""

from __future__ import annotations

from unlocked.schema.keys import Config


def examples_per_pass(config: Config) -> int:
    """Of a minibatch, in one replica and one microbatch of a pipeline."""
    parallel = config.parallel
    microbatches = parallel.microbatch_count() if parallel.schedule != "locked" else 1
    return config.data.batch_size // parallel.replicas // microbatches


def one_example(config: Config) -> str:
    """The beginning of a message about a configuration whose passes have a single example."""
    parallel = config.parallel
    over = f" over parallel.replicas={parallel.replicas}" if parallel.replicas > 1 else ""
    if parallel.schedule != "locked":
        over += f" in parallel.microbatches={parallel.microbatch_count()}"
    return f"data.batch_size: {config.data.batch_size}{over} leaves a single example to every pass"
