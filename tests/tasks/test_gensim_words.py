"""Skip-gram and CBOW against gensim: the same gradient steps, and the same predictions of a word by its window."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unlocked.tasks.negative_sampling import NegativeSampling
from unlocked_models import Batch
from unlocked_models.contract.batch import Example
from unlocked_models.contract.chain import Chain, build

models = pytest.importorskip("gensim.models")

# of one negative: gensim moves the vectors of several one after the other
LR, WIDTH, NEGATIVES = 0.05, 8, 1
SENTENCE = ["a", "b"]


def made(sg, **options):
    """A model of three words, of which the last is every negative."""
    model = models.Word2Vec(
        vector_size=WIDTH, window=1, min_count=1, sample=0, negative=NEGATIVES, sg=sg, alpha=LR, min_alpha=LR, seed=3,
        workers=1, **options
    )  # fmt: skip
    model.build_vocab([list("aaabbc")])  # the most frequent word comes first
    index, g = model.wv.key_to_index, np.random.default_rng(0)
    model.wv.vectors[:] = g.normal(size=model.wv.vectors.shape, scale=0.5)
    model.syn1neg[:] = g.normal(size=model.syn1neg.shape, scale=0.5)
    model.cum_table[:] = 0
    model.cum_table[index["c"] :] = 2**31 - 1  # what comes before it has no share
    return model, index


def net(model, name, in_shape):
    """With gensim's weights behind four special tokens."""
    vocabulary = 4 + len(model.wv.vectors)
    chain = Chain(build(name, in_shape, vocabulary, example=Example(in_shape, vocabulary, vocabulary), width=WIDTH))
    chain = chain.double()
    with torch.no_grad():
        for p, theirs in zip(chain.parameters(), (model.wv.vectors, model.syn1neg), strict=True):
            p[:4] = 0
            p[4:] = torch.from_numpy(theirs)
    return chain


def steps(chain, batches):
    """One word after the other, as gensim has it, by the gradient of the pair."""
    for batch in batches:
        NegativeSampling().loss(chain(batch.x, batch), batch.y).backward()
        with torch.no_grad():
            for p in chain.parameters():
                p -= LR * p.grad
                p.grad = None


def test_a_step_of_skip_gram_is_gensim_s():
    model, index = made(sg=1)
    ids = {word: 4 + i for word, i in index.items()}
    chain = net(model, "skipgram", (1,))
    model.train([SENTENCE], total_examples=1, epochs=1)
    pairs = [("b", "a"), ("a", "b")]  # of each word in turn: gensim predicts it from the one beside it
    given = [
        Batch(
            torch.tensor([[ids[one]]]),
            torch.tensor([[ids[other]]]),
            extras={"candidates": torch.tensor([[[ids[other], *[ids["c"]] * NEGATIVES]]])},
        )
        for one, other in pairs
    ]
    steps(chain, given)
    for p, theirs in zip(chain.parameters(), (model.wv.vectors, model.syn1neg), strict=True):
        # gensim reads the sigmoid from a table of 1,000 values between -6 and 6
        np.testing.assert_allclose(p[4:].detach().numpy(), theirs, atol=LR * 0.02)


def test_a_step_of_cbow_is_gensim_s():
    model, index = made(sg=0, cbow_mean=1)
    ids = {word: 4 + i for word, i in index.items()}
    chain = net(model, "cbow", (1, 2))
    model.train([SENTENCE], total_examples=1, epochs=1)
    given = [
        Batch(
            torch.tensor([[[0, ids[near]]]]),
            torch.tensor([[ids[word]]]),
            extras={"candidates": torch.tensor([[[ids[word], *[ids["c"]] * NEGATIVES]]])},
        )
        for near, word in (("b", "a"), ("a", "b"))
    ]
    steps(chain, given)
    for p, theirs in zip(chain.parameters(), (model.wv.vectors, model.syn1neg), strict=True):
        np.testing.assert_allclose(p[4:].detach().numpy(), theirs, atol=LR * 0.02)


def test_cbow_s_scores_of_a_window_are_gensim_s():
    model, index = made(sg=0, cbow_mean=1)
    chain = net(model, "cbow", (1, 2))
    words = [4 + index[word] for word in ("a", "c")]
    everything = torch.arange(4, 4 + len(index))[None, None]
    scores = chain(torch.tensor([[words]]), Batch(None, torch.zeros(1, 1), extras={"candidates": everything}))
    theirs = dict(model.predict_output_word(["a", "c"], topn=3))
    for word, i in index.items():
        assert scores.softmax(-1)[0, 0, i].item() == pytest.approx(theirs[word], abs=1e-6)
