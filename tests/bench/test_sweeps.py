"""`unlocked bench sweep`: every contender trains, and the driver's own time is that of empty trials."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace

import pytest

from unlocked.bench.measured import sweeps
from unlocked.bench.measured.measure import Spread
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


def test_tables_of_a_bench_fit_80_columns_and_cut_no_word():
    from unlocked.bench.report import scaling_tables
    from unlocked.rich_text import plain_console

    spread = Spread(1234.56, 1111.1, 1358.0)
    ratio = Spread(1.23, 1.11, 1.35)
    one = SimpleNamespace(
        rate=spread, ratios=dict.fromkeys(("backprop_1_thread", "backprop_all_threads"), ratio), computing=[0.0123] * 2,
        sg=[0.001] * 2, sending=[0.001] * 2, waiting=[0.12, 0.2], peak_rss_mb=[512.0, 611.0], bytes_per_step=1234567,
        schedule="interleaved_zero_bubble",
    )  # fmt: skip
    names = ("backprop_1_thread", "backprop_all_threads", "cdni", "interleaved_zero_bubble")
    scaling = SimpleNamespace(case="mlp", cut=[2, 3], steps=100, results=dict.fromkeys(names, one))
    for table in scaling_tables(scaling):
        console = plain_console(file=io.StringIO(), width=80)
        console.print(table)
        shown = console.file.getvalue()
        assert max(map(len, shown.splitlines())) <= 80
        assert "…" not in shown
        assert "1 thread" in shown
