"""What a pipeline cannot do is said in one line, before anything starts."""

from __future__ import annotations

import pytest
import ray
from torch import Tensor, nn

from unlocked.config import load_config
from unlocked.config.describe import describe_schema
from unlocked.engine.plan import load_data, make_plan
from unlocked.engine.ray_group import _resources
from unlocked.errors import ConfigError
from unlocked_models import MODELS, register_model

PIPELINE = ["scheme.name=backprop", "model.hidden=[24,20,16]", "data.batch_size=32", "parallel.partition=null",
            "parallel.stages=4", "parallel.schedule=1f1b"]


def refusal(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config("quickstart", [*PIPELINE, *overrides])
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    return line


@pytest.mark.parametrize(("overrides", "parts"), [
    (["scheme.name=cdni"], ["parallel.schedule: 1f1b pipelines backprop", "scheme.name is cdni"]),
    (["scheme.name=frozen"], ["parallel.schedule: 1f1b", "scheme.name is frozen"]),
    (["parallel.launcher=inprocess"], ["parallel.schedule: 1f1b needs workers", "launcher is inprocess"]),
    (["parallel.stages=1"], ["parallel.schedule: 1f1b needs at least 2 stages", "parallel.stages is 1"]),
    (["parallel.microbatches=5"], ["parallel.microbatches: 5 does not divide the 32 examples of a minibatch"]),
    (["parallel.microbatches=32", "parallel.replicas=2"],
     ["parallel.microbatches: 32 does not divide the 16 examples", "in each replica"]),
    (["data.batch_size=30"], ["parallel.microbatches: 4 does not divide the 30"]),  # the default of 1f1b
    (["data.batch_size=36", "parallel.schedule=gpipe"], ["parallel.microbatches: 8 does not divide the 36"]),
    (["parallel.microbatches=2"], ["parallel.microbatches: 2 is fewer than the 4 stages", "1f1b", "gpipe"]),
    (["parallel.microbatches=0"], ["parallel.microbatches: 0 is out of range; expected at least 1"]),
    (["parallel.schedule=1f2b"], ["parallel.schedule", "did you mean '1f1b'?", "gpipe, locked"]),
    (["parallel.schedule=interleaved"], ["parallel.schedule: interleaved", "several modules each", "gpipe, 1f1b"]),
    (["parallel.schedule=zero_bubble"], ["parallel.schedule: zero_bubble", "several modules each"]),
])
def test_a_pipeline_that_cannot_run_is_refused_in_one_line(overrides, parts):
    line = refusal(*overrides)
    assert [part for part in parts if part not in line] == [], line


class TakesBatch(nn.Linear):
    def forward(self, h: Tensor, batch) -> Tensor:  # type: ignore[override]
        return super().forward(h)


class Penalised(nn.Linear):
    def local_loss(self, h: Tensor, batch) -> Tensor:
        return h.square().sum()


@pytest.mark.parametrize(("block", "reason"), [
    (TakesBatch, r"block 1 \(TakesBatch\) takes \(h, batch\)"),
    (Penalised, r"local_loss of block 1 \(Penalised\)"),
])
def test_a_block_to_which_a_microbatch_is_another_thing_is_refused(monkeypatch, block, reason):
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))
    monkeypatch.setattr(MODELS, "_facts", dict(MODELS._facts))

    @register_model("unfit")
    def unfit(in_shape, n_outputs):
        return [nn.Flatten(), block(64, 8), nn.Linear(8, n_outputs)]

    config = load_config("quickstart", ["model={name: unfit}", "scheme.name=backprop", "parallel.stages=2",
                                        "parallel.schedule=gpipe"])
    with pytest.raises(ConfigError, match=f"^parallel.schedule: gpipe .*{reason}"):
        make_plan(config, load_data(config))


def test_workers_that_share_a_gpu_are_refused_by_the_cluster(monkeypatch):
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0, "GPU": 1.0})
    config = load_config("quickstart", PIPELINE)
    plan = make_plan(config, load_data(config))
    with pytest.raises(ConfigError, match=r"^parallel.schedule: 1f1b over GPUs needs one for each of the 4 workers"):
        _resources(plan)
    plan.config.parallel.device = "cpu"
    assert _resources(plan) == ({"CPU": 1.0}, "gloo")


def test_microbatches_are_read_by_pipelines_only():
    config = load_config("quickstart", [*PIPELINE, "parallel.schedule=locked", "parallel.microbatches=5"])
    assert make_plan(config, load_data(config)).schedule == "lag 0"


@pytest.mark.parametrize(("schedule", "microbatches"), [("1f1b", 4), ("gpipe", 8)])
def test_microbatches_follow_the_stages(schedule, microbatches):
    config = load_config("quickstart", [*PIPELINE, f"parallel.schedule={schedule}"])
    assert make_plan(config, load_data(config)).schedule == f"{schedule} with {microbatches} microbatches"


def test_the_schema_says_what_becomes_of_batch_norm():
    line = next(line for line in describe_schema().splitlines() if line.strip().startswith("schedule: locked"))
    assert "batch norm and dropout then per microbatch" in line
