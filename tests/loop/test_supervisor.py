"""What follows a failure of the workers, decided by values; no group is ever started."""

import pytest

from unlocked.engine.group import WorkerFailed
from unlocked.loop.supervisor import GiveUp, Restart, Supervisor

LOST = WorkerFailed("a worker died: module 1", "", may_pass=True)


class Workers:
    """As much of a group as a supervisor touches."""

    closed = 0

    def close(self):
        Workers.closed += 1


def supervised(failures, max_failures=2, last_step=lambda: 40):
    """What `run` gives with an attempt that fails `failures` times, what is noted, and the `again` of each start."""
    notes, starts, left = [], [], list(failures)

    def attempt(group):
        if left:
            raise left.pop(0)
        return "trained"

    def start(again):
        starts.append(again)
        return Workers()

    supervisor = Supervisor(max_failures, last_step, "go on with: unlocked train --resume x", notes.append)
    Workers.closed = 0
    try:
        result = supervisor.run(start, attempt, lambda error: error if isinstance(error, WorkerFailed) else None)
    except Exception as error:
        result = error
    assert Workers.closed == len(starts)
    return result, notes, starts


@pytest.mark.parametrize(
    ("failures", "may_pass", "decision"),
    [
        (1, True, Restart(40)),
        (2, True, Restart(40)),
        (3, True, GiveUp("it died (2 restarts before it); go on")),
        (1, False, GiveUp("it died; go on")),
        (2, False, GiveUp("it died (1 restarts before it); go on")),
    ],
)
def test_the_decision_is_a_value_of_what_failed_and_how_often(failures, may_pass, decision):
    supervisor = Supervisor(2, lambda: 40, "go on", print)
    supervisor.failures = failures
    assert supervisor.decide(WorkerFailed("it died", "", may_pass)) == decision


def test_a_lost_group_is_replaced_from_the_last_checkpoint_and_that_is_noted():
    result, notes, starts = supervised([LOST, LOST])
    assert (result, starts) == ("trained", [False, True, True])
    assert notes == [f"{LOST}; restart {n} of 2 from step-00000040" for n in (1, 2)]


def test_without_a_checkpoint_the_restart_is_from_the_start():
    _, notes, _ = supervised([LOST], last_step=lambda: None)
    assert notes == [f"{LOST}; restart 1 of 2 from the start"]


def test_what_is_no_failure_of_workers_passes_as_it_is():
    error = ValueError("the user's")
    assert supervised([error]) == (error, [], [False])


def test_one_failure_too_many_is_raised_with_the_way_to_go_on():
    result, notes, _ = supervised([WorkerFailed("it died", "", True) for _ in range(3)])
    assert isinstance(result, WorkerFailed)
    assert str(result) == "it died (2 restarts before it); go on with: unlocked train --resume x"
    assert len(notes) == 2
