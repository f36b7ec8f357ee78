from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from unlocked.bench.measured import overhead
from unlocked.bench.measured.overhead import Case
from unlocked.bench.report import overhead_json
from unlocked.cli.main import main
from unlocked.errors import RunFailed

TINY = Case(n_in=8, hidden=[16], batch=8, examples=300)  # 37 steps an epoch: segments end within a turn too


@pytest.mark.parametrize(("modules", "name"), [(1, "mlp-8-16-10-b8"), (2, "mlp-8-16-10-b8-cdni-2-modules")])
def test_the_two_loops_compute_the_same_losses_and_give_a_finite_ratio(modules, name):
    cost = overhead.measure(replace(TINY, modules=modules), rounds=2, seconds=0.01)
    assert cost.name == name
    assert all(math.isfinite(x) for x in (cost.ratio.median, cost.added.median, cost.rate.median))
    assert cost.ratio.least <= cost.ratio.median <= cost.ratio.most
    assert len(cost.foreign) == 2


def test_loops_that_disagree_are_not_compared(monkeypatch):
    monkeypatch.setattr(overhead, "build_optimizer", lambda _, weights: torch.optim.SGD(weights, lr=0.5))
    with pytest.raises(RunFailed, match="disagree on the losses"):
        overhead.measure(TINY, rounds=1, seconds=0.01)


def test_the_number_of_threads_is_put_back():
    before = torch.get_num_threads()
    overhead.measure(TINY, rounds=1, threads=1 if before > 1 else 2, seconds=0.01)
    assert torch.get_num_threads() == before


def test_the_json_names_every_case_with_ratio_and_microseconds():
    cost = overhead.measure(TINY, rounds=1, seconds=0.01)
    case = json.loads(json.dumps(overhead_json([cost], threads=1)))["overhead"]["mlp-8-16-10-b8"]
    assert case.keys() >= {"ratio", "us_per_tick", "ratio_spread", "foreign_cpu"}


def test_the_command_ends_with_the_json_line(monkeypatch, capsys):
    monkeypatch.setattr(overhead, "CASES", [TINY])
    assert main(["bench", "overhead", "--rounds", "1", "--seconds", "0.01", "--json"]) == 0
    tree = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert math.isfinite(tree["overhead"]["mlp-8-16-10-b8"]["ratio"])


def test_no_rounds_are_refused(capsys):
    assert main(["bench", "overhead", "--rounds", "0"]) == 2
    assert "--rounds: must be at least 1, got 0" in capsys.readouterr().err


def test_compiled_blocks_are_compared_with_the_same_loop(monkeypatch, capsys):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda call, **_: compiled.append(call) or call)
    monkeypatch.setattr(overhead, "CASES", [TINY])
    assert main(["bench", "overhead", "--compile", "--rounds", "1", "--seconds", "0.01"]) == 0
    assert len(compiled) == 2  # a hidden layer and the head
    assert "torch.compile against the same without" in " ".join(capsys.readouterr().out.split())


def test_compiled_blocks_that_learn_differently_are_not_compared(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda call, **_: lambda h: 2 * call(h))
    with pytest.raises(RunFailed, match="compiled blocks learn differently"):
        overhead.measure_compiled(TINY, rounds=1, seconds=0.01)
