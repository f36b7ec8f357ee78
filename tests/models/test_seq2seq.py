"""Encoder-decoders: their attention against its equations, teacher forcing, padding, scheduled sampling."""

import pytest
import torch
from torch import nn

from unlocked.data.words import text
from unlocked_models import Batch, Chain, Example, build
from unlocked_models.layers.alignment import score
from unlocked_models.layers.sequences import present
from unlocked_models.seq2seq import recurrent as seq2seq

PAIRS = Example((7,), 12, vocabulary=20, y_shape=(6,))
MODELS = [
    ("seq2seq", {"attention": "none", "cell": "rnn"}),
    ("seq2seq", {"attention": "bahdanau", "decoder": 2}),
    ("seq2seq", {"attention": "dot", "cell": "lstm", "bidirectional": False}),
    ("seq2seq", {"attention": "bilinear", "cell": "lstm", "encoder": 2}),
    ("seq2seq", {"attention": "mlp"}),
    ("seq2seq", {"attention": "mlp", "teacher_forcing": 0.5}),
    ("transformer_seq2seq", {"heads": 2, "inner": 16}),
    ("transformer_seq2seq", {"heads": 2, "inner": 16, "norm": "pre", "positions": "learned"}),
]


def make(name, **options) -> Chain:
    torch.manual_seed(0)
    return Chain(build(name, (7,), 12, example=PAIRS, width=8, **options)).double()


def pairs(n=3) -> Batch:
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randint(4, most, shape, generator=generator) for most, shape in ((20, (n, 7)), (12, (n, 6))))
    x[1, 4:] = 0
    return Batch(x, y)


def test_a_decoder_begins_with_the_token_that_data_sets_begin_with():
    assert seq2seq.BOS == text.BOS
    y = torch.tensor([[5, 6, 2, 0]])
    assert seq2seq.decoder_inputs(y).tolist() == [[text.BOS, 5, 6, 2]]


@pytest.mark.parametrize("name", ["dot", "bilinear", "mlp"])
def test_attention_weights_are_those_of_the_equations_and_sum_to_one(name):
    torch.manual_seed(0)
    layer = score(name, 4).double()
    s, h = torch.randn(2, 3, 4, dtype=torch.float64), torch.randn(2, 5, 4, dtype=torch.float64)
    there = torch.tensor([[True] * 5, [True, True, True, False, False]])
    weights = layer(s, layer.keys(h), there)
    for b, length in ((0, 5), (1, 3)):
        for i in range(3):
            e = []
            for j in range(length):
                if name == "dot":
                    e.append(s[b, i].dot(h[b, j]))
                elif name == "bilinear":
                    e.append(s[b, i].dot(layer.W.weight @ h[b, j]))
                else:
                    e.append(layer.v.weight[0].dot(torch.tanh(layer.W.weight @ s[b, i] + layer.U.weight @ h[b, j])))
            expected = torch.stack(e).exp() / torch.stack(e).exp().sum()
            torch.testing.assert_close(weights[b, i, :length], expected, rtol=1e-12, atol=1e-14)
    assert not weights[1, :, 3:].any()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, dtype=torch.float64), rtol=1e-14, atol=0)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_bahdanau_s_decoder_is_the_recurrence_of_the_paper(cell):
    chain, batch = make("seq2seq", cell=cell, attention="bahdanau"), pairs()
    memory = chain[0](batch.x, batch)
    layer, there = chain[1], present(batch)
    own = {"gru": nn.GRUCell, "lstm": nn.LSTMCell}[cell](64 + 8, 8).double()
    own.load_state_dict({key.removesuffix("_l0"): p for key, p in layer.cell.state_dict().items()})
    ends = torch.stack([torch.cat([memory[b, there[b].sum() - 1, :4], memory[b, 0, 4:]]) for b in range(3)])
    s = torch.tanh(layer.bridge.h(ends))
    state = s if cell == "gru" else (s, layer.bridge.c(ends))
    outs = []
    for token in seq2seq.decoder_inputs(batch.y).unbind(1):
        e = layer.score.v(torch.tanh(layer.score.W(s)[:, None] + layer.score.U(memory)))[:, :, 0]
        alpha = e.masked_fill(~there, -torch.inf).softmax(1)
        context, word = (alpha[:, :, None] * memory).sum(1), layer.words(token)
        state = own(torch.cat([word, context], 1), state)
        s = state[0] if cell == "lstm" else state
        outs.append(torch.tanh(layer.out(torch.cat([s, context, word], 1))))
    out = layer(memory, batch)
    torch.testing.assert_close(out[:, 7:], torch.stack(outs, 1), rtol=1e-12, atol=1e-12)
    assert torch.equal(out[:, :7], memory)


@pytest.mark.parametrize("name", ["dot", "bilinear", "mlp"])
def test_luong_s_decoder_combines_each_state_with_its_context(name):
    chain, batch = make("seq2seq", attention=name, cell="lstm"), pairs()
    memory = chain[0](batch.x, batch)
    states = chain[1](memory, batch)[:, 7:]
    attention = chain[2]
    weights = attention.score(states, attention.score.keys(memory), present(batch))
    context = torch.einsum("bts,bsd->btd", weights, memory)
    expected = torch.tanh(torch.cat([context, states], -1) @ attention.combine.weight.T)
    torch.testing.assert_close(
        attention(torch.cat([memory, states], 1), batch)[:, 7:], expected, rtol=1e-12, atol=1e-14
    )
    torch.testing.assert_close(chain(batch.x, batch), chain[3].linear(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_the_transformer_is_that_of_torch(norm):
    chain, batch = make("transformer_seq2seq", heads=2, inner=16, norm=norm), pairs()
    whole = nn.Transformer(8, 2, 2, 2, 16, 0.0, batch_first=True, norm_first=norm == "pre").double()
    if norm == "post":  # torch adds a last norm to either stack in both cases
        whole.encoder.norm = whole.decoder.norm = None
    else:
        whole.encoder.norm, whole.decoder.norm = chain[3].norm, chain[6].norm
    for ours, theirs in [
        *zip(chain[1:3], whole.encoder.layers, strict=True),
        *zip(chain[4:6], whole.decoder.layers, strict=True),
    ]:
        attentions = [(ours.attention, theirs.self_attn, theirs.norm1)]
        norms = [theirs.norm2]
        if ours.cross is not None:
            attentions.append((ours.cross, theirs.multihead_attn, theirs.norm2))
            norms = [theirs.norm3]
        for residual, attention, normalised in attentions:
            attention.in_proj_weight, attention.in_proj_bias = residual.f.qkv.weight, residual.f.qkv.bias
            attention.out_proj.weight, attention.out_proj.bias = residual.f.out.weight, residual.f.out.bias
            normalised.load_state_dict(residual.norm.state_dict())
        first, last = (layer for layer in ours.feedforward.f if isinstance(layer, nn.Linear))
        theirs.linear1.load_state_dict(first.state_dict())
        theirs.linear2.load_state_dict(last.state_dict())
        norms[0].load_state_dict(ours.feedforward.norm.state_dict())
    source = chain[0].positions(chain[0].words(batch.x))
    target = chain[3].positions(chain[3].words(seq2seq.decoder_inputs(batch.y)))
    padding = ~present(batch)
    causal = torch.ones(6, 6, dtype=torch.bool).triu(1)
    expected = chain[6].linear(
        whole.train()(source, target, tgt_mask=causal, src_key_padding_mask=padding, memory_key_padding_mask=padding)
    )
    torch.testing.assert_close(chain(batch.x, batch), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("name", "options"), MODELS)
def test_padding_of_the_source_is_not_read(name, options):
    chain, batch = make(name, **options).eval(), pairs()
    out = chain(batch.x, batch)
    embedding = chain[0].read if name == "seq2seq" else chain[0].words
    with torch.no_grad():
        embedding.weight[0] += 100.0  # what stands for padding
    torch.testing.assert_close(chain(batch.x, batch), out, rtol=0, atol=1e-13)
    alone = Batch(batch.x[1:2, :4], batch.y[1:2])
    torch.testing.assert_close(chain(alone.x, alone)[0], out[1], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("name", "options"), MODELS)
def test_no_position_reads_the_token_that_it_is_to_predict_or_a_later_one(name, options):
    chain, batch = make(name, **options).eval(), pairs()
    out = chain(batch.x, batch)
    changed = Batch(batch.x, batch.y.clone())
    changed.y[:, 3:] = 11
    other = chain(changed.x, changed)
    assert torch.equal(other[:, :4], out[:, :4])  # position 3 reads y_2
    assert not torch.allclose(other[:, 4:], out[:, 4:])


def test_certain_teacher_forcing_is_the_chain_without_scheduled_sampling():
    forced, batch = make("seq2seq", attention="bilinear", decoder=2), pairs()
    sampled = make("seq2seq", attention="bilinear", decoder=2, teacher_forcing=0.0)  # the same draws, the same weights
    torch.testing.assert_close(sampled.eval()(batch.x, batch), forced(batch.x, batch), rtol=0, atol=0)
    sampled[-1].least = 1.0  # step by step, over true tokens
    torch.testing.assert_close(sampled.train()(batch.x, batch), forced(batch.x, batch), rtol=1e-12, atol=1e-12)


def test_without_teacher_forcing_the_decoder_reads_what_it_draws():
    chain, batch = make("seq2seq", teacher_forcing=0.0), pairs()
    torch.manual_seed(3)
    first = chain(batch.x, batch)
    torch.manual_seed(3)
    again = chain(batch.x, Batch(batch.x, batch.y.flip(0)))
    assert torch.equal(first, again)  # of the seed, and of no target
    assert not torch.equal(chain(batch.x, batch), first)
    drawn, block = first.detach(), chain[-1]
    with torch.no_grad():  # a head that is sure of one token: it is what the next position reads
        block.head.linear.bias[7] += 1e6
    written = torch.full_like(batch.y, 7)
    out = chain(batch.x, batch)
    torch.testing.assert_close(out, chain.eval()(batch.x, Batch(batch.x, written)), rtol=1e-12, atol=1e-6)
    assert out.shape == drawn.shape


def test_teacher_forcing_fades_over_the_minibatches_that_were_seen():
    chain, batch = make("seq2seq", teacher_forcing=0.5, sampling_steps=4), pairs()
    seen = []
    for _ in range(6):
        seen.append(float(chain[-1].probability()))
        chain(batch.x, batch)
    assert seen == [1.0, 0.875, 0.75, 0.625, 0.5, 0.5]
    chain.eval()(batch.x, batch)
    assert int(chain[-1].seen) == 6  # and it is saved with the weights
    assert "1.seen" in chain.state_dict()


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("seq2seq", {"attention": "bahdanu"}, "model.attention: unknown attention 'bahdanu'; did you mean 'bahdanau'?"),
        ("seq2seq", {"cell": "gruu"}, "model.cell: unknown cell 'gruu'; did you mean 'gru'?"),
        ("seq2seq", {"width": 7}, "model.width: 7 is odd; a bidirectional encoder has half of it each way"),
        ("seq2seq", {"encoder": 0}, "model.encoder: must be a whole number of at least 1, got 0"),
        ("seq2seq", {"teacher_forcing": 1.5}, "model.teacher_forcing: must be from 0 to 1, got 1.5"),
        ("seq2seq", {"sampling_steps": 9}, "model.sampling_steps: 9 with model.teacher_forcing 1"),
        (
            "seq2seq",
            {"vocabulary": None},
            "model.name: seq2seq makes a sequence of tokens of a sequence of tokens; the "
            "data's inputs are real numbers",
        ),
        ("transformer_seq2seq", {"heads": 3, "width": 8}, "model.heads: 3 do not divide a width of 8"),
        ("transformer_seq2seq", {"positions": "none"}, "model.positions: unknown positions 'none'"),
        (
            "transformer_seq2seq",
            {"out_positions": None},
            "model.name: transformer_seq2seq makes a sequence of tokens of a "
            "sequence of tokens; the data's targets have no positions",
        ),
    ],
)
def test_what_cannot_be_built_is_one_line(name, options, words):
    with pytest.raises(ValueError, match="model") as caught:
        build(name, (7,), 12, example=PAIRS, **options)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)
