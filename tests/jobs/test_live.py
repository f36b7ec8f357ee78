"""Jobs on a real cluster: queued, followed, listed, stopped; nothing without its token."""

from __future__ import annotations

import json
import re
import sqlite3
import stat
import urllib.error
import urllib.request
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
MODULE = """
from torch import nn
from unlocked import register_model

@register_model("mine")
def mine(in_shape, n_outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 9), nn.Linear(9, n_outputs))
"""
SHORT = ["parallel.engine=inprocess", "parallel.threads=1", "train.epochs=2"]


def test_a_run_is_submitted_followed_and_listed(shell):
    (shell.home / "mine.py").write_text(MODULE)  # outside the project
    done = shell(
        "submit",
        "train",
        "quickstart",
        *SHORT,
        "--name",
        "first",
        "--follow",
        "--import",
        str(shell.home / "mine.py"),
        "model={name: mine}",
        "scheme.name=backprop",
    )
    (job,) = re.findall(r"queued (first-\w+): needs 1 CPU", done.stdout)
    (run,) = (shell.project / "runs").glob("quickstart-*")
    lines = done.stdout.splitlines()
    assert f"  {run}" in lines
    assert [line.split()[:2] for line in lines if line.startswith("  epoch")] == [["epoch", "1/2"], ["epoch", "2/2"]]
    assert f"  run folder: {run}" in lines
    assert f"{job} succeeded" in done.stderr
    assert shell.jobs()[job]["state"] == "succeeded"
    assert shell("evaluate", str(run), "--json").returncode == 0  # it knows the module, here too
    assert "accuracy" in shell("logs", job).stdout
    assert job in shell("jobs").stdout


@pytest.mark.slow("a job with workers")
def test_a_run_with_workers_takes_its_places_in_the_cluster(shell):
    done = shell("submit", "train", "quickstart", "train.epochs=1", "tracking.uri=off", "--name", "two", "--follow")
    assert re.search(r"queued two-\w+: needs 2 CPU", done.stdout)


def test_each_node_unpacks_projects_in_a_folder_of_its_own(shell):
    folder = Path(json.loads((shell.home / ".unlocked" / "cluster.json").read_text())["folder"])
    assert all((node / "session_latest" / "runtime_resources").is_dir() for node in map(folder.joinpath, "123"))


@pytest.mark.slow("a job that is stopped and goes on")
def test_a_stopped_run_is_saved_says_so_in_mlflow_and_can_go_on(shell):
    done = shell("submit", "train", "quickstart", *SHORT[:2], "train.epochs=800", "name=long")
    (job,) = re.findall(r"queued (long-\w+)", done.stdout)
    checkpoints = lambda: list((shell.project / "runs").glob("long-*/checkpoints/step-*"))  # noqa: E731
    shell.until(checkpoints, "the run has a checkpoint")
    stopped = shell("stop", job)
    assert f"{job} stopped" in stopped.stdout
    assert shell.jobs()[job]["state"] == "stopped"
    (run,) = (shell.project / "runs").glob("long-*")
    (words,) = re.findall(r"unlocked (submit train --resume .*)", stopped.stdout)
    assert words == f"submit train --resume {run}"
    with sqlite3.connect(shell.project / "runs" / "mlflow.db") as database:
        ((tracked, status),) = database.execute(
            "select r.run_uuid, r.status from runs r join tags t on "
            "r.run_uuid = t.run_uuid where t.key = 'unlocked.job' and t.value = ?",
            (job,),
        ).fetchall()
    assert status == "KILLED"
    resumed = shell(*words.split(), "--follow")
    assert re.search(r"long-\w+ succeeded", resumed.stderr)
    assert json.loads((run / "summary.json").read_text())["steps"] == 800 * 20
    with sqlite3.connect(shell.project / "runs" / "mlflow.db") as database:
        assert database.execute("select status from runs where run_uuid = ?", (tracked,)).fetchall() == [("FINISHED",)]


@pytest.mark.slow("two jobs, one after the other")
def test_a_job_taken_out_of_the_queue_never_runs(shell):
    first = shell(
        "submit",
        "train",
        "quickstart",
        "parallel.engine=ray",
        "parallel.modules=5",
        "train.epochs=3000",
        "parallel.partition=null",
        "name=large",
        "tracking.uri=off",
    )
    second = shell(
        "submit",
        "train",
        "quickstart",
        "parallel.engine=ray",
        "parallel.modules=5",
        "name=behind",
        "parallel.partition=null",
    )
    (large,), (behind,) = (re.findall(r"queued ([\w-]+):", done.stdout) for done in (first, second))
    assert shell.jobs()[behind]["state"] == "waiting"
    assert re.search(rf"{behind}\s.*waiting, 1\.", shell("queue").stdout)
    assert "had not begun" in shell("stop", behind).stdout
    assert behind not in shell.jobs()
    shell("stop", large)


def test_a_failed_run_ends_its_follower_with_its_reason_and_code_1(shell):
    done = shell(
        "submit",
        "train",
        "quickstart",
        *SHORT,
        "optimizer.lr=1e30",
        "optimizer.name=sgd",
        "name=nan",
        "tracking.uri=off",
        "--follow",
        check=False,
    )
    assert done.returncode == 1
    assert re.search(r"nan-\w+ failed: .*NaN or infinite", done.stderr)


def test_what_is_wrong_is_one_line_and_submits_nothing(shell):
    before = shell.jobs()
    for words, said in [
        (["submit", "train", "quickstart", "optimizer.lrr=1"], "optimizer.lrr: unknown key"),
        (["submit", "train", "quickstart", "tracking.uri=https://a:hunter22@h"], "tracking.uri: holds a secret"),
        (["submit", "train", "quickstart", "--name", "../x"], "--name: '../x' is no name"),
        (["submit", "train", "/etc/x.yaml"], "no file"),
        (["submit", "sweep", "quickstart", "--resume", "x"], "name a configuration"),
        (["stop", "nothing-1"], "no job 'nothing-1'"),
    ]:
        done = shell(*words, check=False)
        assert done.returncode == 2, words
        assert done.stderr.count("\n") == 1, done.stderr
        assert said in done.stderr
        assert "hunter22" not in done.stderr
    assert shell.jobs() == before


def test_a_gigabyte_is_not_submitted(shell):
    big = shell.project / "big.bin"
    with big.open("wb") as file:
        file.truncate(2**30)
    try:
        done = shell("submit", "train", "quickstart", check=False)
    finally:
        big.unlink()
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "a job may bring 100 MiB" in done.stderr


@pytest.mark.slow("examines four nodes")
def test_doctor_examines_every_node_and_the_way_between_two(shell):
    address, runs = shell.environment["RAY_API_SERVER_ADDRESS"], shell.project / "runs"
    done = shell("doctor", "--address", address, "--runs", str(runs), "--json")
    checks = {check["check"]: check for check in json.loads(done.stdout.splitlines()[-1])}
    assert sum(check["check"].startswith("node ") for check in json.loads(done.stdout.splitlines()[-1])) == 4
    assert re.search(r"gloo all-reduce of 16 MiB over two nodes: \d+ MB/s", checks["collective"]["finding"])
    assert "reached by 4 of 4 nodes" in checks["storage"]["finding"]


# security -------------------------------------------------------------------------------------------------


def status_of(url, token=None):
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize(
    "path",
    [
        "/api/jobs/",
        "/api/version",
        "/api/v0/nodes",
        "/api/packages/gcs/x.zip",
        "/api/cluster_status",
        "/nodes?view=summary",
    ],
)
def test_without_its_token_the_dashboard_answers_nobody(shell, path):
    address, token = shell.environment["RAY_API_SERVER_ADDRESS"], (shell.home / ".ray" / "auth_token").read_text()
    assert status_of(address + path) == 401
    assert status_of(address + path, "0" * 64) == 403
    assert status_of(address + path, token) not in (401, 403)


@pytest.mark.slow("two commands that wait for Ray to refuse them")
def test_without_its_token_no_driver_joins_and_no_command_works(shell):
    gcs = json.loads((shell.home / ".unlocked" / "cluster.json").read_text())["gcs"]
    join = (
        "import ray; from unlocked.launch.private_ray import loopback\n"
        f"with loopback(): ray.init(address={gcs!r}); print('joined')"
    )
    for environment in ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}):
        assert "joined" not in shell.python(join, **environment).stdout
    assert "joined" in shell.python(join, RAY_AUTH_MODE="token").stdout
    for environment, said in (
        ({"RAY_AUTH_MODE": "disabled"}, "asks for a token"),
        ({"RAY_AUTH_TOKEN": "0" * 64}, "refuses this machine's token"),
    ):
        done = shell("jobs", check=False, **environment)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert said in done.stderr


def test_the_token_is_its_owners_and_the_dashboard_is_on_loopback(shell):
    assert stat.S_IMODE((shell.home / ".ray" / "auth_token").stat().st_mode) == 0o600
    assert shell.environment["RAY_API_SERVER_ADDRESS"].startswith("http://127.0.0.1:")
    done = shell("cluster", "up", "--host", "0.0.0.0", check=False, RAY_AUTH_MODE="disabled", HOME=str(shell.project))
    assert done.returncode == 2
    assert "--host 0.0.0.0: whoever reaches a cluster without a token runs code on it" in done.stderr
