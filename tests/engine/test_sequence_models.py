"""Recurrent models under every scheme: real digits, row by row, cut between layers."""

from __future__ import annotations

import pytest

from unlocked import load_config, train

PRESETS = ["recurrent/rnn", "recurrent/lstm", "recurrent/gru"]
DIGITS = ["data.name=digits", "data.batch_size=64", "scheme.sg.lr=3.0e-3", "scheme.feedback.shared_positions=false"]
OFF = ["tracking.uri=off", "tracking.figures=false"]
LAGS = {"backprop": 0, "dni": 2, "cdni": 2, "dfa": 2}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("scheme", LAGS)
def test_a_sequence_model_learns_under_every_scheme(preset, scheme, seed_to_learn, tmp_path):
    config = load_config(
        preset,
        [
            *DIGITS,
            "model.pool=last",
            f"scheme.name={scheme}",
            f"seed={seed_to_learn}",
            f"scheme.lag={LAGS[scheme]}",
            f"train.epochs={8 if preset == 'recurrent/lstm' else 4}",
            f"tracking.runs={tmp_path}",
            *OFF,
        ],
    )
    summary = train(config)
    assert summary["metrics"]["test/accuracy"] > 0.3  # chance is 0.1
    assert ("align/module_0" in summary["metrics"]) == (scheme != "backprop")


@pytest.mark.parametrize(
    "options",
    [
        "peephole: true",
        "coupled: true",
        "peephole: true, coupled: true, pool: mean",
        "bidirectional: true, dropout: 0.1",
    ],
)
def test_the_variants_of_the_lstm_train_across_a_cut(options, seed_to_learn, tmp_path):
    config = load_config(
        "recurrent/lstm",
        [
            *DIGITS,
            f"model={{name: lstm, hidden: [24, 24], {options}}}",
            f"seed={seed_to_learn}",
            "train.epochs=10",
            "parallel.partition=[1, 2]",
            f"tracking.runs={tmp_path}",
            *OFF,
        ],
    )
    assert train(config)["metrics"]["test/accuracy"] > 0.3
