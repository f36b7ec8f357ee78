"""Autoencoders under every scheme: real digits through a code of 8 units, cut at the code."""

from __future__ import annotations

import pytest

from unlocked import load_config, train

# test/mse of the mean image is 0.074, of 8 principal components 0.025, of a random encoder 0.044 after 60 epochs
RANDOM_ENCODER = 0.042


@pytest.mark.parametrize(("scheme", "learns"), [("backprop", True), ("cdni", True), ("dfa", True), ("frozen", False)])
def test_an_autoencoder_learns_under_every_scheme_that_trains_its_encoder(scheme, learns, seed_to_learn, tmp_path):
    config = load_config(
        "autoencoder/autoencoder",
        [
            f"scheme.name={scheme}",
            f"seed={seed_to_learn}",
            "train.epochs=40",
            "train.probe_every=0",
            f"tracking.runs={tmp_path}",
            "tracking.uri=off",
            "tracking.figures=false",
        ],
    )
    assert (train(config)["metrics"]["test/mse"] < RANDOM_ENCODER) == learns
