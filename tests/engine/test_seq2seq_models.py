"""Encoder-decoders under every scheme, cut anywhere; and that scheduled sampling goes on after a checkpoint."""

from __future__ import annotations

import copy

import pytest
import torch

from unlocked import load_config, train
from unlocked.errors import ConfigError
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data

LAGS = {"backprop": 0, "frozen": 0, "dni": 2, "cdni": 2, "dfa": 2}
SMALL = ["data.options.pairs=400", "data.batch_size=32", "train.epochs=1", "tracking.uri=off", "train.log_every=5"]


@pytest.mark.parametrize("preset", ["seq2seq/rnn", "seq2seq/bahdanau", "seq2seq/luong", "seq2seq/transformer"])
@pytest.mark.parametrize("scheme", LAGS)
def test_an_encoder_decoder_trains_under_every_scheme(preset, scheme, tmp_path):
    draws = scheme == "cdni"  # pictures take longer than the training
    options = [f"scheme.lag={LAGS[scheme]}", f"tracking.figures={draws}", *SMALL, f"tracking.runs={tmp_path}"]
    summary = train(load_config(preset, [f"scheme.name={scheme}", *options]))
    metrics = summary["metrics"]
    assert metrics["test/loss"] < 3.0  # knowing nothing of 15 tokens costs 2.7; 12 steps may not make it worse
    assert ("align/module_0" in metrics) == (scheme not in ("backprop", "frozen"))
    assert 0 <= metrics["test/bleu"] <= 100
    drawn = (tmp_path / summary["run"] / "figures" / "attention.png").exists()
    assert drawn == (draws and preset != "seq2seq/rnn")


@pytest.mark.parametrize("partition", [[1, 4], [2, 3], [3, 2], [4, 1], [1, 1, 1, 1, 1]])
@pytest.mark.parametrize("scheme", ["cdni", "dfa"])
def test_a_chain_is_cut_inside_its_encoder_and_inside_its_decoder(lab, scheme, partition):
    group = lab.start(
        lab.pairs(source=6, target=4, n=36),
        scheme={"name": scheme, "lag": 2},
        data={"batch_size": 6},
        model={"name": "seq2seq", "encoder": 2, "decoder": 1, "attention": "dot", "width": 6},
        parallel={"modules": len(partition), "partition": partition},
    )
    boundaries = [spec.out_shape for spec in group.modules[0].plan.specs]
    assert boundaries == [
        [(6, 6), (6, 6), (10, 6), (10, 6), (4, 8)][sum(partition[: k + 1]) - 1] for k in range(len(partition))
    ]
    before = lab.weights(group)
    lab.train(group, 0, 16)  # a synthetic gradient needs 3 steps for every module that it comes down
    after = lab.weights(group)
    assert {key.partition(".")[0] for key in lab.differ(before, after)} == {"0", "1", "2", "3", "4"}
    assert all(bool(value.isfinite().all()) for value in after.values())


@pytest.mark.parametrize("scheme", ["backprop", "cdni", "dfa"])
def test_scheduled_sampling_goes_on_after_a_checkpoint_to_the_same_numbers(lab, scheme):
    def start():
        return lab.start(
            lab.pairs(),
            scheme={"name": scheme, "lag": 0 if scheme == "backprop" else 2},
            model={"name": "seq2seq", "width": 6, "teacher_forcing": 0.3, "sampling_steps": 5},
            data={"batch_size": 6},
            parallel={"modules": 2, "partition": [1, 1]},
        )

    unbroken = start()
    lab.train(unbroken, 0, 4, checkpoint_at=4)
    states = copy.deepcopy(unbroken.states(4))
    expected = lab.train(unbroken, 4, 9)
    again = start()
    again.load_states(states)
    torch.manual_seed(99)  # what this process drew in between does not matter
    assert lab.train(again, 4, 9) == expected
    lab.assert_equal(lab.weights(unbroken), lab.weights(again))
    assert int(lab.weights(again)["1.seen"]) == 9


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["data.name=dates", "data.options={}", "model={name: gpt}"],
            "model.name: gpt has no decoder, which translation needs",
        ),
        (
            ["data={name: python_manual}"],
            "model.name: seq2seq is an encoder-decoder, which reads the targets: its task is translation",
        ),
        (
            ["data={name: digits}"],
            "model.name: seq2seq makes a sequence of tokens of a sequence of tokens; the data's "
            "inputs are real numbers",
        ),
        (["task=language_modelling"], "task: language_modelling does not fit dates: its targets are for translation"),
    ],
)
def test_a_model_and_data_that_do_not_fit_are_refused_before_anything_starts(overrides, line, tmp_path):
    config = load_config("seq2seq/bahdanau", ["parallel.partition=null", "parallel.modules=1", *overrides])
    with pytest.raises(ConfigError) as caught:
        make_plan(config, load_data(config))
    assert str(caught.value) == line
