"""Recurrent autoencoder: a sequence to a vector, and the vector back to the sequence."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor, nn

from unlocked_models.autoencoder.plain import Layer, code_layer, corruption, output_layers
from unlocked_models.contract import checks
from unlocked_models.contract.batch import Batch
from unlocked_models.contract.registry import register_model
from unlocked_models.layers.activations import ACTIVATIONS
from unlocked_models.layers.sequences import AsSequence, Pool, present, steps_of
from unlocked_models.recurrent import Layer as RecurrentLayer

CELLS: dict[str, Callable[..., nn.Module]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


@register_model("recurrent_autoencoder", family="autoencoder")
def recurrent_autoencoder(
    in_shape: tuple[int, ...],
    n_outputs: int,
    hidden: list[int] = [64],  # noqa: B006  (read, never changed)
    code: int = 16,
    code_activation: str = "linear",
    cell: str = "gru",
    output: str = "linear",
    noise: str = "none",
    level: float = 0.3,
    has_lengths: bool | None = None,
) -> Iterator[nn.Module]:
    """Recurrent autoencoder (Cho et al. 2014; Srivastava et al. 2015, without their condition on the frame before).

    The encoder's last state gives the code, which the decoder reads at every step. Of sequences that the data says the
    lengths of, it is the state at the end of each, and the output after it is zero, as the target is.

    Shapes: `(batch, positions, features)`, a series `(batch, positions)`, or an image, read row by row, to
    `(batch, code)` and back. One block per recurrent layer, 2 len(hidden) of them: the encoder's last with the code, of
    its last state, the decoder's last with the output at every position. `n_outputs` is not used: there is no label.

    Options: `hidden` widths of the encoder's layers, the decoder's in reverse; `code` units, of
    `code_activation` as for autoencoder; `cell` rnn, lstm or gru;
    `output` linear, sigmoid or tanh; `noise` none, gaussian or masking with `level`, as for autoencoder.

    >>> len(recurrent_autoencoder((40,), 10, hidden=[64, 32]))
    4
    """
    checks.sizes("hidden", hidden, least_many=1)
    checks.whole("code", code)
    make = checks.pick(CELLS, "cell", cell)
    checks.pick(ACTIVATIONS, "code_activation", code_activation)
    positions, features = steps_of(in_shape)
    corrupted, (squash, _) = corruption(noise, level), output_layers(output, in_shape)

    def layer(n_in: int, width: int) -> nn.Module:
        return RecurrentLayer(make, n_in, width, bidirectional=False, dropout=0.0, read=None)

    last = len(hidden) - 1
    ends = PaddedLayer if has_lengths else Layer
    for k, n_in in enumerate([features, *hidden[:-1]]):
        read = [corrupted, AsSequence()] if k == 0 else []
        end = [Pool("last"), nn.Linear(hidden[k], code), code_layer(code_activation)] if k == last else []
        yield (ends if k == last else Layer)([*read, layer(n_in, hidden[k]), *end], gives_code=k == last)
    for k, n_in in reversed(list(enumerate([*hidden[1:], code]))):
        begin = [Repeat(positions)] if k == last else []
        cut = [Ended()] if has_lengths else []
        end = [nn.Linear(hidden[k], features), squash, *cut, FromSequence(in_shape)] if k == 0 else []
        yield (ends if k == 0 else Layer)([*begin, layer(n_in, hidden[k]), *end])


class PaddedLayer(Layer):
    """Layers of which those that look at where a sequence ends are told."""

    def forward(self, h: Tensor, batch: Batch) -> Tensor:  # type: ignore[override]
        for layer in self:
            h = layer(h, present(batch)) if isinstance(layer, Pool | Ended) else layer(h)
        return h


class Ended(nn.Module):
    """`h (batch, positions, features)`, zero after the end of each sequence."""

    def forward(self, h: Tensor, there: Tensor) -> Tensor:
        return h * there[:, :, None]


class Repeat(nn.Module):
    """`(batch, features)` to the same at every position, `(batch, positions, features)`."""

    def __init__(self, positions: int):
        super().__init__()
        self.positions = positions

    def forward(self, h: Tensor) -> Tensor:
        return h[:, None].expand(-1, self.positions, -1)


class FromSequence(nn.Module):
    """What `AsSequence` made of an example, back to its shape."""

    reshapes = True

    def __init__(self, in_shape: tuple[int, ...]):
        super().__init__()
        self.in_shape = in_shape

    def forward(self, h: Tensor) -> Tensor:
        if len(self.in_shape) < 3:
            return h.reshape(-1, *self.in_shape)
        channels, height, width = self.in_shape
        return h.reshape(-1, height, channels, width).transpose(1, 2)
