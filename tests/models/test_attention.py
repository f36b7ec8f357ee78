"""Attention against torch.nn and its defining equations, in float64; masks proven by changing what they hide."""

import pytest
import torch
from torch import nn

from unlocked_models.contract.batch import Batch
from unlocked_models.contract.stepping import remembering
from unlocked_models.layers.attention import MultiHeadAttention, PaddedLayer, TransformerLayer, rotate
from unlocked_models.layers.sequences import Positions

EXACT = {"rtol": 1e-12, "atol": 1e-12}
THERE = torch.tensor([[True] * 5, [True, True, True, False, False]])


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def copied(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> None:
    with torch.no_grad():
        for mine, its in (
            (ours.qkv.weight, theirs.in_proj_weight),
            (ours.qkv.bias, theirs.in_proj_bias),
            (ours.out.weight, theirs.out_proj.weight),
            (ours.out.bias, theirs.out_proj.bias),
        ):
            mine.copy_(its.normal_())


def layer_pair(norm: str, decoder: bool) -> tuple[TransformerLayer, nn.Module]:
    torch.manual_seed(0)
    kind = nn.TransformerDecoderLayer if decoder else nn.TransformerEncoderLayer
    theirs = kind(8, 2, 24, dropout=0.0, activation="gelu", batch_first=True, norm_first=norm == "pre").double()
    ours = TransformerLayer(8, 2, 24, norm, "gelu", causal=decoder, cross=decoder).double()
    copied(ours.attention.f, theirs.self_attn)
    pairs = [
        (ours.attention.norm, theirs.norm1),
        (ours.feedforward.f[0], theirs.linear1),
        (ours.feedforward.f[2], theirs.linear2),
        (ours.feedforward.norm, theirs.norm2),
    ]
    if decoder:
        copied(ours.cross.f, theirs.multihead_attn)
        pairs[-1] = (ours.feedforward.norm, theirs.norm3)
        pairs.append((ours.cross.norm, theirs.norm2))
    for mine, its in pairs:
        for p in its.parameters():
            nn.init.normal_(p)
        mine.load_state_dict(its.state_dict())
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    return ours, theirs


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_attention_is_torchs(causal, padded):
    torch.manual_seed(0)
    ours, theirs = MultiHeadAttention(8, 2, causal=causal).double(), nn.MultiheadAttention(8, 2, batch_first=True)
    copied(ours, theirs.double())
    h, there = drawn(2, 5, 8), THERE if padded else None
    hidden = torch.ones(5, 5, dtype=torch.bool).triu(1) if causal else None
    expected, _ = theirs(h, h, h, key_padding_mask=None if there is None else ~there, attn_mask=hidden)
    torch.testing.assert_close(ours(h, there), expected, **EXACT)


def test_attention_starts_as_torchs_does():
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(64, 2, batch_first=True)
    ours = MultiHeadAttention(64, 2)
    for mine, its in ((ours.qkv.weight, theirs.in_proj_weight), (ours.out.weight, theirs.out_proj.weight)):
        assert mine.abs().max().item() == pytest.approx(its.abs().max().item(), rel=0.01)
    for bias in (ours.qkv.bias, theirs.in_proj_bias, ours.out.bias, theirs.out_proj.bias):
        assert not bias.any()


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_layer_is_torchs_encoder_layer_and_learns_the_same(norm):
    ours, theirs = layer_pair(norm, decoder=False)
    h = drawn(2, 5, 8)
    out, expected = ours(h, THERE), theirs(h, src_key_padding_mask=~THERE)
    torch.testing.assert_close(out[THERE], expected[THERE], **EXACT)
    weight = drawn(2, 5, 8) * THERE[:, :, None]
    (out * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(ours.attention.f.qkv.weight.grad, theirs.self_attn.in_proj_weight.grad, **EXACT)
    torch.testing.assert_close(ours.feedforward.f[0].weight.grad, theirs.linear1.weight.grad, **EXACT)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_layer_with_a_memory_is_torchs_decoder_layer(norm):
    ours, theirs = layer_pair(norm, decoder=True)
    h, memory = drawn(2, 4, 8), drawn(2, 5, 8)
    expected = theirs(h, memory, tgt_mask=torch.ones(4, 4, dtype=torch.bool).triu(1), memory_key_padding_mask=~THERE)
    torch.testing.assert_close(ours(h, None, memory, THERE), expected, **EXACT)


@pytest.mark.parametrize("rotary", [False, True])
def test_a_causal_layer_computes_nothing_from_later_positions(rotary):
    torch.manual_seed(0)
    layer = TransformerLayer(8, 2, 16, causal=True, rotary=rotary).double()
    h = drawn(2, 6, 8)
    changed = torch.cat([h[:, :4], drawn(2, 2, 8)], 1)
    torch.testing.assert_close(layer(changed)[:, :4], layer(h)[:, :4], **EXACT)
    assert not torch.allclose(layer(changed)[:, 4:], layer(h)[:, 4:])
    seen = TransformerLayer(8, 2, 16, rotary=rotary).double()
    assert not torch.allclose(seen(changed)[:, :4], seen(h)[:, :4])


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_padded_layer_computes_nothing_from_padding(norm):
    torch.manual_seed(0)
    layer = PaddedLayer(8, 2, 16, norm).double()
    batch = Batch(torch.tensor([[7, 8, 9, 4, 5], [7, 8, 9, 0, 0]]), torch.zeros(2))
    h = drawn(2, 5, 8)
    changed = torch.where(THERE[:, :, None], h, drawn(2, 5, 8))
    torch.testing.assert_close(layer(changed, batch)[THERE], layer(h, batch)[THERE], **EXACT)
    shorter = Batch(batch.x[1:, :3], batch.y[1:])
    torch.testing.assert_close(layer(h[1:, :3], shorter), layer(h, batch)[1:, :3], **EXACT)


def test_padding_of_a_memory_is_not_seen():
    torch.manual_seed(0)
    layer = TransformerLayer(8, 2, 16, causal=True, cross=True).double()
    h, memory = drawn(2, 4, 8), drawn(2, 5, 8)
    changed = torch.where(THERE[:, :, None], memory, drawn(2, 5, 8))
    torch.testing.assert_close(layer(h, None, changed, THERE), layer(h, None, memory, THERE), **EXACT)
    assert not torch.allclose(layer(h, None, changed), layer(h, None, memory))


def test_rotary_products_depend_on_distance_alone():
    torch.manual_seed(0)
    q, k = drawn(1, 1, 1, 6), drawn(1, 1, 1, 6)

    def score(m: int, n: int) -> float:
        return float((rotate(q, m) * rotate(k, n)).sum())

    for m, n in ((3, 1), (0, 4), (7, 7)):
        for shift in (1, 10, 500):
            assert score(m + shift, n + shift) == pytest.approx(score(m, n), abs=1e-11)
    assert score(3, 3) == pytest.approx(float((q * k).sum()), abs=1e-12)
    assert score(3, 1) != pytest.approx(score(1, 3), abs=1e-3)  # and on its direction


def test_rotary_positions_turn_pairs_of_features_by_the_papers_angles():
    x = drawn(1, 1, 4, 6)
    turned = rotate(x, start=2)
    for p in range(4):
        for i in range(3):
            angle = torch.tensor((p + 2) / 10_000 ** (2 * i / 6), dtype=torch.float64)
            turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
            pair = x[0, 0, p, 2 * i : 2 * i + 2]
            torch.testing.assert_close(turned[0, 0, p, 2 * i : 2 * i + 2], turn @ pair, **EXACT)


def test_attention_with_rotary_positions_does_not_change_when_all_positions_move():
    torch.manual_seed(0)
    layer = MultiHeadAttention(8, 2, causal=True, rotary=True).double()
    h = drawn(2, 7, 8)
    q, k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in layer.qkv(h).chunk(3, -1))
    seen = nn.functional.scaled_dot_product_attention(rotate(q, 40), rotate(k, 40), v, is_causal=True)
    torch.testing.assert_close(layer.out(seen.transpose(1, 2).flatten(2)), layer(h), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("pieces", [[6], [1] * 6, [3, 1, 2]])
def test_kept_keys_and_values_give_what_the_whole_sequence_gives(rotary, pieces):
    torch.manual_seed(0)
    positions = Positions("none" if rotary else "sinusoidal", 6, 8)
    blocks = nn.Sequential(positions, *(TransformerLayer(8, 2, 16, causal=True, rotary=rotary) for _ in range(2)))
    blocks.double()
    h = drawn(2, 6, 8)
    with torch.no_grad():
        whole = blocks(h)
        with remembering(blocks):
            parts = [blocks(piece) for piece in h.split(pieces, 1)]
        torch.testing.assert_close(torch.cat(parts, 1), whole, **EXACT)
        torch.testing.assert_close(blocks(h), whole, rtol=0, atol=0)  # and forgets it all


def test_a_decoder_keeps_its_memory_too():
    torch.manual_seed(0)
    layer = TransformerLayer(8, 2, 16, causal=True, cross=True).double()
    h, memory = drawn(2, 4, 8), drawn(2, 5, 8)
    with torch.no_grad():
        whole = layer(h, None, memory, THERE)
        with remembering([layer]):
            parts = [layer(h[:, :1], None, memory, THERE)]
            parts += [layer(h[:, t : t + 1], None, None, THERE) for t in range(1, 4)]
    torch.testing.assert_close(torch.cat(parts, 1), whole, **EXACT)


def test_layers_that_look_ahead_cannot_keep_what_they_saw():
    with (
        pytest.raises(ValueError, match="TransformerLayer: what is computed of a position depends on those that"),
        remembering([TransformerLayer(8, 2, 16)]),
    ):
        pass


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "model.heads: 3 do not divide a width of 8"),
        ({"heads": 8, "rotary": True}, "model.heads: 8 leave each an odd width of 1; rotary positions turn pairs"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match="model") as error:
        MultiHeadAttention(8, **options)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("kind", ["learned", "sinusoidal"])
def test_a_sequence_longer_than_the_positions_is_refused(kind):
    with pytest.raises(ValueError, match=r"^model.positions: a sequence of 7 positions, this model has 6$"):
        Positions(kind, 6, 8)(torch.zeros(1, 7, 8))
