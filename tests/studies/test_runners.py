"""Trials on Ray: several at once, judged by the driver, stopped, killed and gone on with."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import ray
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import load_study

from unlocked import load_config, sweep
from unlocked.cli.main import main
from unlocked.config import to_dict
from unlocked.errors import RunFailed
from unlocked.launch.cluster import start_ray
from unlocked.launch.interrupt import StopSignal
from unlocked.studies import runners
from unlocked.studies.driver import Unwatched
from unlocked.studies.trial import Job

SEARCH = [
    "data.validation=0.2",
    "sweep.metric=val/accuracy",
    "sweep.sampler=random",
    "sweep.concurrent=2",
    "sweep.space.optimizer.lr={low: 1e-4, high: 0.1, log: true}",
]


def trials() -> list:
    path = Path("runs/small/study.journal")
    return load_study(study_name="small", storage=JournalStorage(JournalFileBackend(str(path)))).trials


@pytest.mark.ray
@pytest.mark.timeout(120)
def test_resources_that_no_node_has_are_refused(study, small, capsys):
    ray.shutdown()  # of tests before: this is about a Ray made for this very study
    words = [*small, *SEARCH, "sweep.trials=2", "sweep.resources.cpu=512"]
    assert main(["sweep", "quickstart", *words]) == 2
    assert (
        "unlocked: sweep.resources: no node has 512 CPU and 0 GPU for a trial (the cluster has"
        in capsys.readouterr().err
    )


@pytest.mark.ray
@pytest.mark.timeout(180)
def test_trials_side_by_side_give_what_each_gives_alone(study):
    both = sweep(study(*SEARCH, "sweep.trials=4"))
    alone = sweep(study(*SEARCH, "sweep.trials=4", "sweep.concurrent=1", "name=alone"))
    assert (both["complete"], alone["complete"]) == (4, 4)
    of = {row.group["trial"]: row.seeds["0"]["test/loss"] for row in both["rows"]}
    assert of == {row.group["trial"]: row.seeds["0"]["test/loss"] for row in alone["rows"]}
    starts = [(trial.datetime_start, trial.datetime_complete) for trial in trials()]
    assert starts[1][0] < starts[0][1], "the second began before the first had ended"


@pytest.mark.ray
@pytest.mark.timeout(180)
def test_a_trial_elsewhere_is_pruned_within_one_evaluation(study):
    pruner = "sweep.pruner={name: ThresholdPruner, lower: 0.5, n_warmup_steps: 1}"
    summary = sweep(
        study(
            *SEARCH,
            "sweep.trials=4",
            "train.epochs=4",
            "optimizer.name=sgd",
            pruner,
            "sweep.space.optimizer.lr=[1e-9, 0.1]",
            "sweep.enqueue=[{optimizer.lr: 1e-9}]",
        )
    )
    assert summary["pruned"] >= 1
    assert {trial.user_attrs["pruned"] for trial in trials() if trial.state.name == "PRUNED"} == {1}
    run = Path("runs") / trials()[0].user_attrs["runs"]["0"]
    assert len(list((run / "checkpoints").iterdir())) >= 1


@pytest.mark.ray
@pytest.mark.timeout(180)
@pytest.mark.slow("trials that start workers")
def test_trials_may_have_workers_of_their_own(study):
    summary = sweep(study(*SEARCH, "sweep.trials=2", "parallel.engine=ray", "scheme.name=cdni"))
    assert summary["complete"] == 2, summary["failed"]
    assert [row.seeds["0"]["test/accuracy"] > 0.3 for row in summary["rows"]].count(True) >= 1


@pytest.mark.ray
@pytest.mark.timeout(180)
@pytest.mark.slow("sixty epochs, some of them twice")
def test_a_trial_whose_process_is_killed_is_tried_again_from_where_it_was(study, tmp_path):
    words = [*SEARCH, "sweep.trials=2", "train.epochs=30", "sweep.retries=1"]

    class Killer(Unwatched):
        """Kills the process of trial 0 after its third epoch, or when it next hears of it."""

        killed = 0

        def epoch(self, number, epoch, epochs, value):
            if number == 0 and epoch >= 3 and not self.killed:
                run = Path("runs") / trials()[0].user_attrs["runs"]["0"]
                self.killed = int((run / "lock").read_text())
                os.kill(self.killed, signal.SIGKILL)

    killer = Killer()
    summary = sweep(study(*words), watcher=killer)
    assert killer.killed
    assert (summary["trials"], summary["complete"]) == (2, 2), summary["failed"]
    first, _, again = trials()
    assert (first.state.name, again.state.name, again.user_attrs["retry_of"]) == ("FAIL", "COMPLETE", 0)
    assert again.params == first.params
    assert again.user_attrs["runs"] == first.user_attrs["runs"]  # went on in the same folder
    assert "process of the trial died" in first.user_attrs["failure"]


@pytest.mark.ray
@pytest.mark.timeout(120)
@pytest.mark.slow("a study in a process of its own, and again")
def test_ctrl_c_saves_the_trials_under_way_and_the_same_command_goes_on(study, small):
    words = [*small, *SEARCH, "sweep.trials=3", "train.epochs=25", "train.log_every=5"]
    command = [sys.executable, "-m", "unlocked", "sweep", "quickstart", *words]
    start_ray(2, None)  # or the one that runs: the command joins it
    joined = os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=joined) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not list(Path("runs").glob("small-*/checkpoints/*")):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "of 3 trials are done; go on with: unlocked sweep /" in err
    assert {trial.state.name for trial in trials()} <= {"WAITING", "COMPLETE"}
    summary = sweep(load_config("quickstart", [*words, "sweep.trials=2"]))
    assert summary["complete"] >= 2
    assert len(list(Path("runs").glob("small-*"))) == len(trials())  # each went on in its own folder


@pytest.mark.ray
@pytest.mark.timeout(400)
@pytest.mark.slow("ten kills, sixty trials")
def test_a_driver_killed_ten_times_ends_with_thirty_trials_none_of_them_twice(study, small, prepared):
    words = [*small, *SEARCH, "sweep.trials=30", "sweep.concurrent=1", "train.epochs=2"]
    moments = random.Random(0)
    for _ in range(10):
        process = prepared.Process(target=main, args=(["sweep", "quickstart", *words, "--quiet"],))
        process.start()
        process.join(2.5 * moments.random())
        process.kill()
        process.join()
    summary = sweep(load_config("quickstart", words))
    found = trials()
    assert [trial.state.name for trial in found] == ["COMPLETE"] * 30
    assert len({trial.params["optimizer.lr"] for trial in found}) == 30
    assert len({trial.user_attrs["runs"]["0"] for trial in found}) == 30
    unbroken = sweep(load_config("quickstart", [*words, "name=unbroken"]))
    assert unbroken["best"]["params"] == summary["best"]["params"]
    assert unbroken["best"]["value"] == summary["best"]["value"]


@pytest.mark.ray
@pytest.mark.timeout(120)
def test_a_process_that_cannot_begin_is_not_tried_again(study):
    summary = sweep(study(*SEARCH, "sweep.trials=2"), imports=["no_such_module"])
    assert len(trials()) == summary["trials"] == len(summary["failed"]) == 2
    for failure in summary["failed"].values():
        assert failure.startswith("the trial could not start: ")
        assert "--import no_such_module: ModuleNotFoundError" in failure


@pytest.fixture
def pretended(study, monkeypatch):
    """Ray that only pretends, and a runner on it: actors are told apart, and no trial ends by itself."""
    fake = MagicMock(exceptions=ray.exceptions)
    fake.cluster_resources.return_value = {"CPU": 2.0}
    fake.nodes.return_value = [{"Alive": True, "Resources": {"CPU": 2.0}}]
    fake.remote.return_value.options.return_value.remote.side_effect = lambda *_: MagicMock()
    fake.wait.return_value = ([], [])
    monkeypatch.setitem(sys.modules, "ray", fake)
    return fake, runners.OnRay(study(*SEARCH), MagicMock(tags={}), StopSignal(), [])


def job(study, number, engine="inprocess"):
    return Job(number, study(f"parallel.engine={engine}"), "val/accuracy", {})


def ends(fake, runner, number):
    """The trial of this number ends."""
    ref = next(ref for ref, (job, _, _) in runner._running.items() if job.number == number)
    fake.wait.side_effect = lambda refs, timeout: ([ref] if ref in refs else [], [])
    return runner.next(MagicMock())[1]


@pytest.mark.parametrize(
    ("error", "may_pass"),
    [
        (ray.exceptions.ActorDiedError(), True),
        (ray.exceptions.ActorUnavailableError("its node does not answer", None), True),
        (ray.exceptions.OutOfMemoryError("killed by the memory monitor"), True),
        (ray.exceptions.ObjectLostError("00", None, ""), True),
        (ray.exceptions.RayTaskError("run", "ValueError", ValueError()), False),
        (ray.exceptions.ActorDiedError(ray.exceptions.RayTaskError("__init__", "ValueError", ValueError())), False),
    ],
)
def test_whatever_ray_says_of_a_trial_is_an_outcome_of_it(pretended, study, error, may_pass):
    fake, runner = pretended
    fake.get.side_effect = error
    runner.start(job(study, 0))
    outcome = ends(fake, runner, 0)
    assert outcome.may_pass == may_pass
    assert ("process of the trial died" in outcome.failure) == may_pass
    assert fake.kill.call_count == 1


def test_an_idle_actor_makes_room_for_a_trial_with_workers(pretended, study):
    fake, runner = pretended
    runner.start(job(study, 0))
    runner.start(job(study, 1, engine="ray"))
    (_, plain, _), (_, with_workers, _) = runner._running.values()
    ends(fake, runner, 0)
    ends(fake, runner, 1)
    runner.start(job(study, 2, engine="ray"))
    fake.kill.assert_called_once_with(plain, no_restart=True)
    assert [actor for _, actor, _ in runner._running.values()] == [with_workers]


def test_trials_that_do_not_stop_are_killed_all_after_one_wait(pretended, study, monkeypatch):
    fake, runner = pretended
    monkeypatch.setattr(runners, "STOPPING", 0.02)
    fake.wait.side_effect = lambda *_, **__: time.sleep(0.005) or ([], [])
    for number in range(2):
        runner.start(job(study, number))
    runner._stop.asked = True
    assert runner.next(MagicMock())[1].interrupted
    looks = fake.wait.call_count
    assert runner.next(MagicMock())[1].interrupted
    assert fake.wait.call_count == looks + 1
    assert fake.kill.call_count == 2


def test_an_actor_waits_once_at_the_mailbox_for_the_end_of_the_study(study, monkeypatch):
    for name in ("enter", "run_trial"):
        monkeypatch.setattr(runners, name, MagicMock())
    actor = runners._Trials(".", [], [], mailbox := MagicMock())
    for number in range(2):
        actor.run(to_dict(study()), job(study, number), {}, False)
    assert mailbox.stopped.remote.call_count == 1


@pytest.mark.parametrize("after", ["while it waits", "before it starts another"])
def test_a_private_ray_that_died_is_no_failure_of_its_trials(pretended, study, monkeypatch, after):
    fake, runner = pretended
    ended = []
    runner.start(job(study, 0))
    dead = iter([None, "the raylet"] if after == "while it waits" else ["the raylet"])
    monkeypatch.setattr(runners.private_ray, "lost", lambda: next(dead))
    monkeypatch.setattr(runners.private_ray, "end", lambda: ended.append(True))
    with pytest.raises(RunFailed, match=r"^Ray died: the raylet$"):
        ends(fake, runner, 0) if after == "while it waits" else runner.start(job(study, 1))
    assert ended == [True]
    fake.is_initialized.return_value = False
    runner.close()
    assert fake.kill.call_count == 0
