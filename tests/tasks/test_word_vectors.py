"""Word vectors: losses against their equations, and what the vectors are asked."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch.nn.functional import logsigmoid

from unlocked.config import load_config
from unlocked.data.transforms.windows import Cbow, Windows
from unlocked.data.words.text import PAD
from unlocked.engine.group import InProcessGroup
from unlocked.errors import ConfigError
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.tasks.co_occurrence import CoOccurrence
from unlocked.tasks.negative_sampling import NegativeSampling
from unlocked.tasks.word_prediction import WordPrediction
from unlocked_models import Batch
from unlocked_models.contract.batch import Example
from unlocked_models.contract.chain import Chain, build
from unlocked_models.embedding import offsets

WORDS, WIDTH = 20, 6


def net(name, in_shape, **options):
    """In float64, every table random."""
    blocks = build(name, in_shape, WORDS, example=Example(in_shape, WORDS, WORDS), width=WIDTH, **options)
    chain = Chain(blocks).double()
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in chain.parameters():
            p.normal_(generator=g)
    return chain


def batch_of(kind, **options):
    g = torch.Generator().manual_seed(0)
    x = torch.randint(4, WORDS, (5, 9), generator=g)
    transform = kind(window=3, sample=0.05, **options)
    transform.prepare(Batch(x, x))
    return transform(Batch(x, x), g)


def test_skip_gram_of_windows_is_equation_4_over_all_pairs():
    chain, batch = net("skipgram", (9,)), batch_of(Windows, negatives=4)
    v, u = (p.detach() for p in chain.parameters())
    negatives, terms = batch.extras["negatives"], []
    for b in range(5):
        for i in range(9):
            for slot, offset in enumerate(offsets(6)):
                true = int(batch.y[b, i, slot])
                if true == PAD:
                    continue
                assert true == int(batch.x[b, i + offset])
                h = v[batch.x[b, i]]
                others = [int(c) for c in negatives[b, i + offset] if c != true]
                terms.append(-logsigmoid(u[true] @ h) - sum(logsigmoid(-u[c] @ h) for c in others))
    assert len(terms) > 50
    assert bool((negatives == batch.x[..., None]).any())  # a negative may be the true word
    loss = NegativeSampling().loss(chain(batch.x, batch), batch.y)
    assert loss.item() == pytest.approx(float(sum(terms)) / len(terms), abs=1e-12)


def test_cbow_is_equation_4_of_the_mean_of_its_window():
    chain, batch = net("cbow", (9, 6)), batch_of(Cbow, negatives=4)
    v, u = (p.detach() for p in chain.parameters())
    terms = []
    for b, i in (batch.y != PAD).nonzero().tolist():
        h = torch.stack([v[w] for w in batch.x[b, i] if w != PAD]).mean(0)
        true, *others = batch.extras["candidates"][b, i].tolist()
        terms.append(-logsigmoid(u[true] @ h) - sum(logsigmoid(-u[c] @ h) for c in others))
    loss = NegativeSampling().loss(chain(batch.x, batch), batch.y)
    assert loss.item() == pytest.approx(float(sum(terms)) / len(terms), abs=1e-12)


def test_the_full_softmax_is_equation_2():
    chain, batch = net("cbow", (9, 6), softmax="full"), batch_of(Cbow, negatives=0)
    v, u = (p.detach() for p in chain.parameters())
    nats = []
    for b, i in (batch.y != PAD).nonzero().tolist():
        h = torch.stack([v[w] for w in batch.x[b, i] if w != PAD]).mean(0)
        scores = [math.exp(u[c] @ h) for c in range(WORDS)]
        nats.append(-math.log(scores[int(batch.y[b, i])] / sum(scores)))
    loss = WordPrediction().loss(chain(batch.x, batch), batch.y)
    assert loss.item() == pytest.approx(sum(nats) / len(nats), abs=1e-12)


def test_glove_is_equation_8():
    chain = net("glove", (2,))
    words, contexts = (p.detach() for p in chain.parameters())
    g = torch.Generator().manual_seed(2)
    pairs = torch.randint(4, WORDS, (7, 2), generator=g)
    log_x, weight = torch.randn(7, generator=g).double(), torch.rand(7, generator=g).double()
    terms = [
        f * (words[i, :-1] @ contexts[j, :-1] + words[i, -1] + contexts[j, -1] - x) ** 2
        for (i, j), x, f in zip(pairs.tolist(), log_x, weight, strict=True)
    ]
    loss = CoOccurrence().loss(chain(pairs), torch.stack([log_x, weight], 1))
    assert loss.item() == pytest.approx(float(sum(terms)) / 7, abs=1e-12)


def test_m_is_told_the_nearest_of_several_true_words():
    y = torch.tensor([[[0, 7, 8, 9], [0, 0, 0, 0]]])
    example = Example((2,), WORDS, WORDS, (2, 4))
    task = NegativeSampling()
    assert task.context(Batch(None, y), example, torch.zeros(1)).tolist() == [[7, 0]]
    assert task.context_shape(example) == (2,)


SMALL = ["data.validation=0", "model.width=6", "train.precision=fp64", "train.probe_every=0", "tracking.uri=off"]
TEXT = "data.options={length: 8, tokens: word, vocabulary: 60}"
RUNS = {
    "windows": ["embedding/skipgram", TEXT, "data.transforms=[{name: windows, window: 2}]"],
    "cbow": ["embedding/cbow", TEXT],
    "full": ["embedding/cbow_full", TEXT],
    "glove": ["embedding/glove", "data.options={options: {vocabulary: 60, length: 8}}", "data.batch_size=64"],
}


def group(name, *more):
    preset, *own = RUNS[name]
    config = load_config(preset, [*own, *SMALL, *more])
    data = load_data(config)
    return InProcessGroup(make_plan(config, data), data)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize("name", [name for name in RUNS if name != "glove"])
def test_modules_of_backprop_are_autograd_through_both_tables(name, lab):
    one, two = (group(name, "scheme.name=backprop", f"parallel.modules={k}") for k in (1, 2))
    assert lab.train(one, 0, 5) == pytest.approx(lab.train(two, 0, 5), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "scheme"),
    [("windows", "cdni"), ("cbow", "dni"), ("full", "dfa"), ("full", "cdni"), ("glove", "backprop")],
)
def test_a_resumed_run_goes_on_as_an_unbroken_one(name, scheme, lab):
    more = [f"scheme.name={scheme}", f"scheme.lag={'auto' if scheme == 'backprop' else 2}"]
    unbroken, first, second = (group(name, *more) for _ in range(3))
    expected = lab.train(unbroken, 0, 6)
    lab.train(first, 0, 3, checkpoint_at=3)
    second.load_states(copy.deepcopy(first.states(3)))
    assert lab.train(second, 3, 6) == expected[3:]
    lab.assert_equal(lab.weights(second), lab.weights(unbroken))


@pytest.mark.parametrize("scheme", ["dni", "cdni", "dfa", "local", "frozen"])
def test_glove_under_anything_but_backprop_is_refused_with_the_reason(scheme):
    config = ["data.options={options: {vocabulary: 60}}", *SMALL, f"scheme.name={scheme}"]
    with pytest.raises(ConfigError, match=f"{scheme} cannot train for co_occurrence: the score .* one bilinear block"):
        load_config("embedding/glove", config)


def test_dfa_trains_the_full_softmax_and_no_redrawn_words():
    assert group("full", "scheme.name=dfa").modules
    with pytest.raises(ConfigError, match="dfa cannot train for negative_sampling: a coordinate of the output"):
        group("cbow", "scheme.name=dfa")
