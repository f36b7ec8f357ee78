"""Decoding against what can be worked out by hand: exhaustive search, counted draws, and what is refused."""

import contextlib
import itertools
import math

import pytest
import torch
from torch import nn

from unlocked.data.words.text import BOS, EOS, PAD, UNK
from unlocked.decoding.search import Decoder, beam_search, greedy, sample
from unlocked.errors import ConfigError
from unlocked_models import Batch, Chain, Example, build

VOCABULARY = 7  # 4 special tokens and 3 words
LONGEST = 4
ALLOWED = [EOS, 4, 5, 6]
MODELS = [
    ("seq2seq", {"attention": "bahdanau", "cell": "lstm", "decoder": 2}),
    ("seq2seq", {"attention": "bilinear", "cell": "lstm", "decoder": 2}),
    ("seq2seq", {"attention": "dot", "teacher_forcing": 0.5}),
    ("seq2seq", {"attention": "none", "cell": "rnn"}),
    ("transformer_seq2seq", {"heads": 2, "inner": 8}),
    ("transformer_seq2seq", {"heads": 2, "inner": 8, "norm": "pre", "positions": "learned"}),
]


def decoder(seed=0, n=5, model="seq2seq", **options) -> Decoder:
    torch.manual_seed(seed)
    example = Example((3,), VOCABULARY, vocabulary=9, y_shape=(LONGEST,))
    chain = Chain(build(model, (3,), VOCABULARY, example=example, width=8, **options)).double().eval()
    with torch.no_grad():  # far from uniform
        (chain[-1] if hasattr(chain[-1], "linear") else chain[-1].head).linear.weight.mul_(12)
    x = torch.randint(4, 9, (n, 3))
    x[1:2, 2] = PAD
    return Decoder(chain, x)


def log_probabilities(of: Decoder, prefix: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Of the token behind `prefix (m, t)` in sources `rows (m,)`: the decoder over all of it, under teacher forcing."""
    y = torch.cat([prefix, prefix.new_zeros(len(prefix), 1)], 1)
    with torch.no_grad():
        logits = of._blocks(of.memory[rows], Batch(of.x[rows], y))[:, -1]
    allowed = torch.full_like(logits, -torch.inf)
    allowed[:, ALLOWED] = logits[:, ALLOWED]
    return allowed.log_softmax(-1)


def log_probability(of: Decoder, row: int, sequence: list[int]) -> float:
    rows, total = torch.tensor([row]), 0.0
    for i, token in enumerate(sequence):
        total += float(log_probabilities(of, torch.tensor([sequence[:i]], dtype=torch.long), rows)[0, token])
    return total


def all_sequences() -> list[list[int]]:
    words = range(4, VOCABULARY)
    return [[*start, EOS] for length in range(LONGEST) for start in itertools.product(words, repeat=length)]


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_beam_as_wide_as_all_prefixes_is_exhaustive_search(seed, alpha):
    of = decoder(seed)
    found = beam_search(of, LONGEST, width=3**LONGEST, alpha=alpha)
    for row in range(len(of.x)):
        scored = {tuple(s): log_probability(of, row, s) / ((5 + len(s)) / 6) ** alpha for s in all_sequences()}
        best = max(scored, key=scored.__getitem__)
        assert found[row].tolist() == [*best, *[PAD] * (LONGEST - len(best))]


class Scripted:
    """One source, and p of the next token as written down: `script[prefix][token]`; what is missing cannot be."""

    def __init__(self, script: dict[tuple[int, ...], dict[int, float]]):
        self.script, self.x, self.memory = script, torch.ones(1, 1, dtype=torch.long), torch.zeros(1, 1)

    @contextlib.contextmanager
    def writing(self):
        prefixes = [()]

        def step(tokens, parents):
            nonlocal prefixes
            prefixes = [
                (*prefixes[p], *([] if t == BOS else [t]))
                for t, p in zip(tokens.tolist(), parents.tolist(), strict=True)
            ]
            log_p = torch.full((len(prefixes), VOCABULARY), -torch.inf)
            for row, prefix in enumerate(prefixes):
                for token, p in self.script.get(prefix, {}).items():
                    log_p[row, token] = math.log(p)
            return log_p

        yield step


def test_a_prefix_goes_on_while_the_longest_sequence_could_still_be_better():
    """A sequence that has ended beats every prefix at the length so far, but not at the length it can come to."""
    of = Scripted({(): {EOS: 0.42, 4: 0.40}, (4,): {5: 0.99}, (4, 5): {6: 0.99}, (4, 5, 6): {EOS: 0.99}})
    alpha = 2.0
    short, long = math.log(0.42), math.log(0.40 * 0.99**3)

    def lp(length):
        return ((5 + length) / 6) ** alpha

    assert math.log(0.40) / lp(1) < short / lp(1) < long / lp(4)  # given up at the length so far, best in the end
    assert beam_search(of, LONGEST, width=1, alpha=alpha).tolist() == [[4, 5, 6, EOS]]


@pytest.mark.parametrize(("model", "options"), MODELS)
def test_what_is_kept_gives_the_probabilities_of_the_whole_prefix_also_when_prefixes_change_places(model, options):
    of = decoder(model=model, **options)
    generator, calls = torch.Generator().manual_seed(1), []
    rows, prefix = torch.arange(5), torch.full((5, 1), BOS)
    with of.writing() as step:
        for t in range(LONGEST):
            parents = torch.arange(5) if t == 0 else torch.randint(len(rows), (7,), generator=generator)
            rows, prefix = rows[parents], prefix[parents]
            if t:
                prefix = torch.cat([prefix, torch.randint(4, VOCABULARY, (7, 1), generator=generator)], 1)
            seen = step(prefix[:, -1], parents)
            assert torch.isinf(seen[:, [PAD, BOS, UNK]]).all()
            calls.append((seen, rows, prefix[:, 1:]))
    for seen, rows, prefix in calls:
        torch.testing.assert_close(seen, log_probabilities(of, prefix, rows), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("model", "options"), MODELS)
@pytest.mark.parametrize("search", [greedy, sample, beam_search])
def test_a_token_costs_one_position(search, model, options):
    of, positions = decoder(model=model, **options), []
    first = of._blocks[0] if hasattr(of._blocks[0], "words") else of._blocks[0].parts[0]
    first.words.register_forward_pre_hook(lambda layer, given: positions.append(given[0].shape[1]))
    search(of, LONGEST)
    assert positions == [1] * len(positions)
    assert len(positions) > 1


class Alone(nn.Module):
    """A block that says nothing about pieces, around one that could."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, h, batch):
        return self.block(h, batch)


@pytest.mark.parametrize("search", [greedy, sample, beam_search])
def test_a_decoder_that_keeps_nothing_is_run_over_every_prefix(search):
    of = decoder(decoder=2)
    found = search(of, LONGEST)
    of._blocks = Chain([*of._blocks[:1], Alone(of._blocks[1]), *of._blocks[2:]])
    assert torch.equal(search(of, LONGEST), found)


@pytest.mark.parametrize(("model", "options"), MODELS)
def test_greedy_search_takes_the_likeliest_token_each_time(model, options):
    of = decoder(model=model, **options)
    found = greedy(of, LONGEST)
    for row, tokens in enumerate(found.tolist()):
        written = [token for token in tokens if token != PAD]
        for i, token in enumerate(written):
            prefix = torch.tensor([written[:i]], dtype=torch.long)
            assert int(log_probabilities(of, prefix, torch.tensor([row])).argmax()) == token
        assert EOS in written[-1:] or len(written) == LONGEST
        if written[-1] == EOS:
            assert tokens[len(written) :] == [PAD] * (len(tokens) - len(written))


def test_what_does_not_end_is_cut_at_the_limit():
    of = decoder()
    with torch.no_grad():
        of._blocks[-1].linear.bias[EOS] = -torch.inf
    for found in (greedy(of, 3), beam_search(of, 3, width=2), sample(of, 3)):
        assert found.shape == (5, 3)
        assert (found >= 4).all()


def test_draws_are_of_the_seed_and_follow_the_probabilities():
    of = decoder(n=1)
    of.x, of.memory = of.x.expand(4000, -1), of.memory.expand(4000, -1, -1)
    first = sample(of, 1, temperature=2.0, seed=5)
    assert torch.equal(first, sample(of, 1, temperature=2.0, seed=5))
    assert not torch.equal(first, sample(of, 1, temperature=2.0, seed=6))
    p = (log_probabilities(of, first[:1, :0], torch.tensor([0])) / 2.0).softmax(-1)[0]
    counted = torch.bincount(first[:, 0], minlength=VOCABULARY) / 4000
    assert (counted - p).abs().max() < 0.04  # 5 deviations of a share of a half


def test_a_low_temperature_is_greedy():
    of = decoder()
    assert torch.equal(sample(of, LONGEST, temperature=1e-6), greedy(of, LONGEST))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda of: sample(of, 2, temperature=0.0), "temperature: must be greater than 0, got 0.0"),
        (lambda of: sample(of, 2, top_k=0), "top_k: must be at least 1, got 0"),
        (lambda of: sample(of, 2, top_p=1.5), "top_p: must be greater than 0 and at most 1, got 1.5"),
        (lambda of: beam_search(of, 2, width=0), "beam: must be at least 1, got 0"),
        (lambda of: beam_search(of, 2, alpha=-1.0), "length_penalty: must be at least 0, got -1.0"),
    ],
)
def test_what_is_no_search_is_one_line(call, words):
    with pytest.raises(ConfigError) as caught:
        call(decoder())
    assert str(caught.value).startswith(words)


def test_sources_and_models_that_cannot_be_decoded_are_one_line():
    of = decoder()
    chain = Chain([nn.Identity(), *of._blocks])
    with pytest.raises(ConfigError, match="sentence 2 is empty: there is nothing to translate"):
        Decoder(chain, torch.tensor([[4, 0], [0, 0]]))
    with pytest.raises(ConfigError, match=r"model.name: this model does not decode"):
        Decoder(Chain([nn.Identity()]), torch.tensor([[4]]))
    torch.manual_seed(0)
    example = Example((3,), 3, vocabulary=9, y_shape=(2,))
    small = Decoder(Chain(build("seq2seq", (3,), 3, example=example, width=8)), torch.tensor([[4, 5, 2]]))
    with pytest.raises(ConfigError, match="the target vocabulary has 3 tokens: none beside the special ones"):
        greedy(small, 2)
