"""Sequences that come piece by piece: what the layers of a network keep of the positions they were given.

Inside `remembering` every call of a block gives the next positions of the same sequences, and goes on where the last
call ended: attention over the keys and values that it kept, recurrent layers from the state that they ended in,
position tables at the next place. What comes out is what the whole sequence at once gives. So a text is generated, and
a translation searched for, at the cost of one position per token.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from torch import Tensor, nn

# layers of torch that treat every position by itself
ALONE = (nn.Embedding, nn.Linear, nn.LayerNorm, nn.Dropout, nn.Identity)


@dataclass
class Kept:
    """What a layer keeps: tensors by name, `(batch, ...)` each, of the `positions` that it has read."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    positions: int = 0


class Stepping(nn.Module):
    """A layer that can be given a sequence piece by piece.

    While `kept` is not None (`remembering`) its `forward` goes on from it and brings it up to date. `takes_pieces` is
    false where what it computes of a position depends on those that come after.
    """

    kept: Kept | None = None
    takes_pieces: bool = True


def takes_pieces(block: nn.Module) -> bool:
    """Whether a block can be given a sequence piece by piece, as far as is known: a layer of torch that mixes
    positions, or a block of a class that says nothing, can not."""
    if isinstance(block, nn.Sequential) and type(block).forward is nn.Sequential.forward:
        return all(map(takes_pieces, block))
    return isinstance(block, ALONE) or bool(getattr(block, "takes_pieces", False))


@contextlib.contextmanager
def remembering(blocks: Iterable[nn.Module]) -> Iterator[None]:
    """Inside, each call of one of the blocks goes on where its last one ended; before and after, nothing is kept.

    Raises `ValueError` for blocks that cannot be given a sequence piece by piece (`takes_pieces`).
    """
    blocks = list(blocks)
    stuck = sorted({type(block).__name__ for block in blocks if not takes_pieces(block)})
    if stuck:
        raise ValueError(
            f"{', '.join(stuck)}: what is computed of a position depends on those that come after, or "
            f"nothing says that it does not"
        )
    layers = _layers(blocks)
    try:
        for layer in layers:
            layer.kept = Kept()
        yield
    finally:
        for layer in layers:
            layer.kept = None


def reorder(blocks: Iterable[nn.Module], rows: Tensor) -> None:
    """Inside `remembering`: the sequences that go on are those of these `rows (m,)` of the last call, in this order;
    one may go on several times, and one that is not named ends."""
    for layer in _layers(blocks):
        assert layer.kept is not None
        layer.kept.tensors = {name: tensor[rows] for name, tensor in layer.kept.tensors.items()}


def _layers(blocks: Iterable[nn.Module]) -> list[Stepping]:
    return [layer for block in blocks for layer in block.modules() if isinstance(layer, Stepping)]
