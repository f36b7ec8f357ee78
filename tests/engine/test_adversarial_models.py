"""A conditional GAN under every scheme, cut into its layers, and the control: digits of the asked class."""

from __future__ import annotations

import pytest

from unlocked import load_config, train


@pytest.mark.parametrize(
    ("scheme", "learns"),
    [
        ("backprop", True),
        pytest.param("dni", True, marks=pytest.mark.slow("a GAN for every scheme: the others in `make test`")),
        ("cdni", True),
        ("dfa", True),
        ("frozen", False),
    ],
)
def test_a_gan_makes_digits_of_asked_classes_under_every_scheme_that_trains_it(scheme, learns, seed_to_learn, tmp_path):
    metrics = train(
        load_config(
            "adversarial/gan",
            [
                f"scheme.name={scheme}",
                f"seed={seed_to_learn}",
                "train.evaluate_every=12",
                "train.probe_every=0",
                f"tracking.runs={tmp_path}",
                "tracking.uri=off",
                "tracking.figures=false",
            ],
        )
    )["metrics"]
    # of the control, seeds 0 to 2: at least 1392 and at most 0.12; of the schemes: at most 192 and at least 0.76
    assert (metrics["test/frechet"] < 300) == learns
    assert (metrics["test/asked"] > 0.6) == learns
    if scheme in ("backprop", "cdni"):  # at least 0.46; dfa makes one image of each class: at most 0.03
        assert metrics["test/variance"] > 0.3
