"""Local losses: every module learns from a classifier of its own, and nothing comes back from above.

Belilovsky et al. 2019, "Greedy Layerwise Learning Can Scale to ImageNet", arXiv:1812.11446, in its parallel form
(Belilovsky et al. 2020, "Decoupled Greedy Learning of CNNs", arXiv:1901.08164, algorithm 1); the similarity loss is
from Nokland and Eidnes 2019, "Training Neural Networks with Local Error Signals", arXiv:1901.06656, section 2.

    g_k = d l_k / d h_k,    l_k = L(C_k(h_k), y)    for k < K, C_k linear and learned with module k
    g_K = delta_K           the last module has the loss of the task

The gradient stops at every boundary, so no module waits for another's backward pass. C_k sees h_k pooled over its
places (see `layout`); of targets at positions, each of these positions.

`kind` says what l_k is: `pred` the cross entropy above; `sim` the distance between how alike two examples look and
whether they are of one class, (1/B^2) sum_ij (S(N_k(h_k))_ij - S(onehot y)_ij)^2, S_ij the cosine of examples i and j,
each centred on its own mean, and N_k one learned layer as wide as h_k (on maps a 3x3 convolution, then the deviation
over each map's pixels); `predsim` both, (1 - weight) pred + weight sim.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlocked.chain import operations
from unlocked.errors import ConfigError
from unlocked.schema.facts import group, key
from unlocked.schema.keys import Config
from unlocked.schema.passes import examples_per_pass
from unlocked.schemes.base import ModuleLearner, Ports
from unlocked.schemes.declarations import Beside
from unlocked.schemes.layout import Layout
from unlocked.schemes.objective import OfTask
from unlocked.schemes.registry import options_of, register_scheme
from unlocked.schemes.spec import ModuleSpec
from unlocked.seeding import drawn
from unlocked.tasks import Task
from unlocked_models.contract.batch import Batch, Example
from unlocked_models.contract.chain import Chain
from unlocked_models.layers.sequences import lengths

NO_CLASSES = "each module learns as a classifier, and its targets are not classes"


@dataclass
class LocalConfig:
    """The losses of modules below the last."""

    kind: str = key("pred", "of the classifier, of similarities, or both", choices=("pred", "sim", "predsim"))
    weight: float = key(0.99, "predsim: of the similarity loss; the classifier's gets the rest", low=0, high=1)


@dataclass
class LocalOptions:
    local: LocalConfig = group(LocalConfig)


@register_scheme("local")
class Local(ModuleLearner):
    Options = LocalOptions
    options: LocalOptions
    why_no_lag: ClassVar[str | None] = "it sends nothing back"
    alone_is_backprop: ClassVar[bool] = True
    needs_labels = True
    averages_targets = True
    refuses: ClassVar[Mapping[str, str]] = {**ModuleLearner.refuses, "autoencoder": NO_CLASSES}

    head: LocalHead | None = None
    head_optimizer: torch.optim.Optimizer | None = None

    def __init__(self, spec: ModuleSpec, chain: Chain, task: Task, config: Config, lag: int = 0):
        super().__init__(spec, chain, task, config, lag)
        # the head pools over what is no padding
        self.sees_batch = self.head is not None and (spec.example.has_lengths or _reads_tokens(spec.example))

    @classmethod
    def beside(cls, config: Config, spec: ModuleSpec, task: Task) -> dict[str, Beside]:
        if spec.is_last:
            return {}
        with drawn(config.seed, "local", spec.stop):
            head = LocalHead(options_of(cls, config).local, spec.out_shape, task, spec, spec.apart)
        return {"head": Beside(head, config.optimizer)}

    @classmethod
    def cost(cls, config: Config, spec: ModuleSpec, task: Task) -> float:
        example, options = spec.example, options_of(cls, config).local
        if not task.has_classes(example) or (options.kind != "pred" and _has_places(example)):
            return 0.0  # `refuse` says it
        if Layout(spec.out_shape, task.output_shape(example), spec.apart).relation == "apart":
            return math.inf
        head = LocalHead(options, spec.out_shape, task, spec, spec.apart)
        like = next(head.parameters())
        rows = 2 if options.kind == "pred" else examples_per_pass(config)  # similarities are of all pairs
        batch = example.batch(rows, like.device, like.dtype)
        h = torch.zeros(rows, *spec.out_shape, device=like.device)
        return 3 * operations(lambda: head(h, batch)) / len(h)

    @classmethod
    def refuse(cls, config: Config, task: Task, blocks: Sequence[nn.Module], specs: Sequence[ModuleSpec]) -> str | None:
        example, kind = specs[0].example, options_of(cls, config).local.kind
        if not task.has_classes(example):
            return f"cannot train {config.model['name']} on {config.data.name}: {NO_CLASSES}"
        if kind != "pred" and _has_places(example):
            raise ConfigError(
                f"scheme.local.kind: {kind} compares examples by their class, and those of {config.data.name} have a "
                f"target at every position; use pred"
            )
        if kind != "pred" and config.parallel.replicas > 1:
            raise ConfigError(
                f"scheme.local.kind: {kind} compares all examples of a minibatch, which parallel.replicas="
                f"{config.parallel.replicas} would share out; use pred, or one replica"
            )
        for spec in specs[:-1]:
            if Layout(spec.out_shape, task.output_shape(example), spec.apart).relation == "apart":
                return (
                    f"cannot train module {spec.index}, which ends inside an encoder: there are no targets at its "
                    f"positions; a parallel.partition that ends every module after the encoder can be trained"
                )
        return None

    def step(self, t: int, h_in: Tensor, batch: Batch, ports: Ports) -> None:
        self.seed_step(t)
        if self.spec.is_last:
            self.learn_from_loss(h_in, batch, ports)
            return
        assert self.head is not None
        assert self.head_optimizer is not None
        h, own = self.run_chain(h_in, batch)
        ports.up(h.detach())
        loss = self.head(h, batch)
        self.record("classifier/loss", loss)
        (loss if own is None else loss + own).backward()
        self.update()
        self.apply(self.head_optimizer)

    def injected(self, points: list[Tensor], batch: Batch, e: Tensor) -> list[Tensor | None]:
        if self.head is None:
            return []
        (h,) = (point.detach().requires_grad_() for point in points)
        with torch.enable_grad():
            return [*torch.autograd.grad(self.head(h, batch), h)]


class LocalHead(nn.Module):
    """The loss l_k of one boundary: `(h (batch, *shape), batch)` to a number."""

    def __init__(self, config: LocalConfig, shape: tuple[int, ...], task: Task, spec: ModuleSpec, apart: bool = False):
        super().__init__()
        self._task, self._example, self._objective = task, spec.example, OfTask(task)
        self._out_shape = task.output_shape(spec.example)
        self.layout = Layout(shape, self._out_shape, apart)
        self.weight = {"pred": 0.0, "sim": 1.0, "predsim": config.weight}[config.kind]
        self.classifier = self.similar = None
        if config.kind != "sim":
            n_out = self._out_shape[-1] if self.layout.by_place else torch.Size(self._out_shape).numel()
            self.classifier = nn.Linear(self.layout.features, n_out)
        if config.kind != "pred":
            self.similar = (
                nn.Conv2d(shape[0], shape[0], 3, padding=1)
                if self.layout.kind == "maps"
                else nn.Linear(self.layout.features, self.layout.features)
            )

    def forward(self, h: Tensor, batch: Batch) -> Tensor:
        losses = []
        if self.classifier is not None:
            losses.append((1 - self.weight) * self._objective.loss(self._logits(h, batch), batch))
        if self.similar is not None:
            alike = self._task.context(batch, self._example, h)  # the class, one-hot
            losses.append(self.weight * F.mse_loss(similarity(self._seen(h, batch)), similarity(alike)))
        return torch.stack(losses).sum()

    def _logits(self, h: Tensor, batch: Batch) -> Tensor:
        assert self.classifier is not None
        out: Tensor
        if self.layout.by_place:
            out = self.classifier(h[:, -self._out_shape[0] :])
        else:
            out = self.classifier(self.layout.pool(h, self._lengths(h, batch))).view(-1, *self._out_shape)
        return out

    def _lengths(self, h: Tensor, batch: Batch) -> Tensor | None:
        """How many positions of each sequence are no padding; of token ids, those up to the last that is not 0."""
        if batch.lengths is not None or not _reads_tokens(self._example) or h.shape[1:2] != self._example.in_shape[:1]:
            return batch.lengths
        return lengths(batch)

    def _seen(self, h: Tensor, batch: Batch) -> Tensor:
        """What similarities are of, `(batch, features)`."""
        assert self.similar is not None
        out: Tensor
        if self.layout.kind == "maps":
            z = self.similar(h).flatten(2)
            out = (z.var(2) + 1e-8).sqrt() if z.shape[2] > 1 else z.squeeze(2)
        else:
            out = self.similar(self.layout.pool(h, self._lengths(h, batch)))
        return out


def _reads_tokens(example: Example) -> bool:
    """Whether inputs are token ids, with one target for all of them."""
    return example.vocabulary is not None and example.out_positions is None and len(example.in_shape) == 1


def _has_places(example: Example) -> bool:
    """Whether there is a target at every position."""
    return bool(example.out_positions) or len(example.y_shape) > 1


def similarity(z: Tensor) -> Tensor:
    """`(batch, batch)`: cosines of the rows, each centred on its own mean."""
    z = z - z.mean(1, keepdim=True)
    z = z / (z.norm(dim=1, keepdim=True) + 1e-8)
    return z @ z.T
