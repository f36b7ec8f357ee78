"""A trained run as a plain network: no scheme, no workers, ordinary torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from unlocked.config import Config, from_tree
from unlocked.data import DataSet
from unlocked.engine.group import InProcessGroup
from unlocked.engine.phases import NetsGroup
from unlocked.errors import ConfigError
from unlocked.plan.blocks import build_blocks
from unlocked.plan.make import plan_evaluation
from unlocked.plan.nets import config_of, example_of
from unlocked.plan.plan import load_data
from unlocked.runs.checkpoint import Checkpoints, load_weights
from unlocked.runs.folder import check_tokens, read_config
from unlocked.tasks import Trained
from unlocked.tasks.chosen import measured
from unlocked.tasks.faults import checked_metrics
from unlocked.tasks.per_class import per_class
from unlocked.tasks.phases import NET
from unlocked_models.contract.chain import Chain
from unlocked_models.contract.registry import MODELS


def load_chain(run_dir: Path, config: Config, data: DataSet, weights: str = "best") -> tuple[Chain, Path]:
    """The trained chain in evaluation mode, and the checkpoint the weights came from."""
    check_tokens(run_dir, data)
    path = _checkpoint(run_dir, weights)
    return _load(Chain(build_blocks(config, data.example)), path).eval(), path


def load_trained(run_dir: Path, config: Config, data: DataSet, weights: str, folder: Path) -> Trained:
    """All nets of a run, one or several, for what its task makes of them in `folder`."""
    names = MODELS.facts(config.model["name"])["nets"]
    if not names:
        return Trained({NET: load_chain(run_dir, config, data, weights)[0]}, data, folder, {NET: data.example.in_shape})
    check_tokens(run_dir, data)
    stored, nets, shapes = load_weights(_checkpoint(run_dir, weights)), {}, {}
    for net in names:
        own, of_net = config_of(config, net), {k: x for k, x in stored.items() if k.startswith(f"{net}.")}
        chain = Chain(build_blocks(own, data.example, net))
        chain.load_state_dict({key.removeprefix(f"{net}."): x for key, x in of_net.items()})
        nets[net], shapes[net] = chain.eval(), example_of(config, data.example, net).in_shape
    return Trained(nets, data, folder, shapes)


def evaluate_run(run_dir: Path, split: str = "test", weights: str = "best") -> dict[str, Any]:
    """Metrics of a run's weights on one split, e.g. `{"metrics": {"test/accuracy": 0.97}, ...}`."""
    config = from_tree(read_config(run_dir))
    data = load_data(config)
    if getattr(data, split) is None:
        raise ConfigError(f"--split: {split}; this run had none (data.validation is 0)")
    return measure(run_dir, config, data, split, weights)


def measure(run_dir: Path, config: Config, data: DataSet, split: str, weights: str) -> dict[str, Any]:
    """Metrics of a run's weights on a split of `data`, and of each class if there are some."""
    check_tokens(run_dir, data)
    path = _checkpoint(run_dir, weights)
    plan = plan_evaluation(config, data)
    group, task = NetsGroup(plan, data) if plan.nets else InProcessGroup(plan, data), plan.make_task()
    if isinstance(group, InProcessGroup):
        chain = _load(group.modules[0].learner.chain, path)  # the whole net
    else:
        group.load_weights(load_weights(path))
    kept = group.outputs(split)
    metrics = checked_metrics(task, measured(task, kept, data, split, config.metrics))
    if task.asks_network:
        metrics |= checked_metrics(task, task.final_metrics(chain.cpu().eval(), data, split), "final_metrics")
    return {
        "run": run_dir.name,
        "checkpoint": str(path),
        "split": split,
        "metrics": {f"{split}/{name}": value for name, value in metrics.items()},
        "classes": per_class(task, kept, data, split),
    }


def _checkpoint(run_dir: Path, weights: str) -> Path:
    checkpoints = Checkpoints(run_dir)
    path = (checkpoints.best() if weights == "best" else None) or checkpoints.last()
    if path is None:
        raise ConfigError(f"{run_dir}: no checkpoint yet")
    return path


def _load(chain: Chain, checkpoint: Path) -> Chain:
    """The chain with the weights of a checkpoint, in their precision."""
    stored = load_weights(checkpoint)
    dtype = next((value.dtype for value in stored.values() if value.is_floating_point()), torch.float32)
    try:
        chain.to(dtype).load_state_dict(stored)
    except RuntimeError as error:
        raise ConfigError(
            f"{checkpoint}: the weights do not fit the model: {str(error).splitlines()[-1].strip()}"
        ) from None
    return chain
