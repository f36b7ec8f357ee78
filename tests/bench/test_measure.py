from __future__ import annotations

import os
import time

import pytest

from unlocked.bench.measured import measure
from unlocked.bench.measured.measure import ForeignCPU, Spread, cores, in_rounds, paired, peak_rss_mb


def test_ratios_pair_what_was_measured_in_one_round():
    assert paired([2.0, 30.0, 8.0], [1.0, 10.0, 8.0]) == Spread(median=2.0, least=1.0, most=3.0)


def test_paired_refuses_measurements_of_unlike_many_rounds():
    with pytest.raises(ValueError, match="zip"):
        paired([1.0, 2.0], [1.0])


@pytest.mark.skipif(not os.path.exists("/proc/stat"), reason="needs Linux's /proc")
def test_a_share_per_round_lies_between_nothing_and_all():
    cpu = ForeignCPU()
    for _ in range(2):
        time.sleep(0.05)
        share = cpu.end_round()
        assert share is not None
        assert 0.0 <= share <= 1.0
    assert len(cpu.shares) == 2


def test_what_others_take_is_all_that_is_busy_but_not_ours(monkeypatch):
    readings = iter([(1000.0, 100.0, 4000.0), (1060.0, 140.0, 4100.0)])
    monkeypatch.setattr(measure, "_ticks", lambda: next(readings))
    assert ForeignCPU().end_round() == pytest.approx(0.2)  # 60 busy ticks, 40 of them ours, of 100


def test_without_proc_the_share_is_unknown(monkeypatch, tmp_path):
    monkeypatch.setattr(measure, "PROC", tmp_path)
    cpu = ForeignCPU()
    assert cpu.end_round() is None


def test_this_process_has_memory_and_cores():
    assert peak_rss_mb() > 10
    assert cores() >= 1


def shares(monkeypatch, given):
    """Readings of the clock that give these foreign shares, round by round."""
    busy = [0.0]
    for share in given:
        busy.append(busy[-1] + 100 * share)
    readings = iter((b, 0.0, 100.0 * i) for i, b in enumerate(busy))
    monkeypatch.setattr(measure, "_ticks", lambda: next(readings))


def test_quiet_rounds_are_measured_once(monkeypatch):
    shares(monkeypatch, [0.01, 0.02])
    numbers = iter(range(9))
    rounds = in_rounds(2, lambda: next(numbers), note=lambda text: None)
    assert (rounds.results, rounds.measured) == ([0, 1], 2)


def test_spoilt_rounds_are_measured_again_and_the_quietest_kept_in_order(monkeypatch):
    shares(monkeypatch, [0.5, 0.05, 0.9, 0.04])
    numbers = iter(range(9))
    rounds = in_rounds(2, lambda: next(numbers), note=lambda text: None)
    assert (rounds.results, rounds.measured) == ([1, 3], 4)


def test_on_a_busy_machine_it_ends_with_the_best_of_three_times_as_many(monkeypatch):
    shares(monkeypatch, [0.9, 0.5, 0.8, 0.7, 0.6, 0.4])
    numbers = iter(range(9))
    rounds = in_rounds(2, lambda: next(numbers), note=lambda text: None)
    assert (rounds.results, rounds.measured) == ([1, 5], 6)
    assert rounds.foreign == pytest.approx([0.5, 0.4])
