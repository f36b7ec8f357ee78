"""Commands of a cluster where there is none: one line that shows the way, exit code 2 or 1."""

from __future__ import annotations

import pytest

COMMANDS = [["submit", "train", "quickstart"], ["jobs"], ["queue"], ["logs", "x-1"], ["stop", "x-1"]]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_without_an_address_the_way_to_a_local_cluster_is_shown(unlocked, words):
    done = unlocked(*words)
    assert done.code == 2
    assert done.err == (
        "unlocked: --address: which cluster? set RAY_API_SERVER_ADDRESS=http://HOST:8265, or start one "
        "on this machine: unlocked cluster up\n"
    )


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_an_address_where_nobody_answers_is_one_line(unlocked, words):
    done = unlocked(*words, "--address", "http://127.0.0.1:1/")
    assert done.code == 1
    assert done.err == (
        "unlocked: http://127.0.0.1:1: no cluster answers there; start one on this machine with: unlocked cluster up\n"
    )


@pytest.mark.parametrize("address", ["ray://h:10001", "127.0.0.1:8265", "http//x", "os"])
def test_only_http_addresses_are_taken(unlocked, address):
    """Ray would import a module that an address names."""
    done = unlocked("jobs", "--address", address)
    assert done.code == 2
    assert f"--address: {address!r}" in done.err
    assert "expected http://HOST:PORT or https://HOST:PORT" in done.err


@pytest.mark.parametrize(
    "words",
    [["submit", "train"], ["submit", "train", "quickstart", "--resume", "x"], ["submit", "sweep", "--resume", "x"]],
)
def test_a_job_has_one_configuration_or_one_run_to_go_on_with(unlocked, words):
    done = unlocked(*words)
    assert done.code == 2
    assert "submit: name a configuration, or for train a run with --resume RUN" in done.err


def test_no_cluster_is_a_state_and_not_an_accident(unlocked):
    assert unlocked("cluster", "down").out == "no cluster is running here\n"
    done = unlocked("cluster", "status")
    assert done.code == 2
    assert done.err == "unlocked: cluster status: none is running here; start one with: unlocked cluster up\n"


def test_a_cluster_without_a_token_is_not_opened_to_others(unlocked, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    done = unlocked("cluster", "up", "--host", "0.0.0.0")
    assert done.code == 2
    assert done.err.startswith("unlocked: --host 0.0.0.0: whoever reaches a cluster without a token runs code on it")
    assert done.err.count("\n") == 1


def test_more_epochs_of_a_run_are_no_configuration(unlocked):
    done = unlocked("submit", "train", "--resume", "nowhere", "train.epochs=40", "--address", "http://127.0.0.1:1")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "no cluster answers" in done.err


def test_the_table_of_jobs_fits_80_columns_and_cuts_no_word(monkeypatch, capsys):
    from unlocked.cli import jobs
    from unlocked.jobs.spec import Spec
    from unlocked.jobs.table import Job
    from unlocked.rich_text import plain_console

    monkeypatch.setattr(jobs, "wide_console", lambda: plain_console(width=80))
    words = ["train", "studies/fashion_cnn", "scheme.name=cdni", "parallel.modules=4"]
    spec = Spec("quickstart-a1b2c3", "train", words, {"CPU": 16.0, "GPU": 1.0}, {"CPU": 0.0})
    jobs._table([Job(spec, "waiting", 0.0, position=12), Job(spec, "running", 0.0, 0.0)], as_json=False)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    for word in ("quickstart-a1b2c3", "running", *words):
        assert word in shown
