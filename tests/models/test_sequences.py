"""Recurrent and attention models: how they read an example, what their parts compute, what they refuse."""

import math

import pytest
import torch
from torch import nn

from unlocked_models import Batch, Chain, Example, build
from unlocked_models.layers.lstm import GatedLayer
from unlocked_models.layers.sequences import AsSequence, Patches, Pool, Positions, steps_of
from unlocked_models.recurrent import Layer

X = torch.arange(2 * 3 * 4 * 6, dtype=torch.float32).view(2, 3, 4, 6)


@pytest.mark.parametrize(("in_shape", "steps"), [((40,), (40, 1)), ((7, 3), (7, 3)), ((3, 4, 6), (4, 18))])
def test_series_sequences_and_the_rows_of_images_are_read_in_order(in_shape, steps):
    x = torch.randn(2, *in_shape)
    read = AsSequence()(x)
    assert steps_of(in_shape) == steps
    assert read.shape == (2, *steps)
    if len(in_shape) == 3:
        assert torch.equal(read[1, 2], torch.cat([x[1, channel, 2] for channel in range(3)]))
    else:
        assert torch.equal(read.flatten(), x.flatten())


def test_patches_come_row_by_row_with_all_their_pixels():
    patches = Patches(2)(X)
    assert patches.shape == (2, 6, 12)
    assert torch.equal(patches[1, 4], X[1, :, 2:4, 2:4].flatten())


def test_sinusoidal_positions_are_those_of_the_paper():
    table = Positions("sinusoidal", 10, 8).table
    for p, i in ((0, 0), (3, 1), (9, 3)):
        angle = p / 10_000 ** (2 * i / 8)
        assert table[p, 2 * i] == pytest.approx(math.sin(angle), abs=1e-6)
        assert table[p, 2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-6)
    assert torch.equal(Positions("none", 10, 8)(torch.ones(2, 10, 8)), torch.ones(2, 10, 8))
    assert Positions("learned", 10, 8).table.requires_grad


def test_an_odd_width_has_sinusoidal_positions_too():
    assert Positions("sinusoidal", 4, 5).table.shape == (4, 5)


@pytest.mark.parametrize("kind", ["mean", "last", "max"])
def test_pooling_makes_one_vector(kind):
    h = torch.randn(2, 5, 3)
    expected = {"mean": h.mean(1), "last": h[:, -1], "max": h.max(1).values}[kind]
    assert torch.equal(Pool(kind)(h), expected)


@pytest.mark.parametrize(("name", "cell"), [("rnn", nn.RNN), ("lstm", nn.LSTM), ("gru", nn.GRU)])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_stacked_layers_are_those_of_torch(name, cell, bidirectional):
    torch.manual_seed(0)
    chain = Chain(build(name, (7, 3), 5, hidden=[4, 4], bidirectional=bidirectional)).double()
    whole = cell(3, 4, num_layers=2, batch_first=True, bidirectional=bidirectional).double()
    weights = {}
    for layer in (0, 1):
        for key, p in chain[layer].cell.named_parameters():
            weights[key.replace("_l0", f"_l{layer}")] = p
    whole.load_state_dict(weights)
    x = torch.randn(2, 7, 3, dtype=torch.float64)
    states, end = whole(x)
    end = end[0] if isinstance(end, tuple) else end
    torch.testing.assert_close(chain[1](chain[0](x)), states, rtol=1e-12, atol=1e-12)
    last = torch.cat(list(end[-2:]), -1) if bidirectional else end[-1]
    torch.testing.assert_close(chain(x), chain[2].linear(last), rtol=1e-12, atol=1e-12)


def test_the_forget_gate_starts_open():
    for layer in build("lstm", (7, 3), 5, hidden=[4, 6], bidirectional=True)[:2]:
        width = layer.cell.hidden_size
        for name, p in layer.cell.named_parameters():
            if "bias" in name:
                assert p[width : 2 * width].tolist() == [1.0 if "_ih_" in name else 0.0] * width
    way = build("lstm", (7, 3), 5, hidden=[4], peephole=True)[0].cell.ways[0]
    assert way.bias.tolist() == [0.0] * 4 + [1.0] * 4 + [0.0] * 8


@pytest.mark.parametrize("bidirectional", [False, True])
def test_gated_layers_without_their_options_are_torchs_lstm(bidirectional):
    torch.manual_seed(0)
    ours = GatedLayer(3, 4, peephole=False, coupled=False, bidirectional=bidirectional).double()
    theirs = nn.LSTM(3, 4, batch_first=True, bidirectional=bidirectional).double()
    with torch.no_grad():
        for way, suffix in zip(ours.ways, ("", "_reverse"), strict=False):
            way.weight_ih.copy_(getattr(theirs, f"weight_ih_l0{suffix}"))
            way.weight_hh.copy_(getattr(theirs, f"weight_hh_l0{suffix}"))
            way.bias.copy_(getattr(theirs, f"bias_ih_l0{suffix}") + getattr(theirs, f"bias_hh_l0{suffix}"))
    x = torch.randn(2, 7, 3, dtype=torch.float64)
    torch.testing.assert_close(ours(x)[0], theirs(x)[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("coupled", [False, True])
def test_peepholes_and_coupled_gates_follow_their_equations(coupled):
    torch.manual_seed(0)
    layer = GatedLayer(3, 4, peephole=True, coupled=coupled).double()
    way, x = layer.ways[0], torch.randn(2, 5, 3, dtype=torch.float64)
    names = "igo" if coupled else "ifgo"
    W, U, b = (dict(zip(names, p.chunk(len(names)), strict=True)) for p in (way.weight_ih, way.weight_hh, way.bias))
    p = dict(zip(names.replace("g", ""), way.peephole, strict=True))
    h = c = torch.zeros(2, 4, dtype=torch.float64)
    for t in range(5):

        def drive(gate, t=t, h=h):
            return x[:, t] @ W[gate].T + h @ U[gate].T + b[gate]

        i = torch.sigmoid(drive("i") + p["i"] * c)
        f = 1 - i if coupled else torch.sigmoid(drive("f") + p["f"] * c)
        c = f * c + i * torch.tanh(drive("g"))
        h = torch.sigmoid(drive("o") + p["o"] * c) * torch.tanh(c)
        torch.testing.assert_close(layer(x)[0][:, t], h, rtol=1e-12, atol=1e-12)


def test_dropout_stands_behind_every_layer():
    layer = build("gru", (7, 3), 5, hidden=[64], dropout=0.5)[0]
    assert isinstance(layer, Layer)
    assert 0.3 < float((layer(torch.randn(4, 7, 3)) == 0).float().mean()) < 0.7
    assert float((layer.eval()(torch.randn(4, 7, 3)) == 0).float().mean()) == 0


TOKENS = Example((7,), 5, vocabulary=9)
TEXT = Example((6,), 9, vocabulary=9, y_shape=(6,))


def tokens(*rows: list[int]) -> Batch:
    return Batch(torch.tensor(rows), torch.zeros(len(rows), dtype=torch.long))


@pytest.mark.parametrize("pool", ["last", "mean", "max"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rnn", {}),
        ("lstm", {}),
        ("gru", {"bidirectional": True}),
        ("lstm", {"bidirectional": True}),
        ("lstm", {"peephole": True}),
    ],
)
def test_padding_is_not_read(name, options, pool):
    torch.manual_seed(0)
    chain = Chain(build(name, (7,), 5, example=TOKENS, hidden=[4, 3], pool=pool, **options)).double()
    long, short = [3, 1, 4, 1, 5, 2, 6], [3, 1, 4]
    padded = tokens(long, [*short, 0, 0, 0, 0])
    out = chain(padded.x, padded)
    with torch.no_grad():
        chain[0].read.weight[0] += 100.0  # what stands for padding
    torch.testing.assert_close(chain(padded.x, padded), out, rtol=0, atol=0)
    alone = tokens(short)
    torch.testing.assert_close(chain(alone.x, alone)[0], out[1], rtol=1e-12, atol=1e-12)


def test_padded_rows_of_features_are_not_read_where_that_is_said():
    torch.manual_seed(0)
    chain = Chain(build("gru", (7, 3), 5, hidden=[4], bidirectional=True, padded=True)).double()
    x = torch.randn(2, 7, 3, dtype=torch.float64)
    x[1, 4:] = 0
    out = chain(x, Batch(x, torch.zeros(2)))
    torch.testing.assert_close(chain(x[1:, :4], Batch(x[1:, :4], torch.zeros(1)))[0], out[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "options", [{"name": "rnn"}, {"name": "gru"}, {"name": "lstm"}, {"name": "lstm", "peephole": True, "coupled": True}]
)
def test_windows_that_go_on_in_each_other_are_one_sequence(options):
    def chain(carry):
        torch.manual_seed(0)
        name, *_ = options.values()
        rest = {key: value for key, value in options.items() if key != "name"}
        return Chain(build(name, (6,), 9, example=TEXT, hidden=[4, 3], carry=carry, **rest)).double()

    x = torch.randint(1, 9, (2, 6))
    whole, windows = chain(False), chain(True)
    out = torch.cat([windows(part) for part in x.split(2, 1)], 1)
    torch.testing.assert_close(out, whole(x), rtol=1e-12, atol=1e-12)
    assert [layer.carried.shape[1] for layer in windows[:2]] == [layer.state_size for layer in windows[:2]]
    assert [layer.width for layer in windows[:2]] == [4, 3]


@pytest.mark.parametrize(
    ("name", "in_shape", "options", "words"),
    [
        ("rnn", (7, 3), {"activation": "relo"}, "model.activation: unknown activation 'relo'; did you mean 'relu'?"),
        ("lstm", (7, 3), {"hidden": []}, "model.hidden: needs 1 or more sizes, got []"),
        ("lstm", (2, 3, 4, 5), {}, "model.name: a sequence model takes series, sequences or images"),
        ("gru", (7, 3), {"pool": "first"}, "model.pool: unknown pool 'first'"),
        (
            "gru",
            (7, 3),
            {"carry": True},
            "model.carry: windows continue each other only if every position has a target",
        ),
        ("lstm", (7, 3), {"peephole": True, "padded": True, "bidirectional": True}, "model.bidirectional: cells with"),
        (
            "gru",
            (6,),
            {"bidirectional": True, "example": TEXT},
            "model.bidirectional: layers that read backwards would see",
        ),
        ("gru", (6,), {"padded": True, "example": TEXT}, "model.padded: unnecessary with per-position targets"),
        (
            "gru",
            (6,),
            {"embedding": 0, "example": TEXT},
            "model.embedding: must be a whole number of at least 1, got 0",
        ),
    ],
)
def test_what_cannot_be_built_is_one_line(name, in_shape, options, words):
    with pytest.raises(ValueError, match="model") as caught:
        build(name, in_shape, 5, **options)
    assert words in str(caught.value)
