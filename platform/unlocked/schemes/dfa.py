"""Direct Feedback Alignment: the output error, through fixed random matrices, straight to every hidden layer.

Nokland 2016, "Direct Feedback Alignment Provides Learning in Deep Neural Networks", arXiv:1609.01596, eq. 7:

    e = dL/dh_K,    g_l = B_l e    for every hidden block l

with B_l drawn once from the seed and never learned. The gradient g_l is injected at the output of block l;
inside the block autograd applies phi', so any layer type may stand there. The output block gets e itself:
its update is backprop's. No gradient passes from a block to the one below, so those products are not
computed.

Where feedback arrives (`granularity`; `taps` has the details). Ours are `block`, after every block; `module`, after
modules alone, where dni's gradients arrive too, with autograd through the blocks of each; and `layer`, also after
every nonlinearity inside a block and every layer with `feedback_point = True`: of a Transformer's layer then
attention, the inner layer of the feed-forward network and the sum after it each learn from a feedback of their own.
Under `module` a chain of two modules has one random feedback, after the lower one; the upper module is trained by
exact backprop.

Launay et al. 2020 (arXiv:2006.12878) did something else with Transformers, here `macro` and `micro`: e is the gradient
at the last hidden state, before the projection to the vocabulary; nothing arrives after the embedding, which learns
with the first layer; and feedback arrives after each layer, or after its first norm, its activation and its second
norm. Their B are slices of one matrix (`shared_layers`).

Where B_l acts (`layout` has the words): if outputs and hidden states have places in common, at each place; so per
position of a sequence on the error at that position, per pixel of a hidden map on the patch of errors that it covers
(of images that are given back). Positions that are only looked at, and all those of a block that `encodes`, get the sum
of the errors. Any other error is projected as a whole, flattened, to as many numbers as the state has; or, with
`shared_positions`, to one vector that every position of a sequence gets, as from a head that pools them: weights shared
over positions can only follow one feedback.

B_l has entries uniform in +-scale/sqrt(d_l) (or normal with the same variance), d_l the size of layer l (at one
position or pixel, where B_l is of one). With `shared_layers` all B_l are the first d_l columns of one matrix, scaled
by their own d_l (Launay et al. 2019, arXiv:1906.04554; in 2020 all by the largest d_l). Where blocks add to a residual
stream, the true gradients of their outputs are nearly the same, and so are then these.

Lag: e of minibatch t-D is consumed at step t. What the backward needs is *stashed*: activations, and copies of the few
weights and buffers it reads, as they were at step t-D. So a late update is the exact DFA gradient of its own minibatch
at the weights of its own forward pass. An activation that a block has changed in place since ends the run, as autograd
has it.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from unlocked.errors import RunFailed
from unlocked.schema.facts import MOST_SEED, group, key
from unlocked.schema.keys import Config
from unlocked.schemes.base import ModuleLearner, Ports, backward
from unlocked.schemes.layout import Layout, pads, without_padding
from unlocked.schemes.registry import options_of, register_scheme
from unlocked.schemes.spec import ModuleSpec
from unlocked.schemes.taps import LAUNAY, Taps, launay_error
from unlocked.seeding import derive_seed
from unlocked.tasks import Task
from unlocked_models.contract.batch import Batch, Example
from unlocked_models.contract.chain import Chain, encodes


class _Kept(NamedTuple):
    """What a backward pass needs of its forward pass, until the error comes."""

    x: Tensor
    version: int | None  # of x then; None: a copy that nobody can change
    block: int  # in whose forward pass it was kept


def _unpack(kept: _Kept) -> Tensor:
    """As autograd does itself if nothing is packed."""
    if kept.version is not None and kept.x._version != kept.version:
        raise RunFailed(
            f"block {kept.block}: a tensor that its backward pass needs was changed in place before the "
            f"error came; the block, or the one that reads its output, has to make a new tensor, such as "
            f"h = 0.5 * h in place of h.mul_(0.5)"
        )
    return kept.x


@dataclass
class _Waiting:
    """A forward pass whose error has not come."""

    t: int
    points: list[Tensor]
    local: Tensor | None
    h_in: Tensor
    batch: Batch
    carried: list[Tensor | None]  # that the forward pass began with
    weights: list[Tensor] | None  # and buffers, before the forward pass; kept only for a checkpoint


@dataclass
class FeedbackConfig:
    """The fixed random matrices B_l."""

    distribution: str = key("uniform", "of their entries", choices=("uniform", "normal"))
    scale: float = key(1.0, "times 1/sqrt(size of the hidden layer)", above=0)
    seed: int | None = key(None, "null: from the run's seed", low=0, high=MOST_SEED)
    granularity: str = key(
        "block",
        "what feedback arrives after; macro and micro are those of Launay et al. 2020",
        choices=("block", "module", "layer", "macro", "micro"),
    )
    shared_positions: bool = key(False, "one B_l for all positions of a sequence if the output has none")
    shared_layers: bool = key(False, "one matrix for all layers, each of which takes as many columns as it is wide")


@dataclass
class DFAOptions:
    feedback: FeedbackConfig = group(FeedbackConfig)


@register_scheme("dfa")
class DFA(ModuleLearner):
    Options = DFAOptions
    options: DFAOptions
    feedback_from = "last"
    alone_is_backprop = True
    helps: ClassVar[str] = "a lower optimizer.lr, tanh in place of relu, model.norm=batch or a longer run usually helps"
    chain_rule_inside = False
    why_no_recompute: ClassVar[str | None] = "its weights move before its backward passes come"

    def __init__(self, spec: ModuleSpec, chain: Chain, task: Task, config: Config, lag: int = 0):
        super().__init__(spec, chain, task, config, lag)
        self.sees_batch = pads(spec.example)
        waiting: deque[_Waiting] = deque()
        self.waiting = self.holds("waiting", waiting, self._waiting_state, self._run_again)
        if config.train.compile:  # or it would be compiled itself, anew for every shape that is kept
            self._pack = torch.compiler.disable(self._pack)  # type: ignore[method-assign]
        self._checkpoint_at: int | None = None
        # what may move before the error of a forward pass comes: weights by updates, buffers by later forward passes
        weights = [*chain.parameters(), *(self.time.foresee.parameters() if self.time is not None else ())]
        self._moving: list[Tensor] = [*weights, *chain.buffers()]
        self._storages = {x.untyped_storage().data_ptr() for x in self._moving if x.layout is torch.strided}
        self._error_shape = spec.error_shape or task.output_shape(spec.example)
        self.taps = Taps(chain, spec, self.options.feedback.granularity)
        self._layouts = [
            Layout(shape, self._error_shape, apart=encodes(chain[block - spec.start]))
            for block, _, shape in self.taps.shapes
        ]
        self.feedback = [
            self._draw(block, nth, layout)
            for (block, nth, _), layout in zip(self.taps.shapes, self._layouts, strict=True)
        ]

    @classmethod
    def why_no_compile(cls, config: Config) -> str | None:
        granularity = options_of(cls, config).feedback.granularity
        if granularity in ("block", "module"):
            return None
        return (
            f"feedback of scheme.feedback.granularity={granularity} cuts passes inside blocks, each of which is "
            f"compiled as one piece; block and module cut between them"
        )

    @classmethod
    def auto_lag(cls, modules: int) -> int:
        # e of a minibatch exists K-1 ticks after the first module ran it; one more hides the message
        return 0 if modules == 1 else modules

    @classmethod
    def error_shape(
        cls, config: Config, blocks: Sequence[nn.Module], stops: Sequence[int], example: Example
    ) -> tuple[int, ...] | None:
        granularity = options_of(cls, config).feedback.granularity
        return launay_error(granularity, blocks, stops, example) if granularity in LAUNAY else None

    def _draw(self, block: int, nth: int, layout: Layout) -> Tensor:
        """B_l, `(outputs, size of layer l)`, both at one place if they have places in common: of the seed and the
        block's place in the chain, however it is cut."""
        config = self.options.feedback
        seed = config.seed if config.seed is not None else self.config.seed
        by_place = layout.relation != "pooled"
        one_for_all = layout.kind == "positions" and len(layout.other) == 1 and config.shared_positions
        outputs = layout.other_features * (math.prod(layout.patch) if by_place and layout.kind == "maps" else 1)
        size = layout.features if by_place or one_for_all else math.prod(layout.shape)
        bound = config.scale / size**0.5
        if config.shared_layers:
            column = [derive_seed(seed, "feedback", c) for c in range(size)]
            B = torch.stack([self._entries((outputs,), bound, c) for c in column], 1)
        else:
            B = self._entries((outputs, size), bound, derive_seed(seed, "feedback", block, nth))
        return B.to(self.device, self.dtype)

    def _entries(self, shape: tuple[int, ...], bound: float, seed: int) -> Tensor:
        generator, entries = torch.Generator().manual_seed(seed), torch.empty(shape, dtype=torch.float64)
        if self.options.feedback.distribution == "uniform":
            return entries.uniform_(-bound, bound, generator=generator)
        return entries.normal_(0.0, bound / 3**0.5, generator=generator)

    def step(self, t: int, h_in: Tensor, batch: Batch, ports: Ports) -> None:
        if self.spec.is_last:
            self.seed_step(t)
            h, local, points = self._forward(h_in, batch)
            loss, e = self.objective(h, batch)
            self.record("loss", loss)
            if self.taps.leaf is not None:  # the projection learns from e; what is below it has its error in place of e
                backward([h], [e])
                assert self.taps.top is not None
                assert self.taps.leaf.grad is not None
                e = self.taps.leaf.grad
                if self.loss_scale is not None:
                    e = e.to(self.dtype) / self.loss_scale.factor
                ports.down(e.to(self.dtype))
                self._learn([*points, self.taps.top], [*self.project(e, points, batch), e], local)
            else:
                ports.down(e.to(self.dtype))
                self._learn(points, self.project(e, points, batch), local, h, e)
            return
        at = self._checkpoint_at
        snapshot = at is not None and at - self.lag <= t < at
        weights = [p.detach().clone() for p in self._moving] if snapshot else None
        ports.up(self._forward_and_wait(t, h_in, batch, weights))

    def absorb(self, t: int, message: Tensor, ports: Ports) -> None:
        """`message` is e of minibatch t."""
        pass_ = self.waiting.popleft()
        assert pass_.t == t
        self._learn(pass_.points, self.project(message, pass_.points, pass_.batch), pass_.local)

    def project(self, e: Tensor, points: list[Tensor], batch: Batch | None = None) -> list[Tensor]:
        """g_l = B_l e for every point l of this module; none at padding, if the batch says what is."""
        flat = e.flatten(1)

        def one(B: Tensor, layout: Layout, h: Tensor) -> Tensor:
            if layout.relation == "pooled":
                g = flat @ B
                return g.view_as(h) if g.shape[1] == h[0].numel() else g[:, None, :].expand_as(h)
            if layout.kind == "maps":
                return (layout.at_pixels(e) @ B).transpose(1, 2).reshape(h.shape)
            return layout.at_positions(e, e.sum(1, keepdim=True)) @ B

        each = zip(self.feedback, self._layouts, points, strict=True)
        whole = [one(B, layout, h) for B, layout, h in each]
        return [without_padding(g, batch, self.spec.example) for g in whole]

    def work_beside(
        self, h_in: Tensor, h: Tensor, gradient: Tensor, e: Tensor, batch: Batch, ports: Ports
    ) -> Iterator[tuple[str, Callable[[], object]]]:
        _, _, points = self._forward(h_in, batch)
        yield "project", lambda: self.project(e, points, batch)

    def _forward(self, h_in: Tensor, batch: Batch) -> tuple[Tensor, Tensor | None, list[Tensor]]:
        with self.taps.cutting() as (after, points):
            h, local = self.run_chain(h_in, batch, after)
        return h, local, points

    def _forward_and_wait(self, t: int, h_in: Tensor, batch: Batch, weights: list[Tensor] | None) -> Tensor:
        self.seed_step(t)
        carried = self.carried()
        stash = saved_tensors_hooks(self._pack, _unpack) if self.lag > 0 else contextlib.nullcontext()
        with stash:
            h, local, points = self._forward(h_in, batch)
        self.waiting.append(_Waiting(t, points, local, h_in, batch, carried, weights))
        return h.detach()

    def _learn(
        self,
        points: list[Tensor],
        gradients: list[Tensor],
        local: Tensor | None,
        out: Tensor | None = None,
        e: Tensor | None = None,
    ) -> None:
        """By gradients at points inside the pass, the module's own losses, and those at its output."""
        if self.loss_scale is not None:
            gradients = [g * self.loss_scale.factor for g in gradients]
        backward([*points, out, local], [*gradients, e, None])
        self.update()

    def _pack(self, x: Tensor) -> _Kept:
        """Weights and buffers are copied before they move; what only this pass made is kept as it is, with its version.
        A sparse tensor has no storage of its own to be told by: it is copied."""
        if x.layout is not torch.strided or x.untyped_storage().data_ptr() in self._storages:
            return _Kept(x.detach().clone(), None, self.taps.block)
        return _Kept(x.detach(), x._version, self.taps.block)

    def local_loss(self, i: int, h: Tensor, batch: Batch) -> Tensor:
        h = self.taps.uncut(h)
        with self.taps.paused():  # an auxiliary classifier learns from its own loss, by autograd
            return super().local_loss(i, h, batch)

    def points(self, h: Tensor, batch: Batch) -> tuple[Tensor, Tensor | None, list[Tensor]]:
        with self.taps.watching() as (after, points):
            out, local = self.run_chain(h, batch, after)
        return out, local, points

    def probe_loss(self) -> tuple[Tensor, Tensor]:
        delta, e = super().probe_loss()
        if self.taps.top is not None:
            assert self._probe is not None
            (e,) = torch.autograd.grad(self._probe.out, self.taps.top, delta, retain_graph=True)
        return delta, e

    def injected(self, points: list[Tensor], batch: Batch, e: Tensor) -> list[Tensor | None]:
        return [*self.project(e, points, batch)]

    def prepare_checkpoint(self, at: int) -> None:
        self._checkpoint_at = at

    def _waiting_state(self) -> list[tuple[Any, ...]]:
        assert all(w.weights is not None for w in self.waiting), "prepare_checkpoint was not called in time"
        return [(w.t, w.h_in.detach(), w.batch.state(), w.carried, w.weights) for w in self.waiting]

    def _run_again(self, waiting: list[tuple[Any, ...]]) -> None:
        """Repeats the forward passes that wait, each at the weights it had."""
        self.waiting.clear()
        now = [p.detach().clone() for p in self._moving]
        for t, h_in, batch, carried, weights in waiting:
            self._set(weights)
            self.carry(carried)
            self._forward_and_wait(t, h_in, Batch.of_state(batch), weights)
        self._set(now)

    def _set(self, weights: list[Tensor]) -> None:
        with torch.no_grad():
            for p, w in zip(self._moving, weights, strict=True):
                p.copy_(w)
