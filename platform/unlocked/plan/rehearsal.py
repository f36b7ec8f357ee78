"""One pass through every module as it will train, before anything starts: blocks that would go wrong later are refused.

Shapes do not show what a block does in training mode. So every module runs two random examples forward and backward
(one, if that is all a pass will have), and a `ConfigError` names the block

* that needs more examples than a pass has, as batch norm does;
* that changes its input or the batch in place: other modules need them as they were, and only in one process, where
  they share memory, would they notice;
* that gives anything but one tensor;
* that changes in place what its own backward pass needs;
* through which no gradient gets to the input of its module, if the scheme sends one down;
* whose weights have sparse gradients;
* whose output cannot be sent to another module.

Whatever else a block raises here is left to the run: random numbers need not suit it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unlocked.blame import knowing_of_ctrl_c
from unlocked.config import Config
from unlocked.errors import ConfigError, reason
from unlocked.schema.passes import examples_per_pass, one_example
from unlocked.schemes import DTYPES, SCHEMES, SHORT, ModuleSpec
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.chain import ONE_TENSOR, Chain, carrying, takes_batch

# what autograd says where a block changes a tensor in place
CHANGED_KEPT = "modified by an inplace operation"  # that its backward pass needs
CHANGED_LEAF = "a leaf Variable that requires grad is being used in an in-place operation"  # its module's input


def rehearse(config: Config, blocks: Sequence[nn.Module], specs: Sequence[ModuleSpec]) -> None:
    """Raises `ConfigError`, one line, as the module says. Changes the weights' dtype and the buffers of `blocks`."""
    rows = examples_per_pass(config)
    device = next((p.device for block in blocks for p in block.parameters()), torch.device("cpu"))
    transfer = config.transfer
    takes = transfer.freeze and transfer.vectors is None and not transfer.parts
    parts = list(transfer.parts) if transfer.freeze else []
    frozen = (len(blocks) - 1 if transfer.blocks is None else transfer.blocks) if takes else 0
    for spec in specs:
        chain = Chain(blocks[spec.start : spec.stop]).to(DTYPES[config.train.precision]).train()
        chain.freeze(min(max(frozen - spec.start, 0), len(chain)), parts)
        failed = _failure(config, chain, spec, device, min(rows, 2))
        if failed is not None and rows == 1 and _failure(config, chain, spec, device, 2) is None:
            raise ConfigError(
                f"{one_example(config)}, which {failed}; take a larger minibatch, or a model without "
                f"batch norm (model.norm)"
            )


def _failure(config: Config, chain: Chain, spec: ModuleSpec, device: torch.device, rows: int) -> str | None:
    """Which block cannot run this many examples in training mode, and why; None: all can."""
    dtype = DTYPES[config.train.precision]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        batch = spec.example.batch(rows, device, dtype)
        assert batch.x is not None
        if batch.x.is_floating_point():
            batch.x.normal_()
        h_in = batch.x if spec.is_first else torch.randn(rows, *spec.in_shape, device=device, dtype=dtype)
        leaf = None if spec.is_first else h_in.requires_grad_()
        h = h_in if leaf is None else h_in.clone()  # autograd lets nobody change a leaf
        inputs: list[Tensor] = []
        local: list[Tensor] = []
        for i, block in enumerate(chain, spec.start):
            held = {"its input": h, "batch.x": batch.x, "batch.y": batch.y}
            versions = [x._version for x in held.values()]
            inputs.append(h.detach().clone())
            weights = weights_of(block)
            try:
                with knowing_of_ctrl_c() as is_ctrl_c:
                    out = _run(block, h, batch)
                    if isinstance(out, Tensor) and hasattr(block, "local_loss"):
                        local.append(block.local_loss(out, batch))  # type: ignore[operator]
                changed = [
                    what for (what, x), version in zip(held.items(), versions, strict=True) if x._version != version
                ] or (["its input"] if _differ(inputs[-1], h) else [])
            except BaseException as error:  # a user's code raises whatever it likes
                if is_ctrl_c(error):
                    raise
                return f"{_name(i, block)} cannot take: {reason(error)}"
            finally:
                for layer in carrying([block]):
                    layer.carried = None  # type: ignore[assignment]
            if not isinstance(out, Tensor):
                raise ConfigError(
                    f"model.name: {_name(i, block)} gives a {type(out).__name__} in training mode; {ONE_TENSOR}"
                )
            if type(out) not in (Tensor, nn.Parameter):
                raise ConfigError(
                    f"model.name: {_name(i, block)} gives a {type(out).__name__}, which is more than a "
                    f"tensor; end it with .as_subclass(torch.Tensor)"
                )
            refuse_added(i, block, weights)
            if changed:
                raise ConfigError(
                    f"model.name: {_name(i, block)} changes {changed[0]} in place, which other blocks "
                    f"still need; make a new tensor, such as h = 0.5 * h in place of h.mul_(0.5)"
                )
            h = out
        _check_output(config, spec, chain, h)
        _check_backward(config, spec, chain, [h, *local], leaf, inputs, batch)
    return None


def weights_of(block: nn.Module) -> set[str]:
    return {name for name, _ in block.named_parameters()}


def refuse_added(i: int, block: nn.Module, before: set[str]) -> None:
    """Raises `ConfigError` if a pass changed which weights the block has."""
    if changed := sorted(weights_of(block) ^ before):
        raise ConfigError(
            f"model.name: {_name(i, block)} adds or removes the weight {changed[0]} in its forward, "
            f"so no optimizer finds it; make weights in __init__"
        )


def _check_output(config: Config, spec: ModuleSpec, chain: Chain, h: Tensor) -> None:
    dtype = DTYPES[config.train.precision]
    fits = h.dtype is dtype or (config.train.precision in SHORT and h.is_floating_point())
    if spec.is_last or (fits and h.layout is torch.strided):
        return
    given = str(h.dtype).removeprefix("torch.") if not fits else "a sparse tensor"
    raise ConfigError(
        f"parallel.partition: module {spec.index} ends with {_name(spec.stop - 1, chain[-1])}, which "
        f"gives {given}; what passes from one module to the next is a dense tensor of "
        f"{str(dtype).removeprefix('torch.')}, so cut the chain elsewhere"
    )


def _check_backward(
    config: Config,
    spec: ModuleSpec,
    chain: Chain,
    ends: list[Tensor],
    leaf: Tensor | None,
    inputs: list[Tensor],
    batch: Batch,
) -> None:
    live = [end.sum() for end in ends if end.requires_grad]
    try:
        torch.autograd.backward(live)
    except RuntimeError as error:
        if CHANGED_KEPT not in str(error):
            return  # as everything else, it is for the run to say
        found = (_backward_alone(block, h, batch)[1] for block, h in zip(chain, inputs, strict=True))
        where = next(
            (_name(i, chain[i - spec.start]) for i, bad in enumerate(found, spec.start) if bad),
            f"one of blocks {spec.start}-{spec.stop - 1}",
        )
        raise ConfigError(
            f"model.name: {where} changes a tensor in place that its backward pass needs: "
            f"{reason(error).partition(': [')[0]}"
        ) from None
    for i, block in enumerate(chain, spec.start):
        for name, p in block.named_parameters():
            if p.grad is not None and p.grad.layout is not torch.strided:
                raise ConfigError(
                    f"model.name: the gradient of {name} of {_name(i, block)} is sparse, which no "
                    f"optimizer here takes; set sparse=False, as of nn.Embedding"
                )
    scheme = SCHEMES.get(config.scheme.name)
    if leaf is None or leaf.grad is not None or not scheme.passes_gradients:
        return
    reached = (_backward_alone(block, h, batch)[0] for block, h in zip(chain, inputs, strict=True))
    where = next(
        (_name(i, chain[i - spec.start]) for i, reaches in enumerate(reached, spec.start) if not reaches),
        f"the sequence of blocks {spec.start}-{spec.stop - 1}",
    )
    raise ConfigError(
        f"scheme.name: under {config.scheme.name} module {spec.index} sends the gradient at its input to "
        f"the module below, and {where} lets none through (it detaches, or is not differentiable); use a "
        f"scheme that needs none there (dfa, frozen), or a parallel.partition that has it in module 0"
    )


def _backward_alone(block: nn.Module, h: Tensor, batch: Batch) -> tuple[bool, bool]:
    """Whether a gradient of the block's output reaches its input, and whether a change in place keeps one from it."""
    leaf = h.requires_grad_(h.is_floating_point())
    out = _run(block, leaf.clone(), batch)
    for layer in carrying([block]):
        layer.carried = None  # type: ignore[assignment]
    if not out.requires_grad:
        return False, False
    try:
        out.sum().backward()
    except RuntimeError as error:
        return True, CHANGED_KEPT in str(error)
    return leaf.grad is not None, False


def _run(block: nn.Module, h: Tensor, batch: Batch) -> Tensor:
    out: Tensor = block(h, batch) if takes_batch(block) else block(h)
    return out


def _differ(before: Tensor, after: Tensor) -> bool:
    """Whether a change of `.data`, which torch does not count, shows in the values; NaN equals NaN."""
    return not before.is_meta and not bool(((before == after) | (before != before)).all())


def _name(i: int, block: nn.Module) -> str:
    return f"block {i} ({type(block).__name__})"
