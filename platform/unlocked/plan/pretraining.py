"""The plan of a run's first segment, in which its net is pre-trained: the same net and cut, under a local scheme."""

from __future__ import annotations

from dataclasses import fields, replace

from unlocked.config import Config
from unlocked.data import DataSet
from unlocked.errors import ConfigError
from unlocked.plan.make import plan_segment
from unlocked.plan.net import Net
from unlocked.plan.plan import Plan
from unlocked.schema.keys import AdversaryConfig, OptimizerConfig
from unlocked.schemes import SCHEMES, BlockLearner, Turns

# options of the optimiser that are of a run's own training, whose steps, weights and gradients are others
_OF_THE_RUN = (
    *("schedule", "warmup", "groups", "l1", "l2", "max_norm", "noise"),
    *("clip_value", "clip_norm", "clip_global"),
)


def plan_pretraining(config: Config, data: DataSet) -> Plan:
    """Raises `ConfigError`, one line, if these blocks cannot be pre-trained so."""
    own, model = config.pretrain, config.model["name"]
    scheme = SCHEMES.get(own.scheme)
    assert issubclass(scheme, BlockLearner)  # the configuration has been checked
    blocks = Net(config, data.example).meta
    if own.blocks is not None and own.blocks > len(blocks):
        raise ConfigError(f"pretrain.blocks: {own.blocks} is more than the {len(blocks)} blocks of {model}")
    n = own.blocks or scheme.pretrains(blocks)
    learning = tuple(i for i, block in enumerate(blocks[:n]) if any(True for _ in block.parameters()))
    if not learning:
        raise ConfigError(f"pretrain.blocks: none of the first {n} blocks of {model} has weights to pre-train")
    greedy = own.order == "greedy"
    each = own.epochs * (len(data.train) // config.data.batch_size)
    try:
        segment = _config(config, own.epochs * (len(learning) if greedy else 1))
        return plan_segment(segment, data, Turns(learning, each if greedy else None))
    except ConfigError as error:
        raise ConfigError(str(error).replace("scheme.name: ", "pretrain.scheme: ", 1)) from None


def _config(config: Config, epochs: int) -> Config:
    """The run's, without all that is of its own training."""
    own, plain = config.pretrain, OptimizerConfig()
    kept = {field.name: getattr(config.scheme, field.name) for field in fields(SCHEMES.get(own.scheme).Options)}
    return replace(
        config,
        scheme=type(config.scheme)(name=own.scheme, **kept),
        optimizer=replace(
            config.optimizer,
            lr=own.lr or config.optimizer.lr,
            **{name: getattr(plain, name) for name in _OF_THE_RUN},
        ),
        train=replace(
            config.train,
            epochs=epochs,
            steps=None,
            evaluate_steps=None,
            probe_every=0,
            curriculum=None,
            patience=None,
            accumulate=1,
            average=None,
            adversary=AdversaryConfig(),
        ),
        parallel=replace(
            config.parallel, schedule="locked", microbatches=None, modules_per_worker=config.parallel.held()
        ),
        pretrain=type(own)(),
    )
