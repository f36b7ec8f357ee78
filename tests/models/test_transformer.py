"""Transformers as chains: what each reads and gives, what it must not see, how it starts, what it refuses."""

import pytest
import torch
from torch import nn

from unlocked_models import Batch, Chain, Example, build
from unlocked_models.layers.attention import TransformerLayer
from unlocked_models.layers.sequences import Patches
from unlocked_models.transformer import STD, First

TOKENS = Example((6,), 5, vocabulary=9)
TEXT = Example((6,), 9, vocabulary=9, y_shape=(6,))
MASKED = Example((6,), 9, vocabulary=9, y_shape=(6,), masked=True)
SMALL = {"width": 8, "heads": 2, "depth": 2}


def chain(name: str, example: Example, **options) -> Chain:
    torch.manual_seed(0)
    return Chain(build(name, example.in_shape, example.n_outputs, example=example, **{**SMALL, **options})).double()


def tokens(*rows: list[int]) -> Batch:
    return Batch(torch.tensor(rows), torch.zeros(len(rows), dtype=torch.long))


@pytest.mark.parametrize(
    ("name", "example", "out"),
    [
        ("transformer", Example((6,), 5), (5,)),
        ("transformer", Example((6, 3), 5), (5,)),
        ("transformer", Example((2, 6, 3), 5), (5,)),
        ("transformer", TOKENS, (5,)),
        ("vit", Example((3, 8, 12), 5), (5,)),
        ("gpt", TEXT, (6, 9)),
        ("bert", MASKED, (6, 9)),
        ("bert", TOKENS, (5,)),
    ],
)
def test_each_reads_what_it_is_made_for(name, example, out):
    batch = example.batch(3, dtype=torch.float64)
    assert chain(name, example)(batch.x, batch).shape == (3, *out)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary"])
@pytest.mark.parametrize("name", ["transformer", "vit"])
def test_the_order_of_the_positions_counts(name, positions):
    example = Example((1, 4, 8), 5)
    network = chain(name, example, positions=positions)
    x = torch.randn(2, 1, 4, 8, dtype=torch.float64)
    swapped = torch.cat([x[..., 4:], x[..., :4]], -1) if name == "vit" else x.flip(2)
    assert not torch.allclose(network(x), network(swapped), rtol=0, atol=1e-6)


def test_without_positions_the_order_does_not_count():
    network = chain("transformer", Example((6, 3), 5), positions="none")
    x = torch.randn(2, 6, 3, dtype=torch.float64)
    torch.testing.assert_close(network(x), network(x.flip(1)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("pool", ["mean", "last", "max"])
@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary"])
def test_padding_is_not_read(pool, positions):
    network = chain("transformer", TOKENS, pool=pool, positions=positions)
    padded = tokens([3, 1, 4, 1, 5, 2], [3, 1, 4, 0, 0, 0])
    out = network(padded.x, padded)
    with torch.no_grad():
        network[0][0].weight[0] += 100.0  # what stands for padding
    torch.testing.assert_close(network(padded.x, padded), out, rtol=0, atol=0)
    alone = tokens([3, 1, 4])
    torch.testing.assert_close(network(alone.x, alone)[0], out[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("example", [TOKENS, MASKED])
def test_bert_does_not_read_padding_either(example):
    network = chain("bert", example)
    padded, alone = tokens([1, 3, 2, 4, 2, 0]), tokens([1, 3, 2, 4, 2])
    out = network(padded.x, padded)
    out = out[:, :5] if example is MASKED else out
    torch.testing.assert_close(network(alone.x, alone), out, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        network[0].read.weight[0] += 100.0
    again = network(padded.x, padded)
    torch.testing.assert_close(again[:, :5] if example is MASKED else again, out, rtol=0, atol=0)


def test_rows_behind_the_end_of_a_sequence_are_not_read():
    network = chain("transformer", Example((6, 3), 5).with_extras({"lengths": torch.ones(1).long()}))
    x, long = torch.randn(1, 6, 3, dtype=torch.float64), torch.tensor([4])
    x[:, 3] = 0  # a row like any other
    alone, filled = (network(rows, Batch(rows, None, extras={"lengths": long})) for rows in (x[:, :4], x))
    torch.testing.assert_close(alone, filled, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary"])
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_gpt_computes_nothing_from_later_tokens(positions, norm):
    network = chain("gpt", TEXT, positions=positions, norm=norm)
    x = torch.tensor([[3, 1, 4, 1, 5, 2]])
    other = torch.tensor([[3, 1, 4, 8, 7, 6]])
    torch.testing.assert_close(network(other)[:, :3], network(x)[:, :3], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(network(other)[:, 3:], network(x)[:, 3:], atol=1e-6)


def test_bert_sees_both_sides_and_the_two_sentences():
    network = chain("bert", MASKED)
    first = network(torch.tensor([[1, 5, 2, 6, 7, 2]]), tokens([1, 5, 2, 6, 7, 2]))
    later = network(torch.tensor([[1, 5, 2, 6, 8, 2]]), tokens([1, 5, 2, 6, 8, 2]))
    assert (first[:, :4] - later[:, :4]).abs().amin() > 1e-9
    torch.manual_seed(1)
    nn.init.normal_(network[0].segment.weight)
    embedded = network[0](torch.tensor([[1, 5, 2, 6, 7, 2]]))
    with torch.no_grad():
        network[0].segment.weight[1] += torch.randn(8)
    changed = (network[0](torch.tensor([[1, 5, 2, 6, 7, 2]])) != embedded).any(-1)[0]
    assert changed.tolist() == [False, False, False, True, True, True]  # the first [SEP] is of the first sentence


def test_a_vit_is_its_equations():
    network = chain("vit", Example((2, 4, 4), 5), patch=2, depth=1)
    embed, layer, head = network
    x = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    patches = torch.stack([x[:, :, a : a + 2, b : b + 2].flatten(1) for a in (0, 2) for b in (0, 2)], 1)
    torch.testing.assert_close(Patches(2)(x), patches)
    z = torch.cat([embed[2].vector.expand(3, 1, 8), patches @ embed[1].weight.T + embed[1].bias], 1) + embed[3].table
    z = z + layer.attention.f(layer.attention.norm(z))
    z = z + layer.feedforward.f(layer.feedforward.norm(z))
    expected = head.norm(z)[:, 0] @ head.linear.weight.T + head.linear.bias
    torch.testing.assert_close(network(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_a_vit_without_a_class_token_pools_its_patches(pool):
    network = chain("vit", Example((1, 8, 8), 5), pool=pool)
    assert network[0](torch.zeros(1, 1, 8, 8, dtype=torch.float64)).shape == (1, 4, 8)
    assert network[-1].pool.kind == pool
    assert isinstance(chain("vit", Example((1, 8, 8), 5))[-1].pool, First)


def test_gpt_starts_as_gpt_2_does():
    torch.manual_seed(0)
    embedding, *layers, head = build("gpt", (6,), 400, example=Example((6,), 400, 400, (6,)), width=64, depth=8)
    assert embedding[0].weight[1:].std().item() == pytest.approx(STD, rel=0.05)
    assert head.linear.weight.std().item() == pytest.approx(STD, rel=0.05)
    for layer in layers:
        assert layer.attention.f.qkv.weight.std().item() == pytest.approx(STD, rel=0.05)
        for last in (layer.attention.f.out, layer.feedforward.f[-1]):
            assert last.weight.std().item() == pytest.approx(STD / 4, rel=0.05)  # sqrt(2 * 8)
            assert not last.bias.any()


@pytest.mark.parametrize(("name", "example"), [("gpt", TEXT), ("bert", MASKED)])
def test_tied_weights_are_one_and_get_the_gradients_of_both_uses(name, example):
    tied, free = chain(name, example, tied=True), chain(name, example)
    read = tied[0][0] if name == "gpt" else tied[0].read
    assert tied[-1].linear.weight is read.weight
    free.load_state_dict(tied.state_dict())
    batch = tokens([1, 3, 2, 4, 5, 2])
    for network in (tied, free):
        network(batch.x, batch).square().sum().backward()
    own = free[0][0] if name == "gpt" else free[0].read
    torch.testing.assert_close(read.weight.grad, own.weight.grad + free[-1].linear.weight.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["gpt", "bert"])
def test_pre_norm_layers_have_a_last_norm_and_post_norm_layers_need_none(name):
    example = TEXT if name == "gpt" else MASKED
    norms = {
        norm: sum(isinstance(m, nn.LayerNorm) for m in chain(name, example, norm=norm)[-1].modules())
        for norm in ("pre", "post")
    }
    assert norms["pre"] == norms["post"] + 1


def test_layers_carry_dropout_only_where_it_is_asked():
    for rate in (0.0, 0.5):
        layer = next(b for b in chain("gpt", TEXT, dropout=rate) if isinstance(b, TransformerLayer))
        h = torch.randn(2, 6, 8, dtype=torch.float64)
        assert torch.equal(layer(h), layer(h)) == (rate == 0)
        assert torch.equal(layer.eval()(h), layer(h))


@pytest.mark.parametrize(
    ("name", "example", "options", "message"),
    [
        ("transformer", TOKENS, {"heads": 3}, "model.heads: 3 do not divide a width of 8"),
        ("transformer", TOKENS, {"positions": "rotry"}, "model.positions: unknown positions 'rotry'; did you mean"),
        ("transformer", TOKENS, {"norm": "both"}, "model.norm: unknown norm 'both'"),
        ("transformer", TOKENS, {"pool": "token"}, "model.pool: unknown pool 'token'"),
        ("transformer", TOKENS, {"depth": 0}, "model.depth: must be a whole number of at least 1, got 0"),
        ("transformer", TOKENS, {"activation": "gelo"}, "model.activation: unknown activation 'gelo'"),
        ("transformer", TEXT, {}, "model.name: transformer reads both ways"),
        ("vit", Example((1, 8, 8), 5), {"patch": 3}, "model.patch: 3 does not divide images of 8 x 8 pixels"),
        ("vit", Example((1, 8, 8), 5), {"pool": "last"}, "model.pool: unknown pool 'last'"),
        ("vit", TOKENS, {}, "model.name: vit takes images"),
        ("gpt", TOKENS, {}, "model.name: gpt predicts the next token at every position"),
        ("gpt", Example((6, 3), 5), {}, "model.name: gpt predicts the next token at every position"),
        ("bert", Example((6, 3), 5), {}, "model.name: bert reads tokens"),
        ("bert", TEXT, {}, "model.name: bert sees both sides of every position"),
        ("bert", TOKENS, {"tied": True}, "model.tied: true, but a class is no token"),
    ],
)
def test_what_cannot_be_built_is_one_line(name, example, options, message):
    with pytest.raises(ValueError, match="model") as error:
        chain(name, example, **options)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
