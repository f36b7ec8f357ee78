"""Nets that learn from several views of an image at once, all of them through the same weights.

simclr (Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual Representations", arXiv:2002.05709): an
encoder, whose output is the representation that is wanted, and a head, by whose output views are compared.

Hidden states are `(batch, views, features)`, maps flattened: views stand where the positions of a sequence do, so a
scheme's feedback and M act on each view by itself, with weights that views share. The blocks have the weights of those
of `cnn`, which takes them over by `transfer.run`.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from unlocked_models.contract import checks
from unlocked_models.contract.chain import call_builder
from unlocked_models.contract.registry import register_model


@register_model("simclr", family="selfsupervised")
def simclr(
    in_shape: tuple[int, ...],
    n_outputs: int,
    channels: list[int] = [16, 32],  # noqa: B006  (read, never changed)
    kernel: int = 3,
    hidden: list[int] = [128],  # noqa: B006  (read, never changed)
    projection: int = 32,
    activation: str = "relu",
    norm: str = "batch",
    pool: str = "max",
) -> Iterator[nn.Module]:
    """SimCLR: an encoder as of cnn, and a linear head of `projection` outputs, of every view.

    Shapes: views `(batch, views, channels, height, width)` to `(batch, views, projection)`. One block per convolutional
    layer, one per hidden layer, the head last; the input of the head is the representation.

    Options: those of cnn, with at least one hidden layer. n_outputs is not looked at: views are compared by
    `projection` numbers.
    """
    if len(in_shape) != 4:
        raise ValueError(
            f"model.name: simclr takes views of images (views, channels, height, width), the data has examples of "
            f"shape {tuple(in_shape)}; data.transforms=[views] makes them"
        )
    checks.whole("projection", projection)
    checks.sizes("hidden", hidden, least_many=1)
    options = {"channels": channels, "kernel": kernel, "hidden": hidden}
    options |= {"activation": activation, "norm": norm, "pool": pool}
    maps, height, width = in_shape[1:]
    for i, block in enumerate(call_builder("cnn", (maps, height, width), projection, None, options)):
        yield EachView(block, (maps, height, width) if i <= len(channels) else ())
        if i < len(channels):
            maps, shrink = channels[i], 1 if pool == "none" else 2
            height, width = height // shrink, width // shrink


class EachView(nn.Module):
    """A block of one image, of every view by itself: `(batch, views, ...)` to `(batch, views, features)`; `shape` of
    its input, () of a vector. Norms take all views of a minibatch together."""

    def __init__(self, block: nn.Module, shape: tuple[int, ...]):
        super().__init__()
        self.block, self.shape = block, shape

    def forward(self, h: Tensor) -> Tensor:
        views = h.flatten(0, 1)
        if self.shape:
            views = views.reshape(len(views), *self.shape)
        out: Tensor = self.block(views).flatten(1)
        return out.view(*h.shape[:2], -1)
