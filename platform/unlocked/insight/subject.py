"""A run as a classifier that can be looked into: its plain net, a split of its data, and the range of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from unlocked.config import Config, from_tree
from unlocked.data import DataSet, Split
from unlocked.errors import ConfigError
from unlocked.plan.plan import load_data
from unlocked.runs.evaluate import load_chain
from unlocked.runs.folder import read_config
from unlocked.schemes.adversary import value_range
from unlocked.tasks import TASKS
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.chain import Chain, carrying
from unlocked_models.contract.registry import MODELS

AT_ONCE = 250  # examples in a pass


@dataclass(frozen=True, eq=False)
class Subject:
    """`split`: the examples that are looked at, in the precision and on the device of the net."""

    run: Path
    config: Config
    data: DataSet
    chain: Chain
    split: Split

    @property
    def scheme(self) -> str:
        return self.config.scheme.name

    @property
    def reads_ids(self) -> bool:
        return not self.split.x.is_floating_point()

    @cached_property
    def layers_with_state(self) -> list[nn.Module]:
        return carrying(self.chain)

    def batches(self) -> Iterator[Batch]:
        for rows in torch.arange(len(self.split)).split(AT_ONCE):
            yield self.split.batch(rows)

    def logits(self, batch: Batch) -> Callable[[Tensor], Tensor]:
        """Of inputs that stand in the place of the batch's."""

        def of(x: Tensor) -> Tensor:
            for layer in self.layers_with_state:
                layer.carried = None  # type: ignore[assignment]
            out: Tensor = self.chain(x, replace(batch, x=x))
            return out

        return of

    @cached_property
    def range(self) -> tuple[Tensor, Tensor]:
        """The lowest and the highest value in the data, `(1, ...)`: per channel of images, else per feature, over all
        positions of a sequence."""
        x = torch.cat([self.data.train_shown.x.to(self.split.x), self.split.x])
        return value_range(x)

    def baseline(self) -> Tensor:
        """An input that says nothing, `(1, ...)`: images at their lowest value, anything else at its mean."""
        x = self.data.train_shown.x.to(self.split.x)
        return self.range[0].expand_as(x[:1]) if x.dim() == 4 else x.mean(0, keepdim=True)

    def free(self, batch: Batch) -> Tensor | None:
        """Where an attack may change an input, like `x`: not in the padding of sequences; None: everywhere."""
        assert batch.x is not None
        if batch.lengths is None or batch.x.dim() > 3:
            return None
        there = torch.arange(batch.x.shape[1], device=batch.x.device) < batch.lengths[:, None]
        return there.view(*there.shape, *[1] * (batch.x.dim() - 2)).expand_as(batch.x)

    def class_of(self, word: str) -> int:
        """The id of a class by its name or its number; raises `ConfigError`."""
        names = self.data.class_names
        if word in names:
            return names.index(word)
        if word.isdecimal() and int(word) < len(names):
            return int(word)
        raise ConfigError(f"--target: {word!r} is no class of {self.data.name} (known: {', '.join(names[:40])})")


def open_run(run: Path, split: str = "test", weights: str = "best", examples: int = 500, seed: int = 0) -> Subject:
    """`examples` of a split, drawn by `seed`, or all if it has no more.

    Raises `ConfigError`, one line, for a run that is no classifier, has no checkpoint or not this split.
    """
    config = from_tree(read_config(run))
    if MODELS.facts(config.model["name"])["nets"]:
        raise ConfigError(
            f"{run}: {config.model['name']} is several nets; inspect looks into a classifier, which is one net"
        )
    data = load_data(config)
    task = config.task or data.task
    if not TASKS.get(task).classifies:
        those = ", ".join(name for name in TASKS if TASKS.get(name).classifies)
        raise ConfigError(f"{run}: a run of {task} is no classifier; inspect looks into runs of {those}")
    part: Split | None = data.train_shown if split == "train" else getattr(data, split)
    if part is None:
        raise ConfigError(f"--split: {split}; this run had none (data.validation is 0)")
    chain, _ = load_chain(run, config, data, weights)
    chain.requires_grad_(False)
    device = "cuda" if torch.cuda.is_available() and config.parallel.device != "cpu" else "cpu"
    dtype = next((p.dtype for p in chain.parameters()), torch.float32)
    rows = torch.randperm(len(part), generator=torch.Generator().manual_seed(seed))[:examples].sort().values
    batch = part.batch(rows)
    assert batch.x is not None
    chosen = Split(batch.x, batch.y, batch.extras).to(device, dtype)
    return Subject(run, config, data, chain.to(device), chosen)
