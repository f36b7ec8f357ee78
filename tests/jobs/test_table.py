"""The queue as read from Ray's table of jobs, and what the keeper does with it."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest

from unlocked.jobs.keeper import PIN_AGAIN, Queue
from unlocked.jobs.spec import JOB, TICKET, VARIABLE, Spec
from unlocked.jobs.table import WAITING, admitted, in_use, read_table, ticket_id


def spec(name, cpus=1.0, gpus=0.0, driver=0.0):
    return Spec(name, "train", ["train", "quickstart", "name=a b"], {"CPU": cpus, "GPU": gpus}, {"CPU": driver})


class FakeRay:
    """Ray's table of jobs: a job is PENDING when it is submitted and does what the test says after that."""

    def __init__(self):
        self.entries, self.clock, self.stopped = {}, 0, []
        self.before_submit = lambda: None

    def queue(self, *specs):
        for each in specs:
            self._add(ticket_id(each.id), each.metadata(TICKET), {"working_dir": "gcs://p.zip"}, "SUCCEEDED")

    def _add(self, submission_id, metadata, runtime_env, status):
        self.clock += 1000
        self.entries[submission_id] = SimpleNamespace(
            submission_id=submission_id,
            metadata=metadata,
            runtime_env=runtime_env,
            status=status,
            start_time=self.clock,
            end_time=None,
            message=None,
        )

    def submit_job(self, *, entrypoint, submission_id, runtime_env, metadata, **resources):
        self.before_submit()
        if submission_id in self.entries:
            raise RuntimeError(
                f"Request failed with status code 500: Job with submission_id {submission_id} already exists."
            )
        self._add(submission_id, metadata, runtime_env, "PENDING")
        self.entries[submission_id].entrypoint = entrypoint
        self.entries[submission_id].resources = resources

    def get_job_info(self, submission_id):
        if submission_id not in self.entries:
            raise RuntimeError(f"Request failed with status code 404: Job {submission_id} does not exist.")
        return self.entries[submission_id]

    def list_jobs(self):
        mixed = list(self.entries.values())
        random.Random(self.clock).shuffle(mixed)  # Ray promises no order
        return [SimpleNamespace(submission_id=None, metadata={}), *mixed]  # and lists drivers that are no jobs

    def stop_job(self, submission_id):
        self.stopped.append(submission_id)

    def end(self, job_id, status="SUCCEEDED"):
        self.entries[job_id].status, self.entries[job_id].end_time = status, self.clock


def keeper(ray):
    pinned = []
    return Queue(ray, lambda uri, expiration_s: pinned.append(uri)), pinned


def test_fifty_jobs_run_in_order_four_at_once_and_none_is_lost_however_often_the_keeper_dies():
    ray = FakeRay()
    ray.queue(*(spec(f"job-{number}") for number in range(50)))
    started, live, dice = [], [], random.Random(0)
    while len(started) < 50 or live:
        queue, _ = keeper(ray)  # every step by a new keeper: there is nothing for it to remember
        new, _ = queue.step({"CPU": 4.0})
        started += new
        live += new
        table = read_table(ray.list_jobs())
        assert [job.position for job in table if job.state == WAITING] == list(range(1, 51 - len(started)))
        assert in_use(table)["CPU"] == len(live) <= 4
        if len(started) < 50:
            assert len(live) == 4  # nothing stands empty while something waits
        ray.end(live.pop(dice.randrange(len(live))), dice.choice(["SUCCEEDED", "FAILED", "STOPPED"]))
    assert started == [f"job-{number}" for number in range(50)]
    assert {job.state for job in read_table(ray.list_jobs())} == {"succeeded", "failed", "stopped"}


def test_a_large_job_is_not_overtaken_by_small_ones_behind_it():
    ray = FakeRay()
    ray.queue(spec("small-1"), spec("large", cpus=4), spec("small-2"))
    queue, _ = keeper(ray)
    started, size = queue.step({"CPU": 4.0})
    assert started == ["small-1"]
    assert size == {"CPU": 5.0}  # what a cluster that grows is asked for
    assert queue.step({"CPU": 4.0})[0] == []
    ray.end("small-1")
    assert queue.step({"CPU": 4.0}) == (["large"], {"CPU": 5.0})
    ray.end("large")
    assert queue.step({"CPU": 4.0}) == (["small-2"], {})  # nothing more is asked for


def test_what_counts_is_all_that_a_job_will_ask_for_of_cpus_and_gpus():
    ray = FakeRay()
    ray.queue(spec("a", cpus=2, gpus=1), spec("b", cpus=2, gpus=1))
    assert [job.id for job in admitted(read_table(ray.list_jobs()), {"CPU": 8.0, "GPU": 1.0})] == ["a"]
    assert [job.id for job in admitted(read_table(ray.list_jobs()), {"CPU": 3.0, "GPU": 8.0})] == ["a"]
    assert [job.id for job in admitted(read_table(ray.list_jobs()), {"CPU": 4.0, "GPU": 2.0})] == ["a", "b"]


def test_a_job_is_started_with_its_package_its_id_and_time_to_save_itself():
    ray = FakeRay()
    ray.queue(spec("a", driver=1.0))
    queue, pinned = keeper(ray)
    queue.step({"CPU": 1.0})
    job = ray.entries["a"]
    assert job.entrypoint == "exec python -m unlocked train quickstart 'name=a b'"  # for a shell
    assert job.runtime_env["working_dir"] == "gcs://p.zip"
    assert job.runtime_env["env_vars"][VARIABLE] == "a"
    assert int(job.runtime_env["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]) >= 60
    assert job.metadata[JOB] == "a"
    assert job.resources == {"entrypoint_num_cpus": 1.0, "entrypoint_num_gpus": None}
    assert pinned == ["gcs://p.zip"]


def test_the_package_of_a_waiting_job_is_kept_for_it_again_and_again(monkeypatch):
    from unlocked.jobs import keeper as module

    ray, now = FakeRay(), [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    ray.queue(spec("a"), spec("b"))
    queue, pinned = keeper(ray)
    for now[0] in (0.0, 1.0, PIN_AGAIN + 1.0):
        queue.step({"CPU": 0.0})
    assert pinned == ["gcs://p.zip"] * 2  # once for both, and once more in time


def test_a_ticket_taken_out_while_the_keeper_looked_starts_nothing():
    ray = FakeRay()
    ray.queue(spec("a"))
    queue, _ = keeper(ray)
    looked = ray.list_jobs()
    del ray.entries[ticket_id("a")]
    ray.list_jobs = lambda: looked
    assert queue.step({"CPU": 1.0})[0] == []
    assert "a" not in ray.entries


def test_a_ticket_taken_out_while_its_job_was_submitted_stops_the_job():
    ray = FakeRay()
    ray.queue(spec("a"))
    queue, _ = keeper(ray)
    ray.before_submit = lambda: ray.entries.pop(ticket_id("a"))
    queue.step({"CPU": 1.0})
    assert ray.stopped == ["a"]


def test_a_job_that_a_keeper_before_had_submitted_is_not_started_twice():
    ray = FakeRay()
    ray.queue(spec("a"))
    looked = ray.list_jobs()
    queue, _ = keeper(ray)
    assert queue.step({"CPU": 1.0})[0] == ["a"]
    ray.list_jobs = lambda: looked
    assert queue.step({"CPU": 1.0})[0] == []


@pytest.mark.parametrize(("status", "state"), [("PENDING", "starting"), ("RUNNING", "running"), ("FAILED", "failed")])
def test_a_jobs_state_is_rays(status, state):
    ray = FakeRay()
    ray.queue(spec("a"))
    keeper(ray)[0].step({"CPU": 1.0})
    ray.entries["a"].status, ray.entries["a"].message = status, "a traceback\nValueError: this one\n"
    (job,) = read_table(ray.list_jobs())
    assert (job.state, job.position) == (state, None)
    assert job.message == ("ValueError: this one" if state == "failed" else "")
