"""Translations of a trained run, their BLEU, and the maps of what was looked at."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sacrebleu.metrics import BLEU

from unlocked import load_config, train
from unlocked.data.words.pairs import frame_of, framed
from unlocked.data.words.text import BOS, EOS, PAD, UNK
from unlocked.decoding.maps import attention_maps
from unlocked.decoding.search import beam_search, greedy
from unlocked.decoding.translation import bleu, quality, source_ids, texts, tokens_of, translations
from unlocked.errors import ConfigError
from unlocked.generate import generate
from unlocked.runs.evaluate import evaluate_run, load_chain
from unlocked.tasks import load
from unlocked_models import Batch, Chain, build


def translate(run, sentences, method="beam", **options) -> list[str]:
    return generate(run, sentences, method=method, **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Dates, learned for a few seconds."""
    config = load_config(
        "seq2seq/bahdanau",
        [
            "data.options.pairs=1500",
            "train.epochs=3",
            "train.probe_every=0",
            "parallel.modules=1",
            "parallel.partition=null",
            "tracking.uri=off",
            f"tracking.runs={tmp_path_factory.mktemp('runs')}",
        ],
    )
    return train(config)


def test_a_run_ends_with_bleu_and_attention_maps(run):
    metrics = run["metrics"]
    assert 0 < metrics["test/bleu"] < 100
    assert 0 <= metrics["test/exact"] < metrics["test/accuracy"]
    assert metrics["test/perplexity"] == pytest.approx(2.718281828 ** metrics["test/loss"], rel=1e-6)
    folder = Path(run["run_dir"])
    assert (folder / "figures" / "attention.png").read_bytes().startswith(b"\x89PNG")
    again = evaluate_run(folder)["metrics"]
    assert again["test/bleu"] == pytest.approx(metrics["test/bleu"])
    assert json.loads((folder / "summary.json").read_text())["metrics"]["test/bleu"] == metrics["test/bleu"]


def test_bleu_is_of_what_the_model_writes_when_nobody_shows_it_the_target(run):
    data = load("dates", pairs=1500)
    chain, _ = load_chain(Path(run["run_dir"]), load_config("seq2seq/bahdanau"), data)
    x, y = data.test.x[:200], data.test.y[:200]
    never = torch.tensor([PAD, BOS, UNK])

    def likeliest(targets):
        """Of every position, given the targets before it."""
        with torch.no_grad():
            return chain(x, Batch(x, targets)).index_fill(-1, never, -torch.inf).argmax(-1)

    written = torch.zeros_like(y)
    for i in range(y.shape[1]):  # its own words, one by one, over the whole prefix
        written[:, i] = likeliest(written)[:, i]
    wanted = texts(y, data)
    free, forced = bleu(texts(written, data), wanted, "none"), bleu(texts(likeliest(y), data), wanted, "none")
    assert abs(forced - free) > 0.01  # a test that could not tell them apart would prove nothing
    part = replace(data, test=replace(data.test, x=x, y=y))
    assert quality(chain, part, "test")["bleu"] == pytest.approx(free)


def test_sentences_are_translated_as_the_test_split_is(run):
    data = load("dates", pairs=1500)
    sentences = [" ".join(tokens_of(row, data.symbols)) for row in data.test.x[:200]]
    chain, _ = load_chain(Path(run["run_dir"]), load_config("seq2seq/bahdanau"), data)
    for method, search in (("greedy", greedy), ("beam", lambda decoder, most: beam_search(decoder, most, 3, 1.0))):
        found = texts(translations(chain, data.test.x[:200], data, search), data)
        assert translate(run["run_dir"], sentences, method, beam=3, length_penalty=1.0) == found
    drawn = translate(run["run_dir"], sentences[:2], "sample", temperature=3.0, seed=1)
    assert drawn == translate(run["run_dir"], sentences[:2], "sample", temperature=3.0, seed=1)
    assert all(len(text.split()) == 3 for text in translate(run["run_dir"], sentences[:2], "greedy", longest=3))


@pytest.mark.parametrize(
    ("sentences", "options", "words"),
    [
        (["3 May", " "], {}, "sentence 2 is empty: there is nothing to translate"),
        (["May " * 20], {}, "sentence 1 has 20 tokens; this model reads at most 10"),
        (
            ["May"],
            {"method": "bean"},
            "method: unknown method 'bean'; did you mean 'beam'? (known: beam, greedy, sample)",
        ),
        (["May"], {"longest": 12}, "longest: must be from 1 to 11 (the positions of this model's decoder), got 12"),
        (["May"], {"beam": 0}, "beam: must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_translated_is_one_line(run, sentences, options, words):
    with pytest.raises(ConfigError) as caught:
        translate(run["run_dir"], sentences, **options)
    assert str(caught.value) == words


def test_without_a_tokeniser_sentences_are_written_in_the_data_s_tokens():
    data = load("dates", pairs=10)
    ids = source_ids(["May 3 ,  1 9 8 4"], data)
    assert tokens_of(ids[0], data.symbols) == ["May", "3", ",", "1", "9", "8", "4"]
    with pytest.raises(ConfigError) as caught:
        source_ids(["May", "Mai"], data)
    said = str(caught.value)
    assert said.startswith("sentence 2: unknown token of dates 'Mai'; did you mean 'May'? (known: ,, ., /, 0, 1,")
    assert said.endswith(f" and {len(data.symbols) - 4 - 40} more)")


@pytest.mark.parametrize("before", [[], [BOS]])
@pytest.mark.parametrize("behind", [[], [EOS]])
def test_a_sentence_is_given_as_training_saw_it(before, behind):
    """Sources that a user's data set does not end in </s> were given one by generate alone."""
    data = load("dates", pairs=50)
    bare = [row[(row != PAD) & (row != EOS)].tolist() for row in data.train.x]
    length = data.in_shape[0] + len(before)
    own = torch.from_numpy(framed(bare, length, (before, behind)))
    assert frame_of(own) == (before, behind)
    mine = replace(data, in_shape=(length,), train=replace(data.train, x=own))
    sentences = [" ".join(data.symbols[i] for i in ids) for ids in bare]
    assert torch.equal(source_ids(sentences, mine), own)
    most = length - len(before) - len(behind)
    assert source_ids(["May " * most], mine).shape == (1, length)  # as long as fits
    with pytest.raises(ConfigError, match=f"this model reads at most {most}"):
        source_ids(["May " * (most + 1)], mine)


def test_sources_that_fill_every_position_are_read_to_their_end():
    assert frame_of(torch.tensor([[5, 6, 7], [5, 6, EOS], [5, EOS, PAD]])) == ([], [EOS])
    assert frame_of(torch.tensor([[5, 6, 7], [5, 6, 0], [5, 0, 0]])) == ([], [])


def test_a_text_is_cut_by_the_tokeniser_of_its_data_and_written_by_it(tmp_path):
    folder = tmp_path / "verses"
    folder.mkdir()
    for language, word in (("en", "Verse"), ("fr", "Vers")):
        verses = [{"id": i, "translation": f"{word} {i}, yes!"} for i in range(40)]
        (folder / f"quran_{language}.json").write_text(json.dumps([{"id": 1, "verses": verses}]))
    data = load("verses", root=tmp_path, length=24, vocabulary=270)
    ids = source_ids([" Verse 7, yes!"], data)
    assert texts(ids, data) == ["verse 7, yes!"]
    words = load("verses", root=tmp_path, tokens="word", vocabulary=9)
    assert texts(source_ids(["verse 7, no!"], words), words) == ["verse <unk> , <unk> !"]  # no word is lost


def test_bleu_is_sacrebleu_s_on_tokens():
    written, wanted = ["a b c d, e", "f g"], ["a b c d, f", "f g h"]
    for tokens in ("none", "13a"):
        expected = BLEU(tokenize=tokens, force=True).corpus_score(written, [wanted]).score
        assert bleu(written, wanted, tokens) == pytest.approx(expected)
    assert bleu(wanted, wanted) == pytest.approx(100)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("seq2seq", {"attention": "bahdanau"}),
        ("seq2seq", {"attention": "dot"}),
        ("transformer_seq2seq", {"heads": 2, "inner": 8, "decoder": 2}),
    ],
)
def test_attention_maps_sum_to_one_over_the_source_and_leave_out_its_padding(name, options):
    torch.manual_seed(0)
    data = load("dates", pairs=10)
    chain = Chain(build(name, data.in_shape, data.n_outputs, example=data.example, width=8, **options)).double()
    maps = attention_maps(chain, data.test.x[:3], data.test.y[:3])
    assert maps.shape == (3, 11, 11)
    torch.testing.assert_close(maps.sum(-1), torch.ones(3, 11, dtype=torch.float64))
    assert not maps.masked_select((data.test.x[:3] == 0)[:, None].expand(3, 11, 11)).any()
    assert not any(layer._forward_hooks for layer in chain.modules())


def test_the_transformer_s_map_weighs_the_values_as_its_attention_does():
    torch.manual_seed(0)
    data = load("dates", pairs=10)
    chain = Chain(
        build("transformer_seq2seq", data.in_shape, data.n_outputs, example=data.example, width=8, heads=2, inner=8)
    ).double()
    layer, h, memory = chain[4].cross.f, torch.randn(2, 3, 8).double(), torch.randn(2, 5, 8).double()
    there = torch.tensor([[True] * 5, [True, True, False, False, False]])
    values = torch.nn.functional.linear(memory, layer.qkv.weight[16:], layer.qkv.bias[16:])
    heads = layer.weights(h, there, memory) @ values.unflatten(-1, (2, 4)).transpose(1, 2)
    torch.testing.assert_close(layer.out(heads.transpose(1, 2).flatten(2)), layer(h, there, memory))


def test_a_model_without_attention_has_no_map():
    data = load("dates", pairs=10)
    chain = Chain(build("seq2seq", data.in_shape, data.n_outputs, example=data.example, width=8, attention="none"))
    assert attention_maps(chain, data.test.x[:3], data.test.y[:3]) is None
    assert chain(data.test.x[:3], Batch(data.test.x[:3], data.test.y[:3])).shape == (3, 11, 15)
