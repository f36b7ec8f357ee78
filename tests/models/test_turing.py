"""One step of a Neural Turing Machine against the equations of Graves et al. 2014, loop by loop, in float64."""

import math

import pytest
import torch
from torch import nn

from unlocked_models import Chain, build
from unlocked_models.contract.stepping import remembering
from unlocked_models.memory.addressing import sharpened
from unlocked_models.memory.turing import Step, TuringLayer

ROWS, COLUMNS, HIDDEN = 5, 3, 4


def machine(controller="lstm", heads=(2, 2), shift=1) -> TuringLayer:
    torch.manual_seed(0)
    layer = TuringLayer(2, controller, HIDDEN, (ROWS, COLUMNS), heads, shift, (0.0,) * 4, None).double()
    for p in layer.parameters():
        nn.init.normal_(p)
    return layer


def any_state(layer: TuringLayer, batch: int) -> Step:
    g = torch.Generator().manual_seed(1)
    memory, weights, read, *control = (torch.randn(batch, n, generator=g).double() for n in layer._sizes())
    weights = weights.unflatten(1, (-1, ROWS)).softmax(-1)
    return Step(memory.unflatten(1, (ROWS, COLUMNS)), weights, read, tuple(control))


def softplus(v: float) -> float:
    return math.log1p(math.exp(v))


def addressed(said: list[float], memory: list[list[float]], before: list[float], reach: int) -> list[float]:
    """Equations 5 to 9 for one head of one example."""
    k = [math.tanh(v) for v in said[:COLUMNS]]
    beta, g = softplus(said[COLUMNS]), 1 / (1 + math.exp(-said[COLUMNS + 1]))
    moves = said[COLUMNS + 2 : COLUMNS + 2 + 2 * reach + 1]
    s = [math.exp(v) / sum(map(math.exp, moves)) for v in moves]
    gamma = 1 + softplus(said[-1])
    cosine = [sum(a * b for a, b in zip(k, row, strict=True)) / (math.hypot(*k) * math.hypot(*row)) for row in memory]
    total = sum(math.exp(beta * c) for c in cosine)
    content = [math.exp(beta * c) / total for c in cosine]
    gated = [g * c + (1 - g) * w for c, w in zip(content, before, strict=True)]
    moved = [sum(gated[(i - j) % ROWS] * s[j + reach] for j in range(-reach, reach + 1)) for i in range(ROWS)]
    return [w**gamma / sum(v**gamma for v in moved) for w in moved]


@pytest.mark.parametrize("controller", ["lstm", "feedforward"])
@pytest.mark.parametrize(("heads", "shift"), [((1, 1), 1), ((2, 2), 2), ((1, 3), 1)])
def test_a_step_is_the_equations(controller, heads, shift):
    layer = machine(controller, heads, shift)
    now, x = any_state(layer, 3), torch.randn(3, 2).double()
    found = layer.step(x, now)
    driven = torch.cat([x, now.read], 1)
    if controller == "lstm":
        gates = driven @ layer.controller.weight_ih.T + layer.controller.bias_ih
        gates = gates + now.controller[0] @ layer.controller.weight_hh.T + layer.controller.bias_hh
        i, f, g, o = gates.chunk(4, 1)
        c = f.sigmoid() * now.controller[1] + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
    else:
        h = (driven @ layer.controller.weight.T + layer.controller.bias).tanh()
    torch.testing.assert_close(found.controller[0], h)
    told, size, (reads, writes) = layer.interface(h), layer.address.size, heads
    for b in range(3):
        memory = now.memory[b].tolist()
        weights = [
            addressed(told[b, n * size : (n + 1) * size].tolist(), memory, now.weights[b, n].tolist(), shift)
            for n in range(reads + writes)
        ]
        torch.testing.assert_close(found.weights[b], torch.tensor(weights).double())
        read = [sum(w * row[m] for w, row in zip(ws, memory, strict=True)) for ws in weights[:reads] for m in range(3)]
        torch.testing.assert_close(found.read[b], torch.tensor(read).double())  # equation 2
        what = told[b, (reads + writes) * size :].view(2, writes, COLUMNS)
        expected = [row.copy() for row in memory]
        for ws, e in zip(weights[reads:], what[0].sigmoid().tolist(), strict=True):  # equation 3
            expected = [[v * (1 - w * e[m]) for m, v in enumerate(row)] for w, row in zip(ws, expected, strict=True)]
        for ws, a in zip(weights[reads:], what[1].tolist(), strict=True):  # equation 4
            expected = [[v + w * a[m] for m, v in enumerate(row)] for w, row in zip(ws, expected, strict=True)]
        torch.testing.assert_close(found.memory[b], torch.tensor(expected).double())


def test_its_gradient_is_the_slope_of_its_numbers():
    layer = machine()
    x = torch.randn(2, 3, 2).double().requires_grad_()
    state = layer.run(torch.randn(2, 1, 2).double(), None)[1].detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, s: layer.run(x, s), (x, state))


def test_weights_that_would_vanish_are_sharpened_all_the_same():
    w = torch.full((1, 64), 1 / 64).requires_grad_()
    out = sharpened(w, torch.tensor([[60.0]]))  # (1 / 64)^60 is 0 in float32
    torch.testing.assert_close(out.detach(), w.detach())
    out[0, 0].backward()
    assert w.grad.isfinite().all()
    v = torch.rand(2, 5).double().requires_grad_()
    gamma = torch.full((2, 1), 2.5).double().requires_grad_()
    assert torch.autograd.gradcheck(sharpened, (v, gamma))


def test_heads_that_are_to_walk_on_sharply_at_first_do():
    options = {"hidden": 6, "rows": 5, "columns": 3, "shift": 2, "reads": 2, "vocabulary": 7, "out_positions": 4}
    net = Chain(build("ntm", (4,), 7, **options, gate_bias=-30.0, shift_bias=30.0, sharp_bias=9.0)).double()
    read, written, _ = net[0].memory_over_time(torch.randint(1, 7, (2, 4)))
    on = torch.eye(5).double()[1:].expand(2, -1, -1)  # from row 0 to 1, 2, 3, 4
    torch.testing.assert_close(read, 2 * on)
    torch.testing.assert_close(written, on)


def test_heads_that_are_to_find_a_row_by_its_content_at_first_do():
    options = {"hidden": 6, "rows": 5, "columns": 3, "vocabulary": 7, "out_positions": 4, "sharp_bias": 9.0}
    net = Chain(build("ntm", (4,), 7, **options, strength_bias=500.0, gate_bias=30.0, shift_bias=30.0)).double()
    layer, now = net[0], any_state(net[0], batch=4)
    after = layer.step(torch.randn(4, 16).double(), now)
    key = layer.interface(after.controller[0])[:, :3].tanh()  # of the head that reads
    nearest = torch.cosine_similarity(key[:, None], now.memory, dim=-1).argmax(1)
    torch.testing.assert_close(after.weights[:, 0], torch.eye(5).double()[(nearest + 1) % 5])  # and a row on


@pytest.mark.parametrize("carry", [False, True])
def test_piece_by_piece_and_window_by_window_are_the_whole(carry):
    torch.manual_seed(0)
    options = {"hidden": 6, "rows": 5, "columns": 3, "vocabulary": 7, "out_positions": 8, "carry": carry}
    net = Chain(build("ntm", (8,), 7, **options)).double().eval()
    x = torch.randint(1, 7, (2, 8))
    whole = net(x)
    with remembering(net):
        pieces = [net(part) for part in x.split([3, 1, 4], 1)]
    torch.testing.assert_close(torch.cat(pieces, 1), whole)
    if carry:
        net[0].carried = None
        windows = [net(part) for part in x.split(4, 1)]
        torch.testing.assert_close(torch.cat(windows, 1), whole)
        assert net[0].carried.shape == (2, net[0].state_size)


def test_padding_of_a_whole_minibatch_is_not_read_and_changes_nothing():
    torch.manual_seed(0)
    net = Chain(build("ntm", (8,), 7, hidden=6, rows=5, columns=3, vocabulary=7, out_positions=8)).double()
    x = torch.randint(1, 7, (2, 8))
    x[0, 3:] = x[1, 5:] = 0
    seen = []
    net[0].run(x[:, :5], None, seen)
    assert len(seen) == 5
    torch.testing.assert_close(net(x)[:, :5], net(x[:, :5]))
    assert net(torch.zeros_like(x)).shape == (2, 8, 7)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"controller": "gru"}, "model.controller: unknown"),
        ({"rows": 2}, "model.shift: 1 rows back and on are more than the memory's 2"),
        ({"reads": 0}, "model.reads: must be a whole number of at least 1, got 0"),
        ({"carry": True}, "model.carry: windows continue each other only if every position has a target"),
    ],
)
def test_wrong_options_are_one_line(options, said):
    with pytest.raises(ValueError, match=said):
        build("ntm", (9, 3), 5, **options)
