"""Which chains a pipeline trains exactly; the others are refused with the reason, before anything starts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unlocked.errors import ConfigError, reason
from unlocked.schemes import ModuleSpec
from unlocked_models.contract.chain import Chain, carrying, takes_batch

# Schedules that compute the gradients of a module's input first and those of its weights when there is time
SPLIT_BACKWARD = ("interleaved_zero_bubble", "zero_bubble")


def refuse_uncuttable(schedule: str, blocks: Sequence[nn.Module]) -> None:
    """Blocks to which a microbatch may mean something else than a part of the minibatch."""
    for i, block in enumerate(blocks):
        name = f"block {i} ({type(block).__name__})"
        if carrying([block]):
            raise ConfigError(
                f"parallel.schedule: {schedule} runs microbatches of one minibatch one after the other; "
                f"{name} would go on from one to the next (model.carry)"
            )
        if takes_batch(block):
            raise ConfigError(
                f"parallel.schedule: {schedule} gives a block its microbatch of h alone; {name} takes (h, batch)"
            )
        if hasattr(block, "local_loss"):
            raise ConfigError(
                f"parallel.schedule: {schedule} cannot sum the local_loss of {name} over microbatches: "
                f"it need not be a mean over examples"
            )


def refuse_unsplittable(
    schedule: str, blocks: Sequence[nn.Module], specs: Sequence[ModuleSpec], dtype: torch.dtype
) -> None:
    """Modules whose backward pass torch does not split into that of the input and that of the weights.

    torch cuts the autograd graph where a weight meets what depends on the input. It finds no such place in a
    module whose output does not depend on its input by a gradient, and leaves its weights untrained without a
    word; a weight that acts in two places is counted twice by some versions. So both parts are held against
    autograd, on two random examples; `blocks` are changed by it. The first module is not split.
    """
    for spec in specs[1:]:
        chain = Chain(blocks[spec.start : spec.stop]).to(dtype).train()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            wrong = _wrong_in_parts(chain, torch.randn(2, *spec.in_shape, dtype=dtype))
        if wrong is not None:
            raise ConfigError(
                f"parallel.schedule: {schedule} computes the gradient of a module's input before those "
                f"of its weights; torch {torch.__version__} cannot split module {spec.index} (blocks "
                f"{spec.start}-{spec.stop - 1}) so: {wrong}"
            )


def detachable(h: Tensor) -> Tensor:
    """A module's output as torch's schedules take it: contiguous to be sent, and no view, to be detached in place."""
    h = h.contiguous()
    return h.clone() if h._is_view() else h


def _wrong_in_parts(chain: Chain, h: Tensor) -> str | None:
    """The first gradient that comes out otherwise than in one backward pass, or the error that torch raises."""
    from torch.distributed.pipelining._backward import stage_backward_input, stage_backward_weight  # takes seconds

    weights = {name: p for name, p in chain.named_parameters() if p.requires_grad}
    h.requires_grad_()
    try:
        out = detachable(chain(h))
        delta = torch.randn_like(out)
        expected = torch.autograd.grad(out, [h, *weights.values()], delta, retain_graph=True, allow_unused=True)
        _, groups = stage_backward_input([out], [delta], [h], iter(weights.values()))
        stage_backward_weight(iter(weights.values()), groups)
    except RuntimeError as error:
        return reason(error.__cause__ or error)  # torch hides the error itself behind a dump of its arguments
    tolerance = 1e4 * torch.finfo(h.dtype).eps
    for name, tensor, whole in zip(["input", *weights], [h, *weights.values()], expected, strict=True):
        found = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
        whole = torch.zeros_like(tensor) if whole is None else whole
        if (found - whole).abs().max() > tolerance * whole.abs().max():
            return f"the gradient of {name} comes out wrong"
    return None
