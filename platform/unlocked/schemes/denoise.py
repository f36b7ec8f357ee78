"""Denoising: every block learns to give its own input back, clean, and sends its code of it up.

Vincent et al. 2010, "Stacked Denoising Autoencoders", JMLR 11, section 3; without noise the autoencoders of Bengio et
al. 2007. Block i has a decoder of one layer of its own, which learns with it and is thrown away:

    minimise  | decoder_i(f_i(corrupted h_{i-1})) - h_{i-1} |^2,    h_{i-1} the clean output of the block below

As a scheme of its own (`scheme.name=denoise`) the blocks below the last module learn so, all at once, and the last
module learns by the loss of the task. The paper's procedure is greedy, block after block before the task is known:
`pretrain.scheme=denoise`, whose default order is that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlocked.errors import ConfigError
from unlocked.schema.facts import group, key
from unlocked.schema.keys import Config
from unlocked.schemes.base import ModuleLearner, Ports
from unlocked.schemes.blockwise import BlockLearner
from unlocked.schemes.declarations import Beside
from unlocked.schemes.layout import Layout
from unlocked.schemes.registry import options_of, register_scheme
from unlocked.schemes.spec import ModuleSpec
from unlocked.seeding import drawn, step_seed
from unlocked.tasks import Task
from unlocked_models.autoencoder.plain import code_block, corruption
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.chain import Chain, carrying


@dataclass
class DenoiseConfig:
    """The noise on a block's input, which it learns to remove."""

    noise: str = key("masking", "on the block's input", choices=("none", "gaussian", "masking"))
    level: float = key(0.2, "of the noise: its deviation, or the fraction set to zero", low=0)


@dataclass
class DenoiseOptions:
    denoise: DenoiseConfig = group(DenoiseConfig)


@register_scheme("denoise")
class Denoise(BlockLearner):
    """Denoising autoencoders, one a block (Vincent et al. 2010): each gives its corrupted input back, clean."""

    Options = DenoiseOptions
    options: DenoiseOptions
    purpose = "denoise"
    series_name = "denoise/loss"
    series_words: ClassVar[Mapping[str, str]] = {
        **ModuleLearner.series_words,
        "denoise/loss": "the error of a block's input given back",
    }

    def __init__(self, spec: ModuleSpec, chain: Chain, task: Task, config: Config, lag: int = 0):
        super().__init__(spec, chain, task, config, lag)
        self._noise = corruption(self.options.denoise.noise, self.options.denoise.level) or nn.Identity()
        self._by_loss = spec.turns is None and spec.is_last

    @classmethod
    def check(cls, config: Config) -> None:
        options = options_of(cls, config).denoise
        if options.noise == "masking" and options.level >= 1:
            raise ConfigError(
                f"scheme.denoise.level: must be below 1 for masking, which takes a fraction, got {options.level}"
            )

    @classmethod
    def pretrains(cls, blocks: Sequence[nn.Module]) -> int:
        """Up to the code; of a model that has none, all but the last, which is the task's."""
        code = code_block(blocks)
        return max(len(blocks) - 1, 1) if code is None else code + 1

    @classmethod
    def refuse(cls, config: Config, task: Task, blocks: Sequence[nn.Module], specs: Sequence[ModuleSpec]) -> str | None:
        taught = cls.taught(blocks, specs) if specs[0].turns is not None else [*range(specs[-1].start)]
        if not taught:
            return None
        model = config.model["name"]
        if specs[0].example.vocabulary is not None:
            return f"cannot train block 0 of {model}, which reads ids: they are no real input to give back"
        if carrying(blocks):
            return (
                f"cannot train {model}, which goes on where the last minibatch ended (model.carry): blocks that learn "
                f"one by one see no stream"
            )
        return None

    @classmethod
    def beside(cls, config: Config, spec: ModuleSpec, task: Task) -> dict[str, Beside]:
        if spec.turns is None and spec.is_last:
            return {}
        decoders = {}
        for place, (in_shape, out_shape) in enumerate(spec.block_io, spec.start):
            if spec.turns is None or place in spec.turns.blocks:
                with drawn(config.seed, cls.purpose, "decoder", place):
                    decoders[f"decoder_{place}"] = Beside(inverse(out_shape, in_shape), config.optimizer)
        return decoders

    def step(self, t: int, h_in: Tensor, batch: Batch, ports: Ports) -> None:
        if self._by_loss:
            self.seed_step(t)
            self.learn_from_loss(h_in, batch, ports)
        else:
            super().step(t, h_in, batch, ports)

    def learn_block(self, i: int, block: nn.Module, t: int, h_in: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        if self.device.type == "cuda":
            torch.cuda.default_generators[self.device.index or 0].manual_seed(step_seed(self._bases[i], t))
        torch.default_generator.manual_seed(step_seed(self._bases[i], t))
        with torch.no_grad():
            corrupted = self._noise(h_in)
        h = self.output(block, corrupted, batch)
        loss = F.mse_loss(self._decoder(i)(h), h_in, reduction="sum") / len(h_in)
        local = block.local_loss(h, batch) if hasattr(block, "local_loss") else None  # type: ignore[operator]
        (loss if local is None else loss + local).backward()
        return self.clean(block, h_in, batch), loss.detach()

    def update_beside(self, i: int) -> None:
        self.apply(getattr(self, f"decoder_{self.spec.start + i}_optimizer"))

    def _decoder(self, i: int) -> nn.Module:
        found: nn.Module = getattr(self, f"decoder_{self.spec.start + i}")
        return found


def inverse(shape: tuple[int, ...], in_shape: tuple[int, ...]) -> nn.Module:
    """A linear map from `(batch, *shape)` to `(batch, *in_shape)`: of maps a convolution, of positions the same at each
    if there are as many, of anything else a matrix."""
    layout = Layout(in_shape, shape)
    if layout.relation != "same":
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), math.prod(in_shape)), nn.Unflatten(1, in_shape))
    if layout.kind == "maps":
        return nn.Sequential(nn.Upsample(in_shape[1:]), nn.Conv2d(shape[0], in_shape[0], 3, padding=1))
    return nn.Linear(shape[1], in_shape[1])
