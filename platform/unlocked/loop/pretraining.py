"""Greedy layer-wise pre-training: each block learns to give its own input back, from the input up.

Bengio et al. 2007, "Greedy Layer-Wise Training of Deep Networks"; with corrupted inputs Vincent et al. 2010, "Stacked
Denoising Autoencoders". A decoder of one layer stands behind block k while it learns, and is thrown away:

    minimise  | decoder_k(f_k(corrupted h_{k-1})) - h_{k-1} |^2,    h_{k-1} clean, from the trained blocks below

No label is seen, and no gradient passes from a block to the one below: the procedure is the same under every scheme.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlocked.config import Config
from unlocked.data import DataSet, Split, TrainBatches
from unlocked.errors import ConfigError, RunFailed, RunInterrupted
from unlocked.optim import build_optimizer
from unlocked.plan.blocks import build_blocks
from unlocked.plan.plan import Plan
from unlocked.schemes import DTYPES
from unlocked.schemes.layout import Layout
from unlocked.seeding import derive_seed, step_seed
from unlocked_models.autoencoder.plain import code_block, corruption
from unlocked_models.contract.batch import Batch, Example
from unlocked_models.contract.chain import Chain, carrying, output_shapes


def check_pretraining(config: Config, example: Example) -> int:
    """How many blocks are pre-trained; `ConfigError` where they cannot be."""
    blocks, name = build_blocks(config, example), config.model["name"]
    if example.vocabulary is not None:
        raise ConfigError(
            f"pretrain.epochs: a block that reads ids has no real input to give back; "
            f"{config.data.name} has {example.vocabulary} of them"
        )
    if carrying(blocks):
        raise ConfigError(
            f"pretrain.epochs: {name} goes on where the last minibatch ended (model.carry), and its "
            f"layers would learn one by one"
        )
    code, asked = code_block(blocks), config.pretrain.blocks
    if asked is not None and asked > len(blocks):
        raise ConfigError(f"pretrain.blocks: {asked} is more than the {len(blocks)} blocks of {name}")
    return asked or (len(blocks) - 1 if code is None else code + 1)


def pretrain(
    plan: Plan, data: DataSet, log: Callable[[int, dict[str, float]], None], stopped: Callable[[], bool]
) -> dict[str, Tensor]:
    """Weights of the whole chain, of which the first `pretrain.blocks` blocks are trained; on the CPU.

    Logs `pretrain/loss/block_k`, the squared error per example, over epochs. Raises `RunInterrupted` where `stopped`
    says so after an epoch.
    """
    config, wanted = plan.config, plan.config.parallel
    if wanted.threads is not None or plan.make_engine().on_workers:  # as the workers, whose default is 1
        torch.set_num_threads(wanted.threads or 1)
    device = torch.device("cuda" if wanted.device != "cpu" and torch.cuda.is_available() else "cpu")
    dtype = DTYPES[config.train.precision]
    blocks = build_blocks(config, plan.example)
    shapes = [plan.example.in_shape, *output_shapes(blocks, plan.example.in_shape, plan.example)]
    chain = Chain(blocks).to(device, dtype).eval()
    split = data.train.to(device, dtype)
    for k in range(config.pretrain.blocks or 0):
        for epoch, loss in enumerate(_train_block(plan, data, chain, k, split, shapes[k], shapes[k + 1]), 1):
            log(epoch, {f"pretrain/loss/block_{k}": loss})
            if not math.isfinite(loss):
                raise RunFailed(
                    f"pre-training: the loss of block {k} became NaN or infinite in epoch {epoch}; a lower "
                    f"pretrain.lr may help"
                )
            if stopped():
                raise RunInterrupted(f"interrupted while block {k} was pre-trained, which was not saved")
    return {key: value.detach().cpu().clone() for key, value in chain.state_dict().items()}


def _train_block(
    plan: Plan, data: DataSet, chain: Chain, k: int, split: Split, in_shape: tuple[int, ...], out_shape: tuple[int, ...]
) -> Iterator[float]:
    """Trains block k; gives the mean loss of each epoch."""
    config, block = plan.config, chain[k]
    if not any(True for _ in block.parameters()):
        return
    device, dtype = split.x.device, split.x.dtype
    seed = derive_seed(config.seed, "pretrain", k)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        decoder = inverse(out_shape, in_shape).to(device, dtype)
    optimizer = build_optimizer(
        replace(config.optimizer, lr=config.pretrain.lr or config.optimizer.lr),
        [*block.parameters(), *decoder.parameters()],
    )
    noise = corruption(config.pretrain.noise, config.pretrain.level) or nn.Identity()
    below, one = Chain(list(chain)[:k]) if k else None, Chain([block])
    batches = TrainBatches(
        split, config.data.batch_size, derive_seed(config.seed, "pretrain order", k), data.transforms, name=data.name
    )
    draws = [device.index or 0] if device.type == "cuda" else []
    block.train()
    for epoch in range(config.pretrain.epochs):
        losses = []
        for t in range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch):
            x = batches.x(t)
            batch = Batch(x, batches.y(t), extras=batches.extras(t))
            with torch.random.fork_rng(devices=draws):
                torch.manual_seed(step_seed(seed, t))
                with torch.no_grad():
                    h_in = x if below is None else below(x, batch)
                    corrupted = noise(h_in)
                h = one(corrupted, batch)
            loss = F.mse_loss(decoder(h), h_in, reduction="sum") / len(x)
            local = block.local_loss(h, batch) if hasattr(block, "local_loss") else None  # type: ignore[operator]
            (loss if local is None else loss + local).backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.detach())
        yield float(torch.stack(losses).mean())
    block.eval()


def inverse(shape: tuple[int, ...], in_shape: tuple[int, ...]) -> nn.Module:
    """A linear map from `(batch, *shape)` to `(batch, *in_shape)`: of maps a convolution, of positions the same at each
    where there are as many, of anything else a matrix."""
    layout = Layout(in_shape, shape)
    if layout.relation != "same":
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), math.prod(in_shape)), nn.Unflatten(1, in_shape))
    if layout.kind == "maps":
        return nn.Sequential(nn.Upsample(in_shape[1:]), nn.Conv2d(shape[0], in_shape[0], 3, padding=1))
    return nn.Linear(shape[1], in_shape[1])
