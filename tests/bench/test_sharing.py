"""`unlocked bench deepspeed`: what takes part, ratios paired within rounds, and what each worker holds."""

import json

import pytest

from unlocked.bench.measured import zero
from unlocked.bench.measured.sharers import Held
from unlocked.bench.zero_report import sharing_json, sharing_table
from unlocked.cli.main import main
from unlocked.config import load_config
from unlocked.errors import ConfigError, RunFailed

TINY = ["parallel.device=cpu", "model.hidden=[64, 64]", "data.batch_size=32"]
OF_STAGES = [f"zero {stage}" for stage in range(4)]


class Timed:
    """Two workers whose seconds per step are given, by contender; the second is slower by a half."""

    def __init__(self, per_step):
        self.per_step, self.asked, self.closed = per_step, [], False

    def __call__(self, configs, imports):
        self.configs = configs
        return self

    def run(self, name, steps):
        self.asked.append((name, steps))
        return [self.per_step[name] * steps, 1.5 * self.per_step[name] * steps]

    def held(self, name):
        share = 2 if name == "zero 1" else 1
        return [Held(400, 400, 800 // share, 200 * (share - 1), 400.0), Held(400, 100, 800 // share, 0, 400.0)]

    def close(self):
        self.closed = True


@pytest.fixture
def timed(monkeypatch):
    names = ["ddp", "replicas", "zero 1"]
    monkeypatch.setattr(zero, "contenders", lambda config: (dict.fromkeys(names, config), {"zero 3": "why"}))
    return Timed({"ddp": 0.1, "replicas": 0.2, "zero 1": 0.4})


def test_ratios_are_of_the_slower_worker_and_paired_within_rounds(timed):
    found = zero.measure(load_config("quickstart", TINY), rounds=2, steps=4, start=timed)
    assert found.results["ddp"].rate.median == pytest.approx(1 / 0.15)
    assert found.results["zero 1"].ratios["ddp"].median == pytest.approx(0.25)
    assert found.results["zero 1"].ratios["replicas"].most == pytest.approx(0.5)
    assert found.results["ddp"].ratios.keys() == {"replicas"}
    assert found.results["zero 1"].held == Held(400, 400, 400, 200, 400.0)  # of the worker that holds most
    assert timed.closed
    measured = timed.asked[3:]
    assert all({name for name, _ in measured[i : i + 3]} == set(timed.per_step) for i in (0, 3))  # each in every round


def test_steps_fill_two_seconds_of_ddp_and_are_at_least_ten(timed):
    assert zero.measure(load_config("quickstart", TINY), rounds=1, start=timed).steps == 13  # of 0.15 s
    timed.per_step["ddp"] = 10.0
    assert zero.measure(load_config("quickstart", TINY), rounds=1, start=timed).steps == 10


def test_the_table_and_the_json_line_hold_all_of_it(timed):
    found = zero.measure(load_config("quickstart", TINY), rounds=1, steps=4, start=timed)
    table = sharing_table(found)
    assert table.row_count == 3
    assert [str(column.header) for column in table.columns][4:] == [
        *("weights", "gradients", "states", "copies", "total", "sent")
    ]
    told = json.loads(json.dumps(sharing_json(found)))
    assert told["bytes_per_worker"]["zero 1"] == {
        **{"weights": 400, "gradients": 400, "states": 400, "copies": 200, "sent": 400.0, "total": 1400}
    }
    assert told["ratios"]["zero 1"] == {"ddp": pytest.approx(0.25), "replicas": pytest.approx(0.5)}
    assert told["left_out"] == {"zero 3": "why"}


def test_workers_are_closed_when_one_of_them_fails(timed):
    def fails(name, steps):
        raise RunFailed("bench deepspeed: worker 1 has ended")

    timed.run = fails
    with pytest.raises(RunFailed):
        zero.measure(load_config("quickstart", TINY), start=timed)
    assert timed.closed


def test_a_stage_that_cannot_train_the_net_is_left_out_with_its_reason():
    pytest.importorskip("deepspeed")
    found, left_out = zero.contenders(load_config("quickstart", [*TINY, "train.precision=fp64"]))
    assert list(found) == ["ddp", "replicas", "zero 0"]
    assert "from stage 1 on ZeRO keeps weights and states in fp32" in left_out["zero 3"]
    assert found["zero 0"].parallel.replicas == 2
    with pytest.raises(ConfigError, match="lbfgs"):
        zero.contenders(load_config("quickstart", [*TINY, "optimizer.name=lbfgs"]))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["mlp", "cnn"], "bench deepspeed: one case or one --config at a time, not mlp and cnn"),
        (["mpl"], "bench deepspeed: unknown case 'mpl'; did you mean 'mlp'?"),
        (["--rounds", "0"], "--rounds: must be at least 1, got 0"),
        (["parallel.deepspeed.train_batch_size=3"], "parallel.deepspeed.train_batch_size: data.batch_size says it"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_starts(words, reason, capsys):
    pytest.importorskip("deepspeed")
    assert main(["bench", "deepspeed", *words]) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.slow("two processes that hold six trainings")
@pytest.mark.timeout(300)
def test_states_are_halved_from_stage_1_on_and_weights_at_stage_3(capsys):
    pytest.importorskip("deepspeed")
    sizes = ["model.hidden=[512, 512]", "parallel.deepspeed.zero_optimization.stage3_param_persistence_threshold=1000"]
    assert main(["bench", "deepspeed", "mlp-tiny", *sizes, "--rounds", "1", "--steps", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(told["bytes_per_worker"]) == ["ddp", "replicas", *OF_STAGES]
    held = told["bytes_per_worker"]
    whole = held["ddp"]
    assert whole["states"] == pytest.approx(2 * whole["weights"], rel=1e-3)  # of Adam
    for name in ("replicas", "zero 0"):
        assert held[name] == whole
    for name in OF_STAGES[1:]:
        assert held[name]["states"] == pytest.approx(whole["states"] / 2, rel=0.01)
        assert held[name]["total"] < 0.9 * whole["total"]
    assert held["zero 3"]["weights"] == pytest.approx(whole["weights"] / 2, rel=0.02)
    assert held["zero 3"]["gradients"] == pytest.approx(whole["gradients"] / 2, rel=0.02)
    assert held["zero 2"]["weights"] == pytest.approx(whole["weights"], rel=0.01)
