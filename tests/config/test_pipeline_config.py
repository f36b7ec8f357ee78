"""What a pipeline cannot do is said in one line, before anything starts."""

from __future__ import annotations

import pytest
import ray
from torch import Tensor, nn

from unlocked.cli.main import main
from unlocked.config import load_config, schema
from unlocked.errors import ConfigError
from unlocked.launch.cluster import resources
from unlocked.plan.describe import describe
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.schema.describe import describe_schema
from unlocked_models import MODELS, register_model

PIPELINE = [
    "scheme.name=backprop",
    "model.hidden=[24,20,16]",
    "data.batch_size=32",
    "parallel.partition=null",
    "parallel.modules=4",
    "parallel.schedule=1f1b",
]


def refusal(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config("quickstart", [*PIPELINE, *overrides])
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    return line


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["scheme.name=cdni"], ["parallel.schedule: 1f1b pipelines backprop", "scheme.name is cdni"]),
        (["scheme.name=frozen"], ["parallel.schedule: 1f1b", "scheme.name is frozen"]),
        (["parallel.engine=inprocess"], ["parallel.schedule: 1f1b needs workers", "parallel.engine is inprocess"]),
        (
            ["parallel.modules=1"],
            ["parallel.schedule: 1f1b needs at least 2 workers with 1 module each", "parallel.modules is 1"],
        ),
        (["parallel.microbatches=5"], ["parallel.microbatches: 5 does not divide the 32 examples of a minibatch"]),
        (
            ["parallel.microbatches=32", "parallel.replicas=2"],
            ["parallel.microbatches: 32 does not divide the 16 examples", "in each replica"],
        ),
        (["data.batch_size=30"], ["microbatches: null is 4 for 1f1b over 4 workers, which does not divide the 30"]),
        (["data.batch_size=36", "parallel.schedule=gpipe"], ["parallel.microbatches: null is 8 for gpipe", "the 36"]),
        (["parallel.microbatches=2"], ["parallel.microbatches: 2 is fewer than the 4 workers", "1f1b", "gpipe"]),
        (["parallel.microbatches=0"], ["parallel.microbatches: must be at least 1, got 0"]),
        (["parallel.schedule=1f2b"], ["parallel.schedule", "did you mean '1f1b'?", "interleaved", "zero_bubble"]),
        (
            ["parallel.modules_per_worker=2"],
            ["parallel.modules_per_worker: 2, but 1f1b has 1 module per worker", "zero_bubble"],
        ),
        (
            ["parallel.modules_per_worker=3", "parallel.schedule=locked"],
            ["parallel.modules: 4 cannot be shared out, 3 to a worker", "parallel.modules_per_worker"],
        ),
        (["parallel.modules_per_worker=0"], ["parallel.modules_per_worker: must be at least 1, got 0"]),
        (
            ["parallel.modules_per_worker=1", "parallel.schedule=interleaved"],
            ["parallel.modules_per_worker: 1, but interleaved needs at least 2 modules per worker; 1f1b has one"],
        ),
        (
            ["parallel.modules_per_worker=3", "parallel.schedule=zero_bubble"],
            ["parallel.modules_per_worker: 3, but zero_bubble", "exactly 2"],
        ),
        (["parallel.schedule=zero_bubble", "parallel.engine=inprocess"], ["zero_bubble needs workers"]),
        (
            ["parallel.schedule=interleaved", "parallel.modules=2"],
            ["interleaved needs at least 2 workers with 2 modules each"],
        ),
        (
            ["parallel.schedule=interleaved", "parallel.modules=1"],
            ["parallel.modules: 1", "2 to a worker as interleaved has them"],
        ),
        (
            ["parallel.schedule=interleaved", "parallel.modules=8", "parallel.microbatches=2"],
            ["parallel.microbatches: 2 is not a multiple of the 4 workers, which interleaved needs"],
        ),
        (
            [
                "parallel.schedule=interleaved_zero_bubble",
                "parallel.modules=8",
                "parallel.microbatches=6",
                "data.batch_size=36",
            ],
            ["parallel.microbatches: 6 is not a multiple of the 4 workers"],
        ),
        (
            ["parallel.schedule=interleaved", "parallel.partition=[2,2]"],
            ["parallel.partition: [2, 2] cuts the chain into 2 modules", "parallel.modules is 4"],
        ),
    ],
)
def test_a_pipeline_that_cannot_run_is_refused_in_one_line(overrides, parts):
    line = refusal(*overrides)
    assert [part for part in parts if part not in line] == [], line


class TakesBatch(nn.Linear):
    def forward(self, h: Tensor, batch) -> Tensor:  # type: ignore[override]
        return super().forward(h)


class Penalised(nn.Linear):
    def local_loss(self, h: Tensor, batch) -> Tensor:
        return h.square().sum()


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (TakesBatch, r"block 1 \(TakesBatch\) takes \(h, batch\)"),
        (Penalised, r"local_loss of block 1 \(Penalised\)"),
    ],
)
def test_a_block_to_which_a_microbatch_is_another_thing_is_refused(monkeypatch, block, reason):
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))
    monkeypatch.setattr(MODELS, "_facts", dict(MODELS._facts))

    @register_model("unfit")
    def unfit(in_shape, n_outputs):
        return [nn.Flatten(), block(64, 8), nn.Linear(8, n_outputs)]

    config = load_config(
        "quickstart", ["model={name: unfit}", "scheme.name=backprop", "parallel.modules=2", "parallel.schedule=gpipe"]
    )
    with pytest.raises(ConfigError, match=f"^parallel.schedule: gpipe .*{reason}"):
        make_plan(config, load_data(config))


def test_workers_that_share_a_gpu_are_refused_by_the_cluster(monkeypatch):
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0, "GPU": 1.0})
    config = load_config("quickstart", PIPELINE)
    plan = make_plan(config, load_data(config))
    with pytest.raises(ConfigError, match=r"^parallel.schedule: 1f1b over GPUs needs one for each of the 4 workers"):
        resources(plan)
    plan.config.parallel.device = "cpu"
    assert resources(plan) == ({"CPU": 1.0}, "gloo")


def test_microbatches_are_read_by_pipelines_only():
    config = load_config("quickstart", [*PIPELINE, "parallel.schedule=locked", "parallel.microbatches=5"])
    assert make_plan(config, load_data(config)).schedule == "lag 0"


DEEP = ["model.hidden=[24,20,16,16,16,16,16]"]


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ("1f1b", "4 microbatches"),
        ("gpipe", "8 microbatches"),
        ("interleaved", "4 microbatches, 2 modules per worker"),
        ("interleaved_zero_bubble", "4 microbatches, 2 modules per worker"),
        ("zero_bubble", "8 microbatches, 2 modules per worker"),
    ],
)
def test_microbatches_follow_the_workers(schedule, words):
    modules = 8 if "modules per worker" in words else 4
    config = load_config(
        "quickstart", [*PIPELINE, *DEEP, f"parallel.modules={modules}", f"parallel.schedule={schedule}"]
    )
    assert make_plan(config, load_data(config)).schedule == f"{schedule} with {words}"


@pytest.mark.parametrize(
    ("overrides", "placement"),
    [
        (["parallel.schedule=1f1b", "parallel.modules=2"], [0, 1]),
        (["parallel.schedule=locked", "parallel.modules=2"], [0, 1]),
        (["parallel.schedule=locked", "parallel.modules_per_worker=2"], [0, 0, 1, 1]),
        (["parallel.schedule=interleaved"], [0, 1, 0, 1]),
        (
            ["parallel.schedule=interleaved_zero_bubble", "parallel.modules=6", "parallel.modules_per_worker=3"],
            [0, 1, 0, 1, 0, 1],
        ),
        (["parallel.schedule=zero_bubble"], [0, 1, 1, 0]),
    ],
)
def test_the_plan_places_modules_as_the_schedule_wants_them(overrides, placement):
    config = load_config("quickstart", [*PIPELINE, *DEEP, "parallel.replicas=2", *overrides])
    plan = make_plan(config, load_data(config))
    assert plan.placement == placement == [row["worker"] for row in describe(plan)]
    assert [plan.held_by(worker) for worker in range(2)] == [
        [module for module, at in enumerate(placement) if at == worker] for worker in range(2)
    ]
    assert (plan.modules, plan.workers_per_replica, plan.workers, plan.learners) == (
        len(placement),
        2,
        4,
        2 * len(placement),
    )


def test_a_dry_run_says_which_worker_holds_each_module(capsys):
    words = ["train", "quickstart", "scheme.name=backprop", "parallel.schedule=zero_bubble", "parallel.modules=4"]
    assert main([*words, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert [line.strip(" │").split()[-1] for line in out.splitlines() if "worker " in line and "│" in line] == [
        "0",
        "1",
        "1",
        "0",
    ]
    assert "4 modules x 1 replica, zero_bubble with 4 microbatches" in out


def test_more_modules_than_blocks_are_refused():
    config = load_config("quickstart", [*PIPELINE, "parallel.modules=8", "parallel.schedule=zero_bubble"])
    with pytest.raises(ConfigError, match=r"^parallel.modules: 8 is more than the 4 blocks of mlp"):
        make_plan(config, load_data(config))


@pytest.mark.parametrize("override", ["parallel.modules=3", "parallel.modules=4"])
def test_a_presets_partition_does_not_outlive_its_number_of_modules(override):
    common = ["scheme.name=backprop", "model.hidden=[24,20,16]"]
    assert load_config("quickstart", common).parallel.partition == [2, 3]
    assert load_config("quickstart", [*common, override]).parallel.partition is None
    assert load_config("quickstart", [*common, "parallel.schedule=1f1b"]).parallel.partition == [2, 3]


def test_the_schema_says_what_becomes_of_batch_norm():
    line = next(line for line in describe_schema(schema()).splitlines() if line.strip().startswith("microbatches:"))
    assert "batch norm and dropout then per microbatch" in line


@pytest.mark.parametrize("modules", [2, 3])
def test_a_pipeline_of_several_nets_is_refused_before_its_microbatches_are_counted(modules):
    words = ["parallel.schedule=gpipe", f"parallel.modules={modules}"]
    with pytest.raises(
        ConfigError, match=r"^parallel\.schedule: pipelines are of one net, .* each phase of gan has a loss"
    ):
        load_config("adversarial/gan", words)
