"""ZeRO by DeepSpeed: each stage learns what our own replicas learn, and what is ours to say is not said twice."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from unlocked import load_config
from unlocked.deepspeed_package import missing
from unlocked.errors import ConfigError
from unlocked.optim.by_number import moves_numbers_alone
from unlocked.plan.describe import describe
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.runs.fit import refuse_resizing, shared_out
from unlocked.runs.longer import with_more_epochs
from unlocked.schema.keys import OptimizerConfig

pytest.importorskip("deepspeed")

PAIR = Path(__file__).parent / "zero_pair.py"
ZERO = "parallel.deepspeed.zero_optimization"
MEANT = "parallel.deepspeed"


@pytest.fixture
def pair(tmp_path):
    """Runs cases of `zero_pair.py` in two processes, the replicas of each other."""

    def run(*cases):
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        both = [
            subprocess.Popen(
                [sys.executable, str(PAIR), str(rank), str(tmp_path / "store"), str(tmp_path), *cases],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment,
            )
            for rank in range(2)
        ]
        try:
            told = [process.communicate(timeout=280)[0] for process in both]
        finally:
            for process in both:
                process.kill()
        for process, text in zip(both, told, strict=True):
            assert process.returncode == 0, text[-4000:]
            assert [line for line in text.splitlines() if line.endswith(" ok")] == [f"{case} ok" for case in cases]

    return run


@pytest.mark.slow("two processes, five trainings each of fifty steps")
def test_every_stage_over_two_replicas_learns_what_one_process_and_our_replicas_and_ddp_do(pair):
    pair("backprop", "ddp")


@pytest.mark.slow("two processes, twelve trainings that each go on")
def test_a_checkpoint_goes_on_with_another_number_of_replicas(pair):
    pair("resumed")


@pytest.mark.slow("two processes, fifteen trainings")
def test_accumulated_gradients_groups_averages_and_bf16_are_those_of_one_process(pair):
    pair("accumulate", "groups", "bf16")


@pytest.mark.slow("two processes, eight trainings")
def test_fp16_learns_what_one_process_does_and_an_overflow_of_one_replica_is_left_out_by_both(pair):
    pair("fp16", "overflow")


@pytest.mark.slow("two processes, nine trainings")
def test_states_and_weights_in_the_memory_of_the_host_learn_the_same(pair):
    pair("offload")


@pytest.mark.slow("two processes, seven trainings")
def test_activations_that_are_computed_again_and_a_budget_that_only_shares_fit_change_no_number(pair):
    pair("recompute", "budget")


@pytest.mark.slow("two processes, six trainings each of every scheme")
def test_every_module_and_its_models_are_shared_out_over_its_replicas(pair):
    pair("modules", "dni", "cdni", "dfa")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (f"{ZERO}.stage=7", f"{ZERO}.stage: input should be 0, 1, 2, or 3, got 7"),
        (f"{ZERO}.stge=1", f"{ZERO}.stge: unknown key 'stge'; did you mean 'stage'?"),
        (
            f"{ZERO}.offload_optimizer.divice=cpu",
            "offload_optimizer.divice: unknown key 'divice'; did you mean 'device'?",
        ),
        (f"{ZERO}.offload_param.device=cpu", f"{ZERO}.offload_param: needs stage 3 or above, not 0"),
        (f"{ZERO}=3", f"{ZERO}: 3 is not keys and values, such as {{stage: 2}}"),
        (f"{ZERO}.zenflow={{}}", f"{ZERO}.zenflow"),
        (f"{MEANT}.zero_optimisation.stage=1", "unknown key 'zero_optimisation'; did you mean 'zero_optimization'?"),
        (f"{MEANT}.train_batch_size=3", f"{MEANT}.train_batch_size: data.batch_size says it; leave it out"),
        (f"{MEANT}.gradient_clip=1", "gradient_clipping is not needed: optimizer.clip_norm says it"),
        (f"{MEANT}.optimizer.type=Adam", "optimizer: optimizer.name says it"),
        (f"{MEANT}.fp16.enabled=true", f"{MEANT}.fp16: train.precision=fp16 says it"),
        (f"{MEANT}.bf16.enabled=true", f"{MEANT}.bf16: train.precision=bf16 says it"),
        (f"{MEANT}.communication_data_type=fp9", "communication_data_type: 'fp9' is no type"),
        (f"{MEANT}.gradient_predivide_factor=0", "gradient_predivide_factor: must be a number greater than 0, got 0"),
    ],
)
def test_keys_of_deepspeed_are_checked_by_its_own_models_and_against_ours(option, said):
    with pytest.raises(ConfigError) as failure:
        load_config("quickstart", ["parallel.engine=deepspeed", "parallel.device=cpu", option])
    assert said in str(failure.value)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["optimizer.name=muon", f"{ZERO}.stage=1"],
            "optimizer.name: muon moves a number by more than its own gradients",
        ),
        (["optimizer.l1=0.1"], "optimizer.l1: 0.1 changes whole gradients"),
        (["train.average=0.9", f"{ZERO}.stage=3"], "train.average: 0.9, but at stage 3"),
        (["train.precision=fp64", f"{ZERO}.stage=1"], "train.precision: fp64, but from stage 1 on ZeRO"),
        (
            ["train.precision=fp16"],
            "train.precision: fp16, but at stage 0 DeepSpeed steps by gradients that overflowed",
        ),
        (["parallel.schedule=gpipe", "scheme.name=backprop"], "parallel.schedule: gpipe cannot be had"),
    ],
)
def test_what_zero_cannot_do_is_refused_with_the_reason(options, said):
    with pytest.raises(ConfigError, match=said):
        load_config("quickstart", ["parallel.engine=deepspeed", *options])


def test_its_keys_need_its_engine():
    with pytest.raises(ConfigError, match=r"parallel\.deepspeed: needs parallel.engine=deepspeed, not auto"):
        load_config("quickstart", [f"{ZERO}.stage=1"])


@pytest.mark.parametrize(
    ("name", "is_so"), [("adam", True), ("sgd", True), ("rprop", True), ("muon", False), ("adafactor", False)]
)
def test_an_optimiser_that_moves_every_number_alone_is_known_by_what_it_does(name, is_so):
    assert moves_numbers_alone(OptimizerConfig(name)) is is_so


def zero(*options):
    return load_config("quickstart", ["parallel.engine=deepspeed", "parallel.replicas=2", *options])


def test_a_run_may_be_told_to_go_on_with_other_replicas_and_other_engines_may_not():
    assert with_more_epochs(zero(), ["parallel.replicas=1"], "run").parallel.replicas == 1
    with pytest.raises(ConfigError, match=r"parallel\.threads would make run another run; only train\.epochs and"):
        with_more_epochs(zero(), ["parallel.threads=2"], "run")
    with pytest.raises(ConfigError, match=r"parallel\.replicas would make run another run; only train\.epochs may"):
        with_more_epochs(load_config("quickstart"), ["parallel.replicas=2"], "run")


@pytest.mark.parametrize(("before", "now", "taken"), [(2, 1, "02"), (1, 2, "0011"), (2, 3, "000222"), (2, 2, "0123")])
def test_states_of_another_number_of_replicas_are_each_modules_first(before, now, taken):
    config = zero(f"parallel.replicas={now}", "data.batch_size=6")
    engine = SimpleNamespace(resizes=True)
    plan = SimpleNamespace(modules=2, learners=2 * now, config=config, make_engine=lambda: engine)
    states = [{"state": str(i)} for i in range(2 * before)]
    assert "".join(state["state"] for state in shared_out(states, plan)) == taken


@pytest.mark.parametrize(
    ("carries", "lag", "step", "why"),
    [(True, 0, 4, "layers carry"), (False, 2, 4, "late messages"), (False, 0, 3, "gradients that wait for a step")],
)
def test_what_is_of_a_replicas_own_examples_is_not_shared_out_again(carries, lag, step, why):
    refuse_resizing(SimpleNamespace(carries=False, lag=0, config=zero("train.accumulate=2")), 4)
    with pytest.raises(ConfigError, match=why):
        refuse_resizing(SimpleNamespace(carries=carries, lag=lag, config=zero("train.accumulate=2")), step)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("train.log_every=10", r"train\.log_every: 10 is not a multiple of train\.accumulate=4, and from stage 2 on"),
        ("train.steps=6", r"train\.steps: 6 is not a multiple of train\.accumulate=4"),
        (
            "data.batch_size=48",
            r"train\.accumulate: 4 does not divide the \d+ steps of an epoch, and from stage 2 on no",
        ),
        ("train.evaluate_steps=6", r"train\.evaluate_steps: 6 is not a multiple"),
    ],
)
def test_no_checkpoint_is_taken_between_the_minibatches_of_a_step_from_stage_2_on(option, said):
    given = ["parallel.modules=1", "parallel.partition=null", "scheme.name=backprop", "data.batch_size=32", option]
    taken = zero(*given, f"{ZERO}.stage=1", "train.accumulate=4")
    data = load_data(taken)
    make_plan(taken, data)
    with pytest.raises(ConfigError, match=said):
        make_plan(zero(*given, f"{ZERO}.stage=2", "train.accumulate=4"), data)


@pytest.mark.parametrize(("stage", "need"), [(0, 4), (1, 2 + 1.5), (2, 1 + 2), (3, 2.5)])
def test_a_worker_is_planned_with_its_share_of_each_category(stage, need):
    """In multiples of the weights under Adam, with the share of the weights that ZeRO's optimiser moves."""
    given = ["model.hidden=[256, 256]", "parallel.modules=1", "parallel.partition=null", "scheme.name=backprop"]
    config = zero(*given, f"{ZERO}.stage={stage}", f"{ZERO}.stage3_param_persistence_threshold=0")
    plan = make_plan(config, load_data(config))
    (row,) = describe(plan)
    kept = 4 * plan.scheme.memory(config, plan.specs[0], config.data.batch_size // 2, 0)
    assert row["memory_bytes"] - kept == pytest.approx(4 * need * row["parameters"], rel=1e-3)


def test_small_weights_are_planned_whole_at_stage_3_too():
    given = ["model.hidden=[256]", "parallel.modules=1", "parallel.partition=null", "scheme.name=backprop"]
    found = []
    for below in (10**9, 0):
        config = zero(*given, f"{ZERO}.stage=3", f"{ZERO}.stage3_param_persistence_threshold={below}")
        found += describe(make_plan(config, load_data(config)))
    more, less = found
    assert more["memory_bytes"] - less["memory_bytes"] >= 4 * more["parameters"]


def test_a_model_larger_than_a_workers_budget_is_trained_at_stage_3_alone():
    given = ["model.hidden=[256, 256]", "parallel.modules=1", "parallel.partition=null", "scheme.name=backprop"]
    given += [f"{ZERO}.stage3_param_persistence_threshold=0", "parallel.memory=0.9"]
    data = load_data(zero(*given, f"{ZERO}.stage=3"))
    make_plan(zero(*given, f"{ZERO}.stage=3"), data)
    for stage in range(3):
        with pytest.raises(ConfigError, match=r"parallel\.memory: 0\.9 MiB, but worker 0 would hold 1\.\d MiB"):
            make_plan(zero(*given, f"{ZERO}.stage={stage}"), data)


def test_a_package_that_is_missing_is_told_with_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert missing() == "the package deepspeed is not installed: pip install 'unlocked[deepspeed]'"
    with pytest.raises(ConfigError, match=r"parallel\.engine: deepspeed, but the package deepspeed is not installed"):
        load_config("quickstart", ["parallel.engine=deepspeed"])


def test_nothing_imports_it_unless_its_keys_are_set():
    code = (
        "import sys; from unlocked import load_config; load_config('quickstart', ['parallel.engine=deepspeed']); "
        "print('deepspeed' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert found.stdout.strip() == "False"
    assert torch.compile.__module__ == "torch"
