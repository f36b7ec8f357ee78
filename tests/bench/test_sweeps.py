"""`unlocked bench sweep`: every contender trains, and the driver's own time is that of empty trials."""

from __future__ import annotations

import json

import pytest

from unlocked.bench.measured import sweeps
from unlocked.bench.report import sweep_json, sweep_table
from unlocked.studies import trial as trial_module


@pytest.mark.slow("studies over Ray, in rounds")
@pytest.mark.ray
@pytest.mark.timeout(120)
def test_rates_are_of_whole_calls_and_ratios_paired(monkeypatch):
    monkeypatch.setattr(sweeps, "BASE", [*sweeps.BASE, "train.epochs=1", "train.checkpoint_every=1"])

    def no_tune(concurrent):
        raise ImportError("no module named pandas")

    monkeypatch.setattr(sweeps, "_tune", no_tune)
    monkeypatch.setattr(sweeps, "_overhead", lambda sampler, trials: 0.01 * trials)
    notes = []
    result = sweeps.measure(rounds=1, trials=3, overhead_trials=3, note=notes.append)
    assert result.rates.keys() == {"concurrent_1", "concurrent_2"}
    assert result.ratios.keys() == {"concurrent_1"}
    assert 0 < result.steady.median < 100
    assert "no module named pandas" in result.left_out["ray_tune"]
    assert len(notes) == 2
    tree = json.loads(json.dumps(sweep_json(result)))
    assert tree["driver_seconds_per_trial"].keys() == {"random", "tpe"}
    assert tree["driver_seconds_per_trial"]["random"] == pytest.approx(0.03)
    assert sweep_table(result).row_count == 2


def test_empty_trials_put_the_real_ones_back():
    before = trial_module.train
    assert sweeps._overhead("random", 3) > 0
    assert trial_module.train is before
