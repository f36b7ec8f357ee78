"""The chain contract: a model is blocks in order; only `h` passes from one to the next.

A builder yields them. Before each `yield` it makes the layers of that block and no other, and before the first it
refuses wrong options. A worker then makes its own blocks alone, each from a seed of its own, and of the others shapes.

A block is any `nn.Module` called as `block(h)`, or as `block(h, batch)` when its `forward` names a second
argument; `batch` is what every worker holds locally: `batch.x`, `batch.y`, and by name what the data set gives beside
them, such as `batch["edge_index"]`. A block may add terms of its own to the loss by a method
`local_loss(h, batch) -> scalar tensor`, given its own output `h` in the graph: an auxiliary classifier, a penalty.
Those terms never leave the module that holds the block.

A block leaves its input and the batch as they are (`h = 0.5 * h`, not `h.mul_(0.5)`): other blocks hold them for their
backward passes. What may cross a boundary is a dense tensor of real numbers, in the dtype of the weights.

A block may also go on where the last minibatch ended (a recurrent layer that reads a long text window by
window): it has an attribute `carried (batch, state_size)`, the state it starts from, which its `forward` replaces
by the state it ended in; None is the start of a stream. Whoever runs the chain keeps it, cuts its graph, and sets it
to None. `state_size` is its width, `width` that of the layer's output `(batch, positions, width)`.

Positions of a block's output are held against those of the targets at their end: what comes before them, such as an
encoder's memory in front of a decoder's states, is only looked at. A block all of whose positions are such, however
many (an encoder's), has an attribute `encodes` that is true. The first block of a decoder, whose input is the memory
and which embeds the tokens that the decoder reads, has an attribute `starts_decoder` that is true.

A block that can be given a sequence piece by piece, and goes on where the last piece ended, has an attribute
`takes_pieces` that is true; `stepping` says what it then keeps.

A layer inside a block whose class has `feedback_point = True` is a layer of its own for schemes that reach into blocks:
direct feedback alignment at layer granularity. Nonlinearities of torch are such layers anyway. A layer of a Transformer
says by a method `feedback_taps(granularity)` after which of its layers Launay et al. 2020 put feedback, and the last
block by an attribute `projection` which of its layers makes the outputs of the last hidden state.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from unlocked_models.contract.batch import Batch, Example
from unlocked_models.contract.compiled import Call, compiled_calls
from unlocked_models.contract.recompute import recomputed
from unlocked_models.contract.registry import GIVEN, MODELS, one_by_one

_END = object()
ONE_TENSOR = (
    "one tensor passes from a block to the next: give the part that passes on, and carry anything else, such as a "
    "skip, inside it (torch.cat; docs/skips.md)"
)


Each = Callable[[int], AbstractContextManager[object]]  # in which block i is made


def build(
    name: str,
    in_shape: tuple[int, ...],
    n_outputs: int,
    *,
    example: Example | None = None,
    each: Each | None = None,
    **options: Any,
) -> list[nn.Module]:
    """The blocks of the registered model `name`, freshly initialised from torch's global generator.

    What a model asks of the data beside shapes (`registry.GIVEN`) is taken from `example`. `each`: of a model that
    yields its blocks, for example to seed every one of them.
    """
    return as_blocks(call_builder(name, in_shape, n_outputs, example, options), each)


def call_builder(
    name: str, in_shape: tuple[int, ...], n_outputs: int, example: Example | None, options: dict[str, Any]
) -> Any:
    """What the function of the registered model `name` returns."""
    make = MODELS.get(name)
    asked = [key for key in GIVEN if key in inspect.signature(make).parameters and key not in options]
    given = {key: getattr(example, key, None) for key in asked}
    return one_by_one(make)(in_shape, n_outputs, **given, **options)


def encodes(block: nn.Module) -> bool:
    """Whether the positions of its output are none of the targets'."""
    return bool(getattr(block, "encodes", False))


def decoder_start(blocks: Iterable[nn.Module]) -> int | None:
    """Place of the first block of the decoder; None if there is none."""
    return next((i for i, block in enumerate(blocks) if getattr(block, "starts_decoder", False)), None)


def carrying(blocks: Iterable[nn.Module]) -> list[nn.Module]:
    """All layers, at any depth, that go on where the last minibatch ended."""
    return [layer for block in blocks for layer in block.modules() if hasattr(layer, "carried")]


def finding(blocks: Sequence[nn.Module]) -> list[int]:
    """Places of the blocks that find their first weights in the training data, by `begin_from(x, seed)`."""
    return [i for i, block in enumerate(blocks) if hasattr(block, "begin_from")]


def as_blocks(model: Any, each: Each | None = None) -> list[nn.Module]:
    """Blocks of an `nn.Sequential`, of a list of modules, or of a generator of them, whose block i is made in
    `each(i)`; any other module is a chain of one block.

    A subclass of `nn.Sequential` with a `forward` of its own is one block: taken apart it would compute
    something else.
    """
    if inspect.isgenerator(model) and each is not None:
        model = list(_one_by_one(model, each))
    if isinstance(model, nn.Sequential):
        in_order = type(model).forward in (nn.Sequential.forward, Chain.forward)
    else:
        in_order = isinstance(model, nn.ModuleList)
        in_order |= isinstance(model, Iterable) and not isinstance(model, nn.Module)
    blocks: list[Any] = list(model) if in_order else [model]
    if not blocks or not all(isinstance(block, nn.Module) for block in blocks):
        given = ", ".join(sorted({type(block).__name__ for block in blocks})) or "nothing"
        raise TypeError(f"a model gives an nn.Sequential or a list of nn.Module blocks, not {given}")
    return blocks


def _one_by_one(blocks: Iterator[Any], each: Each) -> Iterator[Any]:
    for i in count():
        with each(i):
            block = next(blocks, _END)
        if block is _END:
            return
        yield block


def takes_batch(block: nn.Module) -> bool:
    """Whether `block.forward` wants the batch: its second positional argument has no default, or is `batch`.

    An optional second argument of another name (`mask=None` of many torch layers) is left alone.
    """
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    arguments = [p for p in inspect.signature(block.forward).parameters.values() if p.kind in kinds]
    if len(arguments) < 2:
        return False
    return arguments[1].default is inspect.Parameter.empty or arguments[1].name == "batch"


class Chain(nn.Sequential):
    """Blocks in order, called as one network: the plain model that is evaluated and saved.

    `state_dict()` has the keys of `nn.Sequential(*blocks)`, so saved weights load without this package.
    """

    def __init__(self, blocks: Iterable[nn.Module] | OrderedDict[str, nn.Module]):
        if isinstance(blocks, OrderedDict):  # what slicing an nn.Sequential gives
            super().__init__(blocks)
        else:
            super().__init__(*blocks)
        self._frozen: list[nn.Module] = []
        self.recomputes = False  # activations inside blocks are computed again in the backward pass
        self._compiled: list[Call] = []
        self._with_batch = [takes_batch(block) for block in self]
        self._any_with_batch = any(self._with_batch)

    def forward(
        self,
        h: Tensor,
        batch: Batch | None = None,
        after: Callable[[int, Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Output of the last block. `after(i, h)` sees the output of block i and gives what passes on."""
        recomputes = self.recomputes and self.training and torch.is_grad_enabled()
        if after is None and not self._any_with_batch and not recomputes:  # most models, once per training step
            for block in self._modules.values():
                h = block(h)
            return h
        for i, (block, with_batch) in enumerate(zip(self._modules.values(), self._with_batch, strict=True)):
            given = (h, batch) if with_batch else (h,)
            h = recomputed(block, *given) if recomputes else block(*given)
            if after is not None:
                h = after(i, h)
        return h

    def freeze(self, blocks: int, parts: Iterable[str] = ()) -> Chain:
        """The first `blocks` of them, and `parts` of all, learn nothing from here on: no gradients, and evaluation mode
        for good, so that running statistics stay and nothing is drawn."""
        named = [dict(block.named_children()) for block in self]
        self._frozen = [*list(self)[:blocks], *(its[part] for part in parts for its in named if part in its)]
        for layer in self._frozen:
            layer.requires_grad_(False)
        return self.train(self.training)

    def compile_blocks(self) -> Chain:
        """Passes in training mode run as compiled code from here on; evaluation runs the blocks as they are."""
        self._compiled = compiled_calls(list(self))
        return self.train(self.training)

    def train(self, mode: bool = True) -> Chain:
        super().train(mode)
        for block, call in zip(self, self._compiled, strict=False):
            block._compiled_call_impl = call if mode else None
        for layer in self._frozen:
            layer.eval()
        return self

    def takes_batch(self) -> bool:
        """Whether any block wants the batch beside h."""
        return self._any_with_batch

    def has_local_loss(self) -> bool:
        return any(hasattr(block, "local_loss") for block in self)


def output_shapes(
    blocks: Iterable[nn.Module], in_shape: tuple[int, ...], example: Example | None = None
) -> list[tuple[int, ...]]:
    """Shape of each block's output for one example, without the batch axis; runs on a copy-free dry pass.

    The pass takes two examples of zeros, in evaluation mode (running statistics stay as they are), without
    grad, on the device and in the dtype of the first parameter: on "meta" it costs nothing.
    """
    shapes: list[tuple[int, ...]] = []
    with torch.no_grad():
        dry_run(blocks, example or Example(in_shape, 1), lambda block, run: shapes.append(tuple(run().shape[1:])))
    return shapes


def _refuse_other_than_h(i: int, block: nn.Module, given: Any) -> None:
    """`TypeError` if a block gives anything but a tensor of two examples."""
    name = f"block {i} ({type(block).__name__})"
    if not isinstance(given, Tensor):
        raise TypeError(f"{name} gives a {type(given).__name__}; {ONE_TENSOR}")
    if not given.dim() or len(given) != 2:
        raise TypeError(
            f"{name} gives a tensor of shape {tuple(given.shape)} for two examples; its first axis has to "
            f"be that of the examples"
        )


def dry_run(
    blocks: Iterable[nn.Module],
    example: Example,
    visit: Callable[[nn.Module, Callable[[], Tensor]], object],
    passed: Callable[[Tensor], Tensor] = lambda h: h,
) -> None:
    """Two examples of zeros through the blocks in evaluation mode, as they are left behind.

    `visit(block, run)` calls `run()` once, which gives the block's output; the next one is given `passed(output)`.
    """
    blocks = list(blocks)
    like = next((p for block in blocks for p in block.parameters()), torch.empty(0))
    batch = example.batch(2, like.device, like.dtype)
    last = batch.x
    for i, block in enumerate(blocks):
        training = [(layer, layer.training) for layer in block.modules()]
        block.eval()

        def run(i: int = i, block: nn.Module = block) -> Tensor:
            nonlocal last
            last = passed(last) if i and last is not None else last
            last = block(last, batch) if takes_batch(block) else block(last)
            _refuse_other_than_h(i, block, last)
            out: Tensor = last
            return out

        try:
            visit(block, run)
        finally:
            for layer, was in training:
                layer.training = was
            for layer in carrying([block]):
                layer.carried = None  # type: ignore[assignment]
