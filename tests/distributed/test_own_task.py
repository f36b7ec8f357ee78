"""A task of one's own trains, resumes, is evaluated and generates as ours do, in process and over workers."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from unlocked import load_config, resume, train
from unlocked.cli.main import main
from unlocked.data import DATA
from unlocked.errors import ConfigError, RunInterrupted
from unlocked.loop.reporter import Silent
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.plugins import import_module
from unlocked.runs.checkpoint import Checkpoints
from unlocked.tasks import TASKS
from unlocked_models import MODELS

OWN = Path(__file__).parent / "own_ranking.py"
NAMES = ((TASKS, "own_ranking"), (DATA, "own_digits"), (MODELS, "own_scorer"))


@pytest.fixture
def own(tmp_path):
    """`own(...)`: a configuration of this task with overrides."""
    import_module(str(OWN), "test")

    def config(*overrides):
        return load_config(
            "quickstart",
            [
                "data={name: own_digits, batch_size: 64}",
                "model={name: own_scorer}",
                "scheme.sg.hidden=[16]",
                "scheme.name=cdni",
                "train={epochs: 4, log_every: 8, probe_every: 2}",
                "parallel={modules: 2, engine: inprocess, threads: 1, timeout: 60}",
                f"tracking={{uri: off, runs: {tmp_path}}}",
                *overrides,
            ],
        )

    yield config
    for registry, name in NAMES:
        registry._entries.pop(name, None)
        registry._facts.pop(name, None)
    sys.modules.pop("own_ranking", None)


def metrics_of(summary):
    return {name: value for name, value in summary["metrics"].items() if not name.startswith("time/")}


def test_it_trains_is_evaluated_and_generates_from_the_command_line(own, tmp_path, capsys):
    summary = train(own(), imports=["own_ranking"])
    assert summary["metrics"]["test/tau"] > 0.2  # by chance 0
    assert (Path(summary["run_dir"]) / "figures" / "scores.txt").read_text() == "360"
    assert main(["evaluate", summary["run_dir"], "--import", str(OWN)]) == 0
    assert "test/tau" in capsys.readouterr().out
    assert main(["generate", summary["run_dir"], "n=2", "--import", str(OWN)]) == 0
    assert len(capsys.readouterr().out.split()) == 2
    assert main(["list", "tasks", "--import", str(OWN)]) == 0
    assert "own_ranking" in capsys.readouterr().out


def test_it_resumes_to_the_same_weights(own):
    whole = Path(train(own(), imports=["own_ranking"])["run_dir"])

    class Stop(Silent):
        def epoch(self, epoch, values):
            return epoch == 2

    with pytest.raises(RunInterrupted):
        train(own(), imports=["own_ranking"], reporter=Stop())
    run_dir = next(path for path in whole.parent.iterdir() if path != whole)
    resume(run_dir, imports=["own_ranking"])
    expected, found = (load_file(Checkpoints(run).last() / "model.safetensors") for run in (whole, run_dir))
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())


@pytest.mark.ray
@pytest.mark.timeout(120)
def test_workers_give_the_numbers_of_one_process(own, cluster):
    one, other = (
        metrics_of(train(own(f"parallel.engine={engine}"), imports=["own_ranking"])) for engine in ("inprocess", "ray")
    )
    assert one == other


def test_a_loss_that_couples_examples_is_of_whole_minibatches(own):
    config = own("parallel.engine=ray", "parallel.replicas=2")
    with pytest.raises(
        ConfigError, match=r"parallel.replicas: 2 would share out a minibatch, whose examples the loss of"
    ):
        make_plan(config, load_data(config))


def test_a_scheme_that_it_refuses_is_told_with_the_reason(own):
    with pytest.raises(ConfigError, match=r"scheme.name: dfa cannot train for own_ranking: the error of a score is a"):
        own("scheme.name=dfa")
