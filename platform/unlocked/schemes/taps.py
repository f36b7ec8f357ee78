"""Where direct feedback alignment injects: the feedback points inside one module, found once and cut in every pass.

`granularity` says where they lie: after every hidden block (`block`), after the module alone (`module`), or also
after every nonlinearity and every layer with a `feedback_point` inside a block (`layer`).

Those of Launay et al. 2020 (arXiv:2006.12878; their code's `simple` and `full`) for Transformers with post norm are
`macro`, after every layer of the Transformer, and `micro`, after its first norm, its feed-forward network's
activation (and dropout) and its second norm. The embedding has no feedback of its own: it learns with the first layer,
by autograd. The error is the gradient at the last hidden state, before the projection to the vocabulary, which learns
by its own true gradient. Blocks say where their points are (`feedback_taps`), the last block what its `projection` is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unlocked.errors import ConfigError
from unlocked.schemes.spec import ModuleSpec
from unlocked_models.contract.batch import Example
from unlocked_models.contract.chain import Chain, carrying, dry_run

NONLINEARITIES = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.RReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Tanh,
    nn.Sigmoid,
    nn.Softplus,
    nn.Hardtanh,
    nn.Hardswish,
)

LAUNAY = ("macro", "micro")  # granularities with the error before the output's projection


def launay_error(
    granularity: str, blocks: Sequence[nn.Module], stops: Sequence[int], example: Example
) -> tuple[int, ...]:
    """Shape of the error of `LAUNAY` for one example: of the input of the output's projection. Modules end before the
    blocks `stops`. Raises `ConfigError` for a chain without these points, or cut where there is none."""
    asked = f"scheme.feedback.granularity: {granularity}"
    projection = getattr(blocks[-1], "projection", None)
    layers = [i for i, block in enumerate(blocks) if hasattr(block, "feedback_taps")]
    if projection is None or not layers:
        raise ConfigError(
            f"{asked} needs the layers of a Transformer and a projection after them, which this model "
            f"does not have; block, module and layer fit any model"
        )
    try:
        for i in layers:
            _points_of(blocks[i], granularity)
    except ValueError as error:
        raise ConfigError(f"{asked} {error}") from None
    for stop in stops[:-1]:
        if stop - 1 not in layers:
            raise ConfigError(
                f"{asked} has no feedback after block {stop - 1} ({type(blocks[stop - 1]).__name__}), "
                f"which learns with the layer above it; set parallel.partition to end every module but "
                f"the last with a layer of the Transformer"
            )
    seen: list[tuple[int, ...]] = []
    hook = projection.register_forward_pre_hook(lambda layer, inputs: seen.append(tuple(inputs[0].shape[1:])))
    with torch.no_grad():
        dry_run(blocks, example, lambda block, run: run())
    hook.remove()
    return seen[0]


def _points_of(block: nn.Module, granularity: str) -> list[nn.Module]:
    return block.feedback_taps(granularity) if hasattr(block, "feedback_taps") else []  # type: ignore[operator]


class Taps:
    """The feedback points of a module, at the given granularity.

    With `LAUNAY`, a pass through the last module also gives `top`, the input of the output's projection, and, if its
    graph is cut, `leaf`, what the projection is given in its place: its gradient is the error.

    A tensor with no weight between it and the point before (behind a pooling block, say) is no point, and
    none is the output of the chain: every pass visits the same tensors, `_keep` says which are points.
    """

    def __init__(self, chain: Chain, spec: ModuleSpec, granularity: str):
        self.start, self.n_blocks = spec.start, spec.n_blocks
        self._behind_blocks = range(
            spec.start if granularity != "module" else spec.stop - 1, 0 if granularity in LAUNAY else spec.n_blocks - 1
        )
        self.top: Tensor | None = None
        self.leaf: Tensor | None = None
        self._points: list[Tensor] | None = None
        self._cut = False
        self._seen: list[tuple[int, int, Tensor]] = []  # block, nth in the block, tensor: of the dry pass
        self._keep: list[bool] | None = None
        self.block = spec.start
        self._visits = 0
        if granularity == "layer":
            for module in chain.modules():
                if isinstance(module, NONLINEARITIES) or getattr(module, "feedback_point", False):
                    module.register_forward_hook(self._hook)
        if granularity in LAUNAY:
            for block in chain:
                for layer in _points_of(block, granularity):
                    layer.register_forward_hook(self._hook)
            if spec.is_last:
                chain[-1].projection.register_forward_pre_hook(self._meet)  # type: ignore[union-attr]
        self.shapes = self._dry_run(chain, spec)

    def _dry_run(self, chain: Chain, spec: ModuleSpec) -> list[tuple[int, int, tuple[int, ...]]]:
        parameter = next(chain.parameters(), torch.zeros(()))
        batch = spec.example.batch(2, parameter.device, parameter.dtype)
        h = batch.x if spec.is_first else torch.zeros(2, *spec.in_shape, device=parameter.device, dtype=parameter.dtype)
        assert h is not None
        was_training = chain.training
        chain.eval()
        with torch.enable_grad(), self._tapping(cut=True) as (after, _):
            out = chain(h, batch, after)
        chain.train(was_training)
        for layer in carrying([chain]):
            layer.carried = None  # type: ignore[assignment]
        self._keep = [point.requires_grad for _, _, point in self._seen]
        kept = [i for i, keep in enumerate(self._keep) if keep]
        if kept and self._seen[kept[-1]][0] == self.n_blocks - 1 and not out.requires_grad:
            self._keep[kept[-1]] = False  # a nonlinearity at the very end: the output gets e itself
        counts: dict[int, int] = {}
        shapes = []
        for (block, _, point), keep in zip(self._seen, self._keep, strict=True):
            if keep:
                shapes.append((block, counts.get(block, 0), tuple(point.shape[1:])))
                counts[block] = counts.get(block, 0) + 1
        self._seen = []
        return shapes

    def cutting(self) -> contextlib.AbstractContextManager[tuple[Callable[[int, Tensor], Tensor], list[Tensor]]]:
        """A pass whose graph is cut after every point."""
        return self._tapping(cut=True)

    def watching(self) -> contextlib.AbstractContextManager[tuple[Callable[[int, Tensor], Tensor], list[Tensor]]]:
        """A pass that only notes the points, in one graph."""
        return self._tapping(cut=False)

    @contextlib.contextmanager
    def _tapping(self, cut: bool) -> Iterator[tuple[Callable[[int, Tensor], Tensor], list[Tensor]]]:
        points: list[Tensor] = []
        self._points, self._cut, self._visits, self.block = points, cut, 0, self.start
        self.top = self.leaf = None
        try:
            yield self._after, points
        finally:
            self._points = None

    def uncut(self, h: Tensor) -> Tensor:
        """A block's output with its graph, where a nonlinearity at the block's end is a point."""
        last = self._points[-1] if self._points else h
        return last if last.data_ptr() == h.data_ptr() and last.shape == h.shape else h

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        points, self._points = self._points, None
        try:
            yield
        finally:
            self._points = points

    def _after(self, i: int, h: Tensor) -> Tensor:
        self.block = self.start + i
        if self.block in self._behind_blocks:
            h = self._visit(h)
        self.block += 1
        return h

    def _hook(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
        if self._points is None:
            return None
        return self._visit(output)

    def _meet(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if self._points is None:
            return None
        self.top = inputs[0]
        if not self._cut:
            return None
        self.leaf = self.top.detach().requires_grad_()
        return (self.leaf, *inputs[1:])

    def _visit(self, h: Tensor) -> Tensor:
        assert self._points is not None
        if self._keep is None:
            self._seen.append((self.block, self._visits, h))
            keep = h.requires_grad
        else:
            keep = self._keep[self._visits]
        self._visits += 1
        if keep:
            self._points.append(h)
            if self._cut:
                h = h.detach()
        return h
