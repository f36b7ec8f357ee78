"""Generated text: equal to running the whole network for every token, drawn as asked, refused in one line."""

from functools import partial

import pytest
import torch

from unlocked import load_config, train
from unlocked.decoding.sampling import filtered
from unlocked.decoding.text import continued, next_token
from unlocked.errors import ConfigError, DataError
from unlocked.generate import generate
from unlocked.loop.train import resume
from unlocked.runs.evaluate import evaluate_run
from unlocked_models import Batch, Chain, Example, build

TEXT = Example((8,), 12, vocabulary=12, y_shape=(8,))
MODELS = [
    ("gpt", {"width": 8, "heads": 2}),
    ("gpt", {"width": 8, "heads": 2, "positions": "rotary", "norm": "post"}),
    ("gpt", {"width": 8, "heads": 2, "positions": "sinusoidal", "tied": True}),
    ("rnn", {"hidden": [6, 5]}),
    ("gru", {"hidden": [6], "carry": True}),
    ("lstm", {"hidden": [6]}),
    ("lstm", {"hidden": [6, 5], "carry": True, "peephole": True}),
]


def chain(name, options) -> Chain:
    torch.manual_seed(0)
    network = Chain(build(name, (8,), 12, example=TEXT, **options)).double().eval()
    with torch.no_grad():
        for p in network.parameters():
            p.normal_(std=0.6)  # logits far apart
    return network


def whole(network, ids) -> torch.Tensor:
    """Logits at every position, of one pass from the start."""
    for layer in network.modules():
        if hasattr(layer, "carried"):
            layer.carried = None
    return network(ids, Batch(ids, ids))[0]


@torch.no_grad()
@pytest.mark.parametrize(("name", "options"), MODELS)
def test_what_is_kept_gives_the_logits_of_the_whole_network(name, options):
    network = chain(name, options)
    ids = torch.randint(4, 12, (1, 8))
    with next_token(network, 8) as logits:
        seen = [logits(ids[:, :t]) for t in (3, 4, 5, 8)]  # a prompt of three, and several at once
    for t, scores in zip((3, 4, 5, 8), seen, strict=True):
        torch.testing.assert_close(scores[0], whole(network, ids[:, :t])[-1], rtol=1e-12, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize(("name", "options"), MODELS)
def test_only_the_new_token_is_run(name, options):
    network, lengths = chain(name, options), []
    network[0].register_forward_pre_hook(lambda block, given: lengths.append(given[0].shape[1]))
    with next_token(network, 8) as logits:
        continued(logits, [5, 6, 7], 4, lambda scores: int(scores.argmax()))
    assert lengths == [3, 1, 1, 1]


@torch.no_grad()
@pytest.mark.parametrize(("name", "options"), MODELS[:3])
def test_beyond_its_positions_a_transformer_reads_the_last_of_them(name, options):
    network = chain(name, options)
    ids = torch.randint(4, 12, (1, 12))
    with next_token(network, 8) as logits:
        seen = [logits(ids[:, :t]) for t in range(6, 13)]
    for t, scores in zip(range(6, 13), seen, strict=True):
        torch.testing.assert_close(scores[0], whole(network, ids[:, max(0, t - 8) : t])[-1], rtol=1e-12, atol=1e-12)
    with next_token(network, 8) as logits:  # a prompt that is too long already
        torch.testing.assert_close(logits(ids)[0], whole(network, ids[:, -8:])[-1], rtol=1e-12, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize(("name", "options"), MODELS[3:])
def test_a_recurrent_network_goes_on_without_end_and_starts_anew_each_time(name, options):
    network = chain(name, options)
    ids = torch.randint(4, 12, (1, 20))
    for _ in range(2):
        with next_token(network, 8) as logits:
            for t in (1, 19, 20):
                scores = logits(ids[:, :t])
        torch.testing.assert_close(scores[0], whole(network, ids)[-1], rtol=1e-12, atol=1e-12)


def test_special_tokens_are_never_generated():
    drawn = continued(lambda ids: torch.tensor([[9.0, 9.0, 9.0, 9.0, 1.0, 2.0]]), [4], 3, lambda s: int(s.argmax()))
    assert drawn == [5, 5, 5]


def test_a_temperature_sharpens_the_probabilities():
    p = torch.tensor([[0.5, 0.1, 0.25, 0.15]], dtype=torch.float64)
    sharper = filtered(p.log(), temperature=0.5).softmax(-1)
    torch.testing.assert_close(sharper, p**2 / (p**2).sum(), rtol=1e-12, atol=1e-12)


def test_of_equals_top_k_keeps_k():
    assert (filtered(torch.zeros(1, 6), top_k=2).softmax(-1) > 0).sum() == 2


def generate_text(run, prompt=None, **options) -> str:
    (text,) = generate(run, [] if prompt is None else [prompt], **options)
    return text


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of each kind, after a few steps."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "mine.txt").write_text("to be or not to be, that is the question\n" * 30, encoding="utf-8")
    made = {}
    for name, tokens in (("gpt", "char"), ("gpt", "word"), ("gpt", "bpe"), ("gru", "char")):
        model = "{name: gpt, width: 16, heads: 2, depth: 1}" if name == "gpt" else "{name: gru, hidden: [16, 12]}"
        config = load_config(
            "transformer/gpt",
            [
                f"data={{name: text, root: {folder}, batch_size: 4, options: {{file: mine.txt, length: 8, tokens: "
                f"{tokens}}}}}",
                f"model={model}",
                "train.epochs=1",
                "parallel.partition=null",
                "train.probe_every=0",
                f"tracking.runs={folder / name / tokens}",
                "tracking.uri=off",
                "tracking.figures=false",
            ],
        )
        train(config)
        (made[name, tokens],) = (folder / name / tokens).glob("*-s0-*")
    return made


@pytest.mark.parametrize(("name", "tokens"), [("gpt", "char"), ("gpt", "word"), ("gpt", "bpe"), ("gru", "char")])
def test_a_run_writes_on(runs, name, tokens):
    write = partial(generate_text, runs[name, tokens], "to be", length=12)
    text = write(seed=3)
    assert text.startswith("to be")
    assert text == write(seed=3)
    assert len({write(seed=seed) for seed in range(4)}) > 1
    assert write(greedy=True, seed=0) == write(greedy=True, seed=1) == write(top_k=1)
    if tokens == "char":
        assert len(text) == 5 + 12
    if tokens == "word":
        assert len(text.split()) == 2 + 12
        assert write(length=1).startswith("to be ")


def test_a_long_prompt_and_none_are_written_on_from_too(runs):
    long = "that is the question, to be or not"
    assert generate_text(runs["gpt", "char"], long, length=3).startswith(long)
    assert len(generate_text(runs["gru", "char"], length=7)) == 7


@pytest.mark.parametrize(
    ("tokens", "prompt", "options", "said"),
    [
        ("char", "to be ∞ Q", {}, "prompt: '∞', 'Q' are not in the vocabulary of text"),
        ("word", "to be hamlet", {}, "prompt: 'hamlet' is not in the vocabulary of text"),
        ("word", " ", {}, "prompt: ' ' has no word; text is read in words"),
        ("char", "to", {"length": 0}, "length: must be at least 1, got 0"),
        ("char", "to", {"temperature": 0.0}, "temperature: must be greater than 0, got 0.0"),
        ("char", "to", {"top_k": 0}, "top_k: must be at least 1, got 0"),
        ("char", "to", {"top_p": 1.5}, "top_p: must be greater than 0 and at most 1, got 1.5"),
    ],
)
def test_what_cannot_be_generated_is_one_line(runs, tokens, prompt, options, said):
    with pytest.raises(ConfigError) as error:
        generate_text(runs["gpt", tokens], prompt, **options)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


def test_a_run_that_is_no_language_model_is_refused(tmp_path):
    train(
        load_config(
            "transformer/vit",
            ["train.epochs=1", f"tracking.runs={tmp_path}", "tracking.uri=off", "tracking.figures=false"],
        )
    )
    (run,) = tmp_path.glob("vit-*")
    with pytest.raises(ConfigError, match="a run of classification generates nothing"):
        generate_text(run, "to be")


def test_a_text_that_changed_is_not_misread(runs):
    """As many symbols as before, but others: the ids would stand for something else."""
    run = runs["gpt", "char"]
    mine = run.parent.parent.parent / "mine.txt"
    before = mine.read_text(encoding="utf-8")
    try:
        mine.write_text(before.replace("q", "z"), encoding="utf-8")
        for read in (generate, evaluate_run, resume):
            with pytest.raises(DataError, match=r"text has changed since, and its tokens with it"):
                read(run)
    finally:
        mine.write_text(before, encoding="utf-8")
    assert generate_text(run, "to be", length=3).startswith("to be")
