from __future__ import annotations

import json
import math

import pytest
import torch

from unlocked.bench.measured import deepspeed_pipeline, scaling
from unlocked.bench.measured.contenders import DECOUPLED, contenders
from unlocked.bench.measured.solo import run_alone
from unlocked.cli.main import main
from unlocked.config import from_tree, with_values
from unlocked.engine.module import ModuleRunner
from unlocked.errors import ConfigError
from unlocked.launch.cluster import start_ray
from unlocked.launch.ray_group import RayGroup
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data

TINY = """
name: tiny
data: {name: digits, batch_size: 16, validation: 0.0}
model: {name: mlp, hidden: [16, 16]}
scheme: {name: cdni, sg: {kind: linear}}
"""


@pytest.fixture(scope="module", autouse=True)
def no_ray_left_behind():
    """Other tests start a Ray of their own in this process."""
    yield
    import ray

    ray.shutdown()


def tiny(**groups):
    tree = {
        "data": {"name": "digits", "batch_size": 16, "validation": 0.0},
        "model": {"name": "mlp", "hidden": [16, 16, 16]},
        "scheme": {"name": "cdni"},
        "parallel": {"modules": 2, "engine": "inprocess"},
    }
    return from_tree({**tree, **groups})


@pytest.mark.parametrize("name", scaling.cases())
def test_every_case_is_cut_into_two(name):
    config = scaling.load_case(name, ["data.options.rows=300"])
    found = contenders(config, DECOUPLED, ("gpipe", "1f1b"), {})
    assert list(found.plans) == [
        "backprop_1_thread",
        "backprop_all_threads",
        "ideal",
        "locked",
        "gpipe",
        "1f1b",
        *DECOUPLED,
    ]
    assert found.left_out == {}
    cuts = {tuple(spec.stop for spec in plan.specs) for plan in found.plans.values() if plan.workers_per_replica == 2}
    assert len(cuts) == 1  # the same for all
    assert found.plans["unlock"].config.scheme.synthetic_inputs


def test_an_unknown_case_is_refused_with_the_nearest(capsys):
    assert main(["bench", "scaling", "mpl"]) == 2
    assert "unknown case 'mpl'; did you mean 'mlp'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["mlp", "cnn"], "one case or one --config at a time"),
        (["mlp", "--config", "quickstart"], "one case or one --config at a time"),
        (["mlp", "--modules", "1"], "--modules: must be at least 2, got 1"),
        (["mlp", "--rounds", "0"], "--rounds: must be at least 1, got 0"),
        (["mlp", "--schemes", "cdnii"], "unknown decoupled scheme 'cdnii'; did you mean 'cdni'?"),
        (["mlp", "--schedules", "gpip"], "unknown schedule 'gpip'; did you mean 'gpipe'?"),
        (["mlp", "--variant", "scheme.sg.rnk=3"], "did you mean 'rank'?"),
        (["mlp", "parallel.device=cuda"], "parallel.device: cuda"),
        (["mlp", "--modules", "99"], "parallel.modules: 99 is more than"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_starts(words, reason, capsys):
    assert main(["bench", "scaling", *words]) == 2
    assert reason in capsys.readouterr().err


def test_one_module_leaves_nothing_to_unlock():
    with pytest.raises(ConfigError, match="at least 2"):
        scaling.measure(tiny(parallel={"modules": 1}))


def test_a_scheme_that_does_not_fit_is_left_out_with_its_reason():
    config = tiny(scheme={"name": "dfa", "sg": {"kind": "conv"}})  # a synthetic gradient for maps, on vectors
    found = contenders(config, DECOUPLED, (), {})
    assert "dfa" in found.plans
    assert "scheme.sg.kind" in found.left_out["cdni"]


def test_a_pipeline_that_needs_more_blocks_is_left_out_with_its_reason():
    found = contenders(tiny(model={"name": "mlp", "hidden": [16, 16]}), ["cdni"], ["1f1b", "zero_bubble"], {})
    assert "1f1b" in found.plans
    assert "3 blocks" in found.left_out["zero_bubble"]  # two workers with two modules each


def test_the_pipeline_of_deepspeed_takes_part_if_it_is_there(monkeypatch):
    pytest.importorskip("deepspeed")
    found = contenders(tiny(), [], ["deepspeed_1f1b"], {})
    assert found.plans["deepspeed_1f1b"].config.parallel.schedule == "1f1b"
    monkeypatch.setattr(deepspeed_pipeline, "missing", lambda: "the package deepspeed is not installed")
    found = contenders(tiny(), [], ["deepspeed_1f1b"], {})
    assert "deepspeed_1f1b" not in found.plans
    assert found.left_out == {"deepspeed_1f1b": "the package deepspeed is not installed"}


@pytest.mark.slow("starts two workers, twice")
@pytest.mark.ray
def test_the_pipeline_of_deepspeed_learns_what_torch_s_does():
    pytest.importorskip("deepspeed")
    found, losses = contenders(tiny(), [], ["1f1b", "deepspeed_1f1b"], {}), []
    start_ray(2, None)
    for name, kind in (("1f1b", scaling._Training), ("deepspeed_1f1b", deepspeed_pipeline.DeepSpeedPipeline)):
        contender = kind(RayGroup(found.plans[name], found.data), found.plans[name])
        losses.append([loss for steps in (5, 3) for loss in contender.run(steps)[-1].series["loss"]])
        contender.group.close()
    import ray

    ray.shutdown()  # the next test needs more workers than this Ray has room for
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_a_variant_has_its_own_settings_and_the_cut_of_all():
    config = tiny()
    variants = {"rank 4": with_values(config, {"scheme.sg.kind": "linear", "scheme.sg.rank": 4}, "test")}
    found = contenders(config, ["cdni"], (), variants)
    assert found.plans["rank 4"].config.scheme.sg.rank == 4
    assert [p.stop for p in found.plans["rank 4"].specs] == [p.stop for p in found.plans["cdni"].specs]


def test_a_module_alone_does_the_work_of_a_step_and_stays_finite():
    config = tiny()
    data = load_data(config)
    plan = make_plan(config, data)
    for k in range(2):
        module = ModuleRunner(plan, data, k, torch.device("cpu"))
        before = [p.clone() for p in module.learner.trainable]
        stats = run_alone(module, steps=6)
        assert stats.seconds > 0
        assert all(not torch.equal(a, b) for a, b in zip(before, module.learner.trainable, strict=True))
        assert module.nonfinite() is None


def test_bytes_count_outputs_and_what_comes_back():
    config = tiny(scheme={"name": "backprop"})
    plan = make_plan(config, load_data(config))
    assert scaling.bytes_per_step(plan) == 2 * 16 * 16 * 4  # h_1 up, its gradient down
    plan = make_plan(tiny(scheme={"name": "dfa"}), load_data(config))
    assert scaling.bytes_per_step(plan) == (16 + 10) * 16 * 4  # h_1 up and the error down


@pytest.mark.slow("starts two workers, measures in rounds")
@pytest.mark.ray
def test_a_config_of_the_users_is_measured_over_two_workers(tmp_path, capsys):
    config, plot = tmp_path / "tiny.yaml", tmp_path / "tiny.png"
    config.write_text(TINY)
    assert (
        main(
            [
                "bench",
                "scaling",
                "--config",
                str(config),
                "seed=1",
                "--rounds",
                "2",
                "--steps",
                "3",
                "--schemes",
                "cdni",
                "--schedules",
                "1f1b",
                "--variant",
                "scheme.sg.rank=2 parallel.link=group",
                "--plot",
                str(plot),
                "--json",
            ]
        )
        == 0
    )
    tree = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert tree["case"] == "tiny"
    assert sum(tree["cut"]) == 3
    assert tree["ratios"]["cdni"].keys() == {"ideal", "locked", "backprop_1_thread", "backprop_all_threads"}
    assert all(math.isfinite(x) for ratios in tree["ratios"].values() for x in ratios.values())
    assert all(len(tree[key]["cdni"]) == 2 for key in ("wait_fraction", "computing_seconds", "peak_rss_mb"))
    assert tree["sg_seconds"]["cdni"][0] > 0 == tree["sg_seconds"]["cdni"][1]  # only module 0 has a model M
    assert tree["sg_seconds"]["1f1b"] == [0, 0]
    assert tree["schedule"] == {
        "backprop_1_thread": "lag 0",
        "backprop_all_threads": "lag 0",
        "ideal": "lag 0",
        "locked": "lag 0",
        "1f1b": "1f1b with 2 microbatches",
        "cdni": "lag 2",
        "scheme.sg.rank=2 parallel.link=group": "lag 2",
    }
    assert len(tree["foreign_cpu"]) == 2
    assert plot.stat().st_size > 1000
