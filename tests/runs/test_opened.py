"""A trained run opened for new inputs: the same outputs as its evaluation, without its data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from unlocked import load, predict, train
from unlocked.config import load_config
from unlocked.errors import ConfigError, DataError
from unlocked.plan.blocks import named_weights
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.runs import opened as opened_module
from unlocked.runs.checkpoint import Checkpoints, Progress
from unlocked.runs.evaluate_file import evaluate_file
from unlocked.runs.folder import RunFolder, keep_inputs
from unlocked.runs.opened import as_new, open_trained

QUICK = [
    "parallel.engine=inprocess", "parallel.threads=1", "tracking.uri=off", "tracking.figures=false", "train.epochs=1",
    "train.probe_every=0", "data.validation=0",
]  # fmt: skip


@pytest.fixture
def trained(tmp_path):
    def make(preset, *overrides):
        config = load_config(preset, [*QUICK, f"tracking.runs={tmp_path / 'runs'}", *overrides])
        return config, train(config)

    return make


def untrained(tmp_path, preset, *overrides):
    """A run with the weights that it begins with."""
    config = load_config(preset, [*QUICK, f"tracking.runs={tmp_path}", *overrides])
    data = load_data(config)
    plan, folder = make_plan(config, data), RunFolder.create(config)
    keep_inputs(folder.path, data)
    Checkpoints(folder.path).save(Progress(step=1), [{"weights": named_weights(plan)}], is_best=False)
    folder.release()
    return {"run_dir": str(folder.path)}


def test_a_conditional_autoencoder_is_asked_nothing_without_its_label(tmp_path):
    with pytest.raises(ConfigError, match="its net reads the target beside the input"):
        predict(untrained(tmp_path, "autoencoder/cvae"), np.zeros((1, 1, 8, 8)))


def test_a_run_answers_as_it_was_evaluated_without_its_data_set(small, monkeypatch):
    config = small("train.epochs=1", "data.options={}")
    summary, data = train(config), load_data(config)
    raw = data.test.x.numpy().astype("float64")  # digits stay as given
    monkeypatch.setattr(opened_module, "load_data", lambda config: pytest.fail("the data set was loaded"))
    table = predict(summary, raw)
    right = [a == data.class_names[b] for a, b in zip(table["prediction"], data.test.y.tolist(), strict=True)]
    assert np.mean(right) == summary["metrics"]["test/accuracy"]
    assert sum(table[f"p({i})"][0] for i in range(10)) == pytest.approx(1)
    net = load(summary["run_dir"])
    assert type(net) is nn.Sequential
    assert not net.training
    opened = open_trained(summary)
    torch.testing.assert_close(opened.outputs(as_new(opened, raw)), net(data.test.x), atol=1e-5, rtol=0)


def test_a_net_of_half_precision_answers_in_numbers_that_numpy_knows(tmp_path):
    run = untrained(tmp_path, "digits/backprop")
    opened = open_trained(run)
    wanted = opened.outputs(new := as_new(opened, np.ones((2, 1, 8, 8))))
    opened.net().to(torch.bfloat16)
    given = opened.outputs(new)
    assert given.dtype == torch.float32
    torch.testing.assert_close(given, wanted, atol=0.05, rtol=0.05)


def test_a_run_that_wrote_nothing_down_reads_its_data_set(small):
    summary = train(small("train.epochs=1"))
    x = np.zeros((1, 1, 8, 8))
    found = predict(summary, x)
    (Path(summary["run_dir"]) / "inputs.json").unlink()
    assert predict(summary, x) == found


def test_of_standardised_targets_values_come_in_their_own_units(trained):
    config, summary = trained("recurrent/sunspots", "data.transforms=[standardise]")
    data = load_data(config)
    found = predict(summary, data.test.x.numpy().astype("float64"))["prediction"]
    wanted = data.given["test"].y[:, 0].double().numpy()
    rmse = np.sqrt(np.mean((np.array(found) - wanted) ** 2))
    assert rmse == pytest.approx(summary["metrics"]["test/rmse"], rel=1e-5)


@pytest.mark.parametrize("task", ["regression", "classification", "binary_classification"])
def test_new_rows_of_a_table_are_answered_as_those_of_its_test_file(trained, tmp_path, task):
    kinds, rng = np.array(["cat", "dog", "eel"]), np.random.default_rng(0)
    places, ages = rng.integers(3 - (task == "binary_classification"), size=90), rng.random(90)
    rows = zip(kinds[places], places * 10 + ages, ages, strict=True)
    lines = [f"{kind},{weight:.3f},{age if age > 0.1 else ''}" for kind, weight, age in rows]
    for name, part in (("train", lines[:60]), ("test", lines[60:])):
        (tmp_path / f"{name}.csv").write_text("\n".join(["kind,weight,age", *part]))
    target = "weight" if task == "regression" else "kind"
    options = f"{{file: {tmp_path / 'train.csv'}, test: {tmp_path / 'test.csv'}, target: {target}, task: {task}}}"
    _, summary = trained("quickstart", f"data={{name: table, batch_size: 8, options: {options}}}", "train.epochs=2")
    found = predict(summary, tmp_path / "test.csv")
    wanted = np.array([line.split(",")[task == "regression"] for line in lines[60:]])
    if task == "regression":
        rmse = np.sqrt(np.mean((np.array(found["prediction"]) - wanted.astype(float)) ** 2))
        assert rmse == pytest.approx(summary["metrics"]["test/rmse"], rel=1e-4)
    elif task == "classification":
        assert np.mean(np.array(found["prediction"]) == wanted) == pytest.approx(summary["metrics"]["test/accuracy"])
    again = evaluate_file(Path(summary["run_dir"]), tmp_path / "test.csv", "best")["metrics"]
    for name, value in again.items():
        assert value == pytest.approx(summary["metrics"][name.replace("data/", "test/")], rel=1e-4)


@pytest.mark.parametrize("relative", ["false", "true"])
def test_a_series_is_evaluated_on_another_file_and_forecast_after_its_end(trained, tmp_path, relative):
    for name, begin in (("train", 0), ("test", 60)):
        rows = [f"{day},{np.sin(day / 3) * 40 + 100:.2f}" for day in range(begin, begin + 60)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["day,level", *rows]))
    files = f"file: {tmp_path / 'train.csv'}, test: {tmp_path / 'test.csv'}"
    options = f"{{{files}, time: day, length: 6, horizon: 2, relative: {relative}}}"
    data = f"data={{name: series, batch_size: 8, options: {options}}}"
    _, summary = trained("recurrent/sunspots", data, "train.epochs=2", "model.hidden=[4]", "parallel.modules=1")
    again = evaluate_file(Path(summary["run_dir"]), tmp_path / "test.csv", "best")["metrics"]
    assert again["data/rmse"] == pytest.approx(summary["metrics"]["test/rmse"], rel=1e-4)
    table = predict(summary, tmp_path / "test.csv")
    assert [len(table[name]) for name in ("level +1", "level +2")] == [1, 1]
    assert 50 < table["level +1"][0] < 150  # in its own units


def test_an_autoencoder_says_how_far_its_output_is_from_the_input(trained):
    config, summary = trained("autoencoder/autoencoder")
    data = load_data(config)
    found = predict(summary, data.test.x.numpy().astype("float64"))["mse"]
    assert np.mean(found) == pytest.approx(summary["metrics"]["test/mse"], rel=1e-5)


def test_a_graph_is_asked_for_the_class_of_every_node(trained, tmp_path):
    config, summary = trained("graph/gcn", "data.options={nodes: 90}", "model.hidden=[8]")
    data = load_data(config)
    edges = data.test.extras["edge_index"][0].numpy()
    np.savez(tmp_path / "graph.npz", x=data.test.x[0].numpy(), edge_index=edges)
    table = predict(summary, tmp_path / "graph.npz")
    assert table["node"] == list(range(90))
    assert predict(summary, {"x": data.test.x[0].numpy(), "edge_index": edges}) == table
    with pytest.raises(DataError, match=r"inputs: edge_index of shape \(2, 1\) is not \(2, edges\) of nodes 0 to 89"):
        predict(summary, {"x": data.test.x[0].numpy(), "edge_index": np.array([[0], [90]])})
    asked = data.test.y[0] != -1
    right = [data.class_names.index(table["prediction"][i]) == data.test.y[0, i] for i in asked.nonzero().flatten()]
    assert np.mean(right) == pytest.approx(summary["metrics"]["test/accuracy"])


def test_a_language_model_says_which_token_comes_next(trained, tmp_path):
    (tmp_path / "text.txt").write_text("abcd" * 300)
    options = f"data={{name: text, batch_size: 8, options: {{file: {tmp_path / 'text.txt'}, length: 8}}}}"
    _, summary = trained("transformer/gpt", options, "model.width=16", "train.epochs=4", "optimizer.lr=0.02")
    found = predict(summary, ["ab", "abcdabcdabcd", "abc"])
    assert found["prediction"] == ["c", "a", "d"]
    assert "'a'" in found["others"][0]


def test_nets_of_a_gan_are_loaded_by_name_and_asked_nothing(tmp_path):
    summary = untrained(tmp_path, "adversarial/gan")
    with pytest.raises(ConfigError, match="its model has the nets generator, discriminator; name one"):
        load(summary)
    assert isinstance(load(summary, net="generator"), nn.Sequential)
    with pytest.raises(ConfigError, match="unknown net 'gen'"):
        load(summary, net="gen")
    with pytest.raises(ConfigError, match="read no file; `unlocked generate`"):
        predict(summary, np.zeros((1, 1, 8, 8)))


def test_word_vectors_answer_with_neighbours_and_name_the_row_of_a_word_they_lack(tmp_path):
    (tmp_path / "text.txt").write_text("the cat sat on the mat . the dog sat on the rug . " * 60)
    data = f"data={{name: text, options: {{file: {tmp_path / 'text.txt'}, tokens: word, length: 8}}, transforms: "
    for kind in ("[{name: skipgram, window: 2, sample: 0.5}]", "[{name: cbow, window: 2, sample: 0.5}]"):
        name = "skipgram" if "skipgram" in kind else "cbow"
        summary = untrained(tmp_path, f"embedding/{name}", f"{data}{kind}}}")
        assert predict(summary, ["cat", "dog"])["prediction"][1].startswith("dog: ")
        with pytest.raises(DataError, match=r"^inputs: row 2: no word of 'catt' is in the vocabulary"):
            predict(summary, ["dog", "catt"])
        with pytest.raises(DataError, match=r"^inputs: row 2: 'dog cat' is 2 words; one asks for its neighbours"):
            predict(summary, ["dog", "dog cat"])


def test_views_are_refused(tmp_path):
    views = untrained(tmp_path, "selfsupervised/simclr", "data.examples=200")
    with pytest.raises(ConfigError, match="sees inputs that Views draws anew"):
        predict(views, np.zeros((1, 1, 8, 8)))


def test_a_choice_of_weights_that_is_none_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="weights: unknown choice 'bst'; did you mean 'best'"):
        load(tmp_path, weights="bst")
    with pytest.raises(ConfigError, match="is not a run folder"):
        load(tmp_path)
