"""Greedy layer-wise pre-training: each block learns to give its own input back, from the input up.

Bengio et al. 2007, "Greedy Layer-Wise Training of Deep Networks"; with corrupted inputs Vincent et al. 2010, "Stacked
Denoising Autoencoders". A decoder of one layer stands behind block k while it learns, and is thrown away:

    minimise  | decoder_k(f_k(corrupted h_{k-1})) - h_{k-1} |^2,    h_{k-1} clean, from the trained blocks below

No label is seen, and no gradient passes from a block to the one below: the procedure is the same under every scheme.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlocked.config import Config
from unlocked.data import DataSet, Split, TrainBatches
from unlocked.errors import ConfigError, RunFailed, RunInterrupted
from unlocked.optim import build_optimizer
from unlocked.plan.blocks import build_blocks
from unlocked.plan.plan import Plan
from unlocked.runs.checkpoint import read_state, write_state
from unlocked.runs.folder import how_to_go_on
from unlocked.schemes import DTYPES
from unlocked.schemes.layout import Layout
from unlocked.schemes.state import Holder
from unlocked.seeding import derive_seed, step_seed
from unlocked_models.autoencoder.plain import code_block, corruption
from unlocked_models.contract.batch import Batch, Example
from unlocked_models.contract.chain import Chain, carrying, output_shapes


def check_pretraining(config: Config, example: Example) -> int:
    """How many blocks are pre-trained; `ConfigError` if they cannot be."""
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
    plan: Plan,
    data: DataSet,
    run_dir: Path,
    log: Callable[[int, dict[str, float]], None],
    note: Callable[[str], None],
    stopped: Callable[[], bool],
) -> dict[str, Tensor]:
    """Weights of the whole chain, of which the first `pretrain.blocks` blocks are trained; on the CPU.

    Logs `pretrain/loss/block_k`, the squared error per example, over epochs. After every `train.checkpoint_every` of
    them, and if `stopped` says so, its state goes into the run folder, from where the next call goes on, to the same
    numbers; in the second case it raises `RunInterrupted`.
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
    kept = Kept(run_dir)
    begun = kept.read(note)
    if begun is not None:
        chain.load_state_dict(begun["weights"])
        note(f"goes on with pre-training after epoch {begun['epoch']} of block {begun['block']}")
    for k in range(begun["block"] if begun else 0, config.pretrain.blocks or 0):
        if not any(True for _ in chain[k].parameters()):
            continue
        layer = Denoiser(plan, data, split, chain, k, shapes[k], shapes[k + 1])
        done = 0
        if begun is not None and begun["block"] == k:
            layer.load_state(begun["layer"])
            done = begun["epoch"]
        for epoch in range(done + 1, config.pretrain.epochs + 1):
            loss = layer.train(epoch)
            log(epoch, {f"pretrain/loss/block_{k}": loss})
            if not math.isfinite(loss):
                raise RunFailed(
                    f"pre-training: the loss of block {k} became NaN or infinite in epoch {epoch}; a lower "
                    f"pretrain.lr may help"
                )
            interrupted = stopped()
            if interrupted or epoch % config.train.checkpoint_every == 0:
                kept.write({"block": k, "epoch": epoch, "weights": chain.state_dict(), "layer": layer.state()})
            if interrupted:
                raise RunInterrupted(
                    f"interrupted and saved after epoch {epoch} of {config.pretrain.epochs} in which block {k} was "
                    f"pre-trained; {how_to_go_on(run_dir)}"
                )
    return {key: value.detach().cpu().clone() for key, value in chain.state_dict().items()}


class Kept:
    """The state of pre-training that is under way, in the run folder."""

    def __init__(self, run_dir: Path):
        self._path, self._sums = run_dir / "pretraining.pt", run_dir / "pretraining.sha256"

    def read(self, note: Callable[[str], None]) -> Any:
        """None if there is none, or none that can be read, which is said."""
        if not self._path.exists():
            return None
        try:
            return read_state(self._path, self._sums)
        except RunFailed as error:
            note(f"{error}; pre-training begins again")
            return None

    def write(self, state: dict[str, Any]) -> None:
        write_state(state, self._path, self._sums)

    def remove(self) -> None:
        for path in (self._path, self._sums):
            path.unlink(missing_ok=True)


class Denoiser(Holder):
    """Block k of a chain while it is a denoising autoencoder of one layer; holds its decoder and their optimiser."""

    def __init__(
        self,
        plan: Plan,
        data: DataSet,
        split: Split,
        chain: Chain,
        k: int,
        in_shape: tuple[int, ...],
        out_shape: tuple[int, ...],
    ):
        config = plan.config
        self._block, self._one, self._below = chain[k], Chain([chain[k]]), Chain(list(chain)[:k]) if k else None
        self._seed, device = derive_seed(config.seed, "pretrain", k), split.x.device
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self._seed)
            decoder = inverse(out_shape, in_shape).to(device, split.x.dtype)
        self.decoder = self.holds("decoder", decoder)
        optimizer = build_optimizer(
            replace(config.optimizer, lr=config.pretrain.lr or config.optimizer.lr),
            [*self._block.parameters(), *decoder.parameters()],
        )
        self.optimizer = self.holds("optimizer", optimizer)
        self._noise = corruption(config.pretrain.noise, config.pretrain.level) or nn.Identity()
        order = derive_seed(config.seed, "pretrain order", k)
        self._batches = TrainBatches(split, config.data.batch_size, order, data.transforms, name=data.name)
        self._draws = [device.index or 0] if device.type == "cuda" else []

    def train(self, epoch: int) -> float:
        """One epoch, counted from 1; its mean loss."""
        each = self._batches.steps_per_epoch
        self._block.train()
        losses = [self._step(t) for t in range((epoch - 1) * each, epoch * each)]
        self._block.eval()
        return float(torch.stack(losses).mean())

    def _step(self, t: int) -> Tensor:
        x, block = self._batches.x(t), self._block
        batch = Batch(x, self._batches.y(t), extras=self._batches.extras(t))
        with torch.random.fork_rng(devices=self._draws):
            torch.manual_seed(step_seed(self._seed, t))
            with torch.no_grad():
                h_in = x if self._below is None else self._below(x, batch)
                corrupted = self._noise(h_in)
            h = self._one(corrupted, batch)
        loss = F.mse_loss(self.decoder(h), h_in, reduction="sum") / len(x)
        local = block.local_loss(h, batch) if hasattr(block, "local_loss") else None  # type: ignore[operator]
        (loss if local is None else loss + local).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()


def inverse(shape: tuple[int, ...], in_shape: tuple[int, ...]) -> nn.Module:
    """A linear map from `(batch, *shape)` to `(batch, *in_shape)`: of maps a convolution, of positions the same at each
    if there are as many, of anything else a matrix."""
    layout = Layout(in_shape, shape)
    if layout.relation != "same":
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), math.prod(in_shape)), nn.Unflatten(1, in_shape))
    if layout.kind == "maps":
        return nn.Sequential(nn.Upsample(in_shape[1:]), nn.Conv2d(shape[0], in_shape[0], 3, padding=1))
    return nn.Linear(shape[1], in_shape[1])
