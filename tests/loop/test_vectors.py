"""Word vectors in word2vec's text format: written, read, and what other runs begin with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from unlocked.config import load_config
from unlocked.data.words.text import SPECIAL
from unlocked.data.words.vectors import read_vectors, write_vectors
from unlocked.errors import ConfigError, DataError
from unlocked.generate import generate
from unlocked.loop import vectors as vectors_of_runs
from unlocked.loop.train import train
from unlocked.plan.blocks import build_blocks
from unlocked.plan.plan import load_data
from unlocked.runs.checkpoint import Checkpoints

TEXT = (
    " ".join(f"the {colour} {thing} was seen ." for colour in ("red", "blue") for thing in ("cat", "dog", "cow")) * 30
)
WORDS = ["<pad>", "<s>", "</s>", "<unk>", "a", "b", "New York"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("text") / "colours.txt"
    file.write_text(TEXT)
    return file


@pytest.fixture(scope="module")
def made(corpus):
    """Runs of a preset on the text, of seconds at most."""

    def run(preset, *more):
        given = [
            f"data={{name: text, batch_size: 4, options: {{file: {corpus}, length: 8, tokens: word}}}}",
            "train={epochs: 1, probe_every: 0}",
            "tracking={uri: 'off', figures: false}",
            f"tracking.runs={corpus.parent / 'runs'}",
        ]
        return load_config(preset, [*given, *more])

    return run


@pytest.fixture(scope="module")
def vectors(made) -> str:
    """A run of CBOW."""
    more = ["data.transforms=[{name: cbow, window: 2}]", "model.width=8"]
    return train(made("embedding/cbow", *more))["run_dir"]


def reader(made, *more):
    return made("recurrent/text", "model={name: gru, hidden: [8], embedding: 8}", "optimizer.clip_norm=null", *more)


def weights(run_dir, name):
    if name == "initial":
        return load_file(Path(run_dir) / "initial.safetensors")
    return load_file(Checkpoints(Path(run_dir)).last() / "model.safetensors")


def test_what_is_written_is_read_and_gensim_reads_it_too(tmp_path):
    table = torch.randn(len(WORDS), 3, generator=torch.Generator().manual_seed(0))
    path = write_vectors(tmp_path / "some.vec", WORDS, table)
    words, back = read_vectors("transfer.vectors", path)
    assert words == ["a", "b", "New_York"]
    np.testing.assert_allclose(back, table[4:].numpy(), rtol=1e-5)
    headless = tmp_path / "glove.txt"
    headless.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    assert read_vectors("transfer.vectors", headless)[0] == words
    models = pytest.importorskip("gensim.models")
    theirs = models.KeyedVectors.load_word2vec_format(str(path))
    assert theirs.index_to_key == words
    np.testing.assert_array_equal(theirs.vectors, back)
    theirs.save_word2vec_format(str(path))
    np.testing.assert_array_equal(read_vectors("transfer.vectors", path)[1], back)


def test_words_that_differ_by_blanks_alone_are_read_back_as_different_ones(tmp_path):
    symbols = [*WORDS[:4], "a b", "a_b", " ", "\n"]
    table = torch.arange(16.0).view(8, 2)
    words, back = read_vectors("transfer.vectors", write_vectors(tmp_path / "blanks.vec", symbols, table))
    assert words == ["a_b_", "a_b", "_", "__"]
    np.testing.assert_array_equal(back, table[4:].numpy())


def test_a_mark_of_the_byte_order_is_no_part_of_the_first_line(tmp_path):
    path = tmp_path / "marked.vec"
    path.write_text("2 2\na 1 2\nb 3 4\n", encoding="utf-8-sig")
    assert read_vectors("transfer.vectors", path)[0] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2 3\na 1 2 3\nb 1 2\n", "line 3: expected a word and 3 numbers, found 3 entries"),
        ("2 3\na 1 2 3\nb 1 two 3\n", "line 3: 'two' is not a number"),
        ("a 1 2\nb 1 nan\n", "line 2: the vector of 'b' is not finite"),
        ("2 2\na 1 2\na 3 4\n", "line 3: 'a' has a vector in line 2 already"),
        ("3 2\na 1 2\nb 3 4\n", "line 1: says 3 words, 2 lines follow"),
        ("", "line 1: expected a word and its numbers, found 0 entries"),
        ("0 5\n", "holds no vectors"),
        (b"2 3\n\xff\xfe\x00", "is not UTF-8 text"),
    ],
)
def test_a_malformed_file_is_one_line_that_names_the_line(tmp_path, text, said):
    path = tmp_path / "bad.vec"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=r"bad\.vec") as caught:
        read_vectors("transfer.vectors", path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("freeze", [True, False])
def test_a_sequence_model_begins_with_the_vectors_of_a_run_frozen_or_tuned(made, vectors, freeze):
    run = train(reader(made, f"transfer.vectors={vectors}", f"transfer.freeze={str(freeze).lower()}"))["run_dir"]
    source = weights(vectors, "last")["0.weight"]
    before, after = (weights(run, when) for when in ("initial", "last"))
    key = next(key for key, value in before.items() if key.startswith("0.") and value.shape == source.shape)
    assert torch.equal(before[key][len(SPECIAL) :], source[len(SPECIAL) :])
    assert not before[key][0].any()  # the padding's stays zero
    assert torch.equal(before[key], after[key]) == freeze
    assert {k for k in after if torch.equal(after[k], before[k])} == ({key} if freeze else set())


def test_a_language_model_of_words_takes_the_vectors_of_the_skip_gram_preset(made):
    """Both as they are, on another text: embedding/skipgram, then recurrent/words."""
    transforms = "data.transforms=[{name: skipgram, window: 2, negatives: 2}]"
    vectors = train(made("embedding/skipgram", transforms))["run_dir"]
    run = train(made("recurrent/words", f"transfer.vectors={vectors}", "model.hidden=[8]"))["run_dir"]
    source = weights(vectors, "last")["0.weight"]
    table = next(value for value in weights(run, "initial").values() if value.shape == source.shape)
    assert torch.equal(table[len(SPECIAL) :], source[len(SPECIAL) :])
    first, second = (load_config(preset).data for preset in ("embedding/skipgram", "recurrent/words"))
    assert (first.name, first.options) == (second.name, second.options)


def test_a_file_fills_the_words_that_it_has_and_leaves_the_others(made, tmp_path):
    file = tmp_path / "some.vec"
    file.write_text("2 8\nred " + " ".join("1" * 8) + "\nunheard " + " ".join("2" * 8) + "\n")
    run = train(reader(made, f"transfer.vectors={file}", "scheme.name=dfa"))["run_dir"]
    config = reader(made)
    drawn = next(iter(build_blocks(config, load_data(config).example)[0].parameters()))
    table = next(value for value in weights(run, "initial").values() if value.shape == drawn.shape)
    (red,) = (table != drawn).any(1).nonzero().flatten().tolist()
    assert bool((table[red] == 1).all())
    assert f"vectors: {file}" in (Path(run) / "config.yaml").read_text()


def test_what_does_not_fit_is_one_line(made, vectors, tmp_path):
    file = tmp_path / "wide.vec"
    file.write_text("1 3\nred 1 2 3\n")
    other = tmp_path / "other.vec"
    other.write_text("1 8\nunheard " + " ".join("2" * 8) + "\n")
    cases = {
        f"transfer.vectors={file}": r"has vectors of 3 numbers, gru embeds words in 8; set the width .* to 3",
        f"transfer.vectors={other}": "has a vector of no word of text",
        f"transfer.vectors={tmp_path / 'none'}": "cannot be read: No such file",
        f"transfer.vectors={tmp_path}": "is not a run folder",
        f"transfer={{vectors: {other}, run: {vectors}}}": r"transfer\.vectors: would replace weights of transfer\.run",
        "transfer.freeze=true": r"transfer\.freeze: True needs transfer\.run",
    }
    for override, said in cases.items():
        with pytest.raises((ConfigError, DataError), match=said) as caught:
            train(reader(made, override))
        assert "\n" not in str(caught.value)
    tied = made("transformer/gpt", "model.tied=true", "parallel.modules=1", "parallel.partition=null")
    tied.transfer.vectors, tied.transfer.freeze = vectors, True
    with pytest.raises(ConfigError, match=r"shares the embedding's weight; set model\.tied=false"):
        train(tied)


def test_a_run_of_several_nets_has_no_word_vectors(made, tmp_path, monkeypatch):
    tree = {"data": {"name": "digits"}, "model": {"name": "gan"}, "task": "adversarial"}
    monkeypatch.setattr(vectors_of_runs, "read_config", lambda path: tree)
    with pytest.raises(ConfigError, match=r"transfer\.vectors: \S+ is a run of gan, which has no word vectors"):
        train(reader(made, f"transfer.vectors={tmp_path}"))


def test_neighbours_analogies_and_all_vectors_are_generated(vectors, tmp_path):
    out = tmp_path / "all.vec"
    one, three, path = generate(vectors, ["red", "red cat blue"], top=3, vectors=str(out))
    assert one.startswith("red: ")
    assert len(one.split(", ")) == 3
    assert three.startswith("red is to cat as blue to: ")
    assert "red " not in three.partition(": ")[2]
    assert path == out
    words, table = read_vectors("transfer.vectors", out)
    source = weights(vectors, "last")["0.weight"]
    np.testing.assert_allclose(table, source[len(SPECIAL) :].numpy(), rtol=1e-4, atol=1e-7)
    assert "red" in words
    euclidean = generate(vectors, ["red"], measure="euclidean", top=1)[0]
    distances = np.linalg.norm(table - table[words.index("red")], axis=1)
    nearest = words[int(np.argsort(distances)[1])]
    assert euclidean == f"red: {nearest} {np.sort(distances)[1]:.2f}"


def test_neighbours_are_those_of_gensim(vectors):
    models = pytest.importorskip("gensim.models")
    out = Path(vectors) / "all.vec"
    generate(vectors, vectors=str(out))
    theirs = models.KeyedVectors.load_word2vec_format(str(out))
    for asked, given in (
        ("red", {"positive": ["red"]}),
        ("red cat blue", {"positive": ["cat", "blue"], "negative": ["red"]}),
    ):
        ours = generate(vectors, [asked], top=5)[0].partition(": ")[2].split(", ")
        assert [word.split(" ")[0] for word in ours] == [word for word, _ in theirs.most_similar(**given, topn=5)]


@pytest.mark.parametrize(
    ("inputs", "options", "said"),
    [
        (["rde"], {}, r"--input: unknown word 'rde'; did you mean 'red'\?"),
        (["red cat"], {}, "'red cat' is 2 words; one asks for its neighbours, three"),
        ([], {}, "name a word, or three for an analogy"),
        (["red"], {"measure": "cosin"}, "unknown measure 'cosin'; did you mean 'cosine'"),
        (["red"], {"top": 0}, "top: must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_asked_is_one_line(vectors, inputs, options, said):
    with pytest.raises(ConfigError, match=said) as caught:
        generate(vectors, inputs, **options)
    assert "\n" not in str(caught.value)
