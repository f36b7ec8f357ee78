"""Transformers under every scheme: real digits in patches, a real text in characters, cut between layers."""

from __future__ import annotations

import pytest

from unlocked import load_config, train

LAGS = {"backprop": 0, "dni": 2, "cdni": 2, "dfa": 2}
OFF = ["tracking.uri=off", "tracking.figures=false", "train.probe_every=0"]


@pytest.mark.parametrize("scheme", LAGS)
def test_a_vision_transformer_learns_under_every_scheme(scheme, seed_to_learn, tmp_path):
    config = load_config(
        "transformer/vit",
        [
            f"scheme.name={scheme}",
            f"scheme.lag={LAGS[scheme]}",
            f"seed={seed_to_learn}",
            "train.epochs=6",
            f"tracking.runs={tmp_path}",
            *OFF,
        ],
    )
    assert train(config)["metrics"]["test/accuracy"] > 0.25  # chance is 0.1


@pytest.mark.parametrize(
    ("scheme", "granularity"),
    [
        pytest.param("backprop", "block", marks=pytest.mark.slow("an epoch of a real text")),
        pytest.param("cdni", "block", marks=pytest.mark.slow("an epoch of a real text")),
        ("dfa", "block"),
        pytest.param("dfa", "layer", marks=pytest.mark.slow("an epoch of a real text")),
    ],
)
def test_a_language_model_learns_under_every_scheme(scheme, granularity, seed_to_learn, tmp_path):
    config = load_config(
        "transformer/gpt",
        [
            f"scheme.name={scheme}",
            f"seed={seed_to_learn}",
            f"scheme.lag={LAGS[scheme]}",
            f"scheme.feedback.granularity={granularity}",
            "train.epochs=1",
            "data.options.length=32",
            "data.batch_size=32",
            f"tracking.runs={tmp_path}",
            *OFF,
        ],
    )
    assert train(config)["metrics"]["test/loss"] < 3.18  # nats; how often each character comes gives 3.23
