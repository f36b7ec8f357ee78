"""A worker that is alive but does nothing is found by `parallel.timeout` and named; one that is slow is left alone."""

from __future__ import annotations

import contextlib
import hmac
import os
import signal
import socket
import threading
import time

import pytest
import torch

from unlocked.config import load_config
from unlocked.engine.group import InProcessGroup
from unlocked.launch.pulse import Pulse, PulseServer, Watch, take_pulse
from unlocked.launch.ray_group import WorkerFailed
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data

pytestmark = pytest.mark.timeout(120)

BASE = [
    "model.hidden=[24,20,16,12]",
    "data.batch_size=32",
    "parallel.partition=null",
    "parallel.threads=1",
    "parallel.timeout=3",
    "parallel.engine=ray",
]
STEPS = 400


@pytest.fixture
def start(warm, tmp_path):
    """`start(*overrides)` gives a group whose workers are woken before they leave it: they serve the next test too."""
    woken = tmp_path / "woken"

    class Sleepers(warm):
        wake = woken

        def close(self):
            woken.touch()
            for who in self._who:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(who.pid, signal.SIGCONT)
            super().close()

    def begin(*overrides):
        config = load_config("quickstart", [*BASE, *overrides])
        data = load_data(config)
        return Sleepers(make_plan(config, data), data)

    return begin


def stop_at(ranks, t):
    """A question to all stages: those of `ranks` (module, replica) stop their process at minibatch t."""

    def prepare(runner, replicas):
        import os
        import signal

        here = (runner.learner.spec.index, runner.batches._shard[0])
        step = runner.learner.step

        def stopping(at, *rest):
            if at == t:
                os.kill(os.getpid(), signal.SIGSTOP)
            return step(at, *rest)

        if here in ranks:
            runner.learner.step = stopping

    return prepare


def failure_of(group, work):
    """How `work(group)` fails, and after how many seconds."""
    began = time.monotonic()
    with pytest.raises(WorkerFailed) as failure:
        work(group)
    assert "\n" not in str(failure.value)
    assert failure.value.may_pass
    return str(failure.value), time.monotonic() - began


def trains(group):
    list(group.run([(0, STEPS)], STEPS))


@pytest.mark.ray
@pytest.mark.parametrize("link", ["auto", "group"])
@pytest.mark.parametrize(
    ("scheme", "victim", "grid"),
    [
        ("cdni", (0, 0), (2, 1)),
        ("backprop", (1, 0), (3, 1)),
        ("dfa", (2, 0), (3, 1)),
        ("backprop", (0, 1), (1, 2)),
    ],
    ids=["first-of-2", "middle-of-3", "last-of-3", "replica"],
)
def test_a_worker_that_stops_in_the_middle_of_a_segment_is_named(start, link, scheme, victim, grid):
    (modules, replicas), (module, replica) = grid, victim
    group = start(
        f"scheme.name={scheme}", f"parallel.modules={modules}", f"parallel.replicas={replicas}", f"parallel.link={link}"
    )
    group.ask(stop_at([victim], 50), replicas)
    pid = group._who[module * replicas + replica].pid
    message, seconds = failure_of(group, trains)
    name = f"module {module}" + (f" of replica {replica}" if replicas > 1 else "")
    assert message.startswith(f"a worker hangs: {name} (process {pid} on ")
    assert "does not answer; parallel.timeout is 3 s" in message
    assert seconds < 25


@pytest.mark.ray
@pytest.mark.parametrize("modules", [1, 2])
def test_workers_that_all_stop_at_once_are_found_by_the_driver(start, modules):
    group = start("scheme.name=cdni", f"parallel.modules={modules}")
    group.ask(stop_at([(0, 0), (1, 0)], 50), 1)
    message, seconds = failure_of(group, trains)
    assert message.startswith("a worker hangs: module ")
    assert seconds < 25


@pytest.mark.slow("waits until a worker counts as hanging")
@pytest.mark.ray
@pytest.mark.parametrize("module", [0, 1])
@pytest.mark.parametrize(
    "work", [lambda group: group.states(20), lambda group: group.outputs("test")], ids=["states", "evaluate"]
)
def test_a_worker_that_stops_while_idle_is_found_when_the_driver_waits_for_it(start, work, module):
    group = start("scheme.name=cdni", "parallel.modules=2")
    list(group.run([(0, 20)], 20))
    os.kill(group._who[module].pid, signal.SIGSTOP)
    message, seconds = failure_of(group, work)
    assert message.startswith(f"a worker hangs: module {module} (process {group._who[module].pid} on ")
    assert seconds < 25


@pytest.mark.ray
@pytest.mark.parametrize("modules", [1, 3])
def test_a_worker_that_is_caught_in_its_own_code_is_named_with_its_stack(start, modules):
    def endless(runner, woken):
        step = runner.learner.step

        def waits_for_nobody(at, *rest):
            import time

            while at == 50 and not woken.exists():
                time.sleep(0.05)
            return step(at, *rest)

        if runner.learner.spec.index == 0:
            runner.learner.step = waits_for_nobody

    group = start("scheme.name=backprop", f"parallel.modules={modules}")
    group.ask(endless, group.wake)
    began = time.monotonic()
    with pytest.raises(WorkerFailed, match=r"a worker hangs: module 0 .* made no progress at minibatch 50") as failure:
        trains(group)
    assert "in waits_for_nobody" in failure.value.detail
    assert time.monotonic() - began < 25


@pytest.mark.slow("messages are delayed on purpose")
@pytest.mark.ray
@pytest.mark.parametrize("link", ["auto", "group"])
@pytest.mark.parametrize(("modules", "slow"), [(2, 0), (3, 1), (3, 2)])
def test_a_slow_worker_slows_the_others_and_changes_no_number(start, link, modules, slow):
    def slowed(runner, module):
        step = runner.learner.step

        def slowly(at, *rest):
            import time

            if at % 10 == 3:
                time.sleep(0.15)
            return step(at, *rest)

        if runner.learner.spec.index == module:
            runner.learner.step = slowly

    def numbers(group):
        try:
            stats = list(group.run([(0, 25), (25, 60)], 60))
            return [s[-1].series["loss"] for s in stats], group.states(60)
        finally:
            group.close()

    options = ["scheme.name=cdni", f"parallel.modules={modules}", f"parallel.link={link}"]
    config = load_config("quickstart", [*BASE, *options, "parallel.engine=inprocess"])
    data = load_data(config)
    losses, states = numbers(InProcessGroup(make_plan(config, data), data))
    group = start(*options)
    group.ask(slowed, slow)
    began = time.monotonic()
    found, found_states = numbers(group)
    assert time.monotonic() - began > 6 * 0.15
    assert found == losses
    for mine, expected in zip(found_states, states, strict=True):
        for name, weight in expected["weights"].items():
            torch.testing.assert_close(mine["weights"][name], weight, rtol=0, atol=0)


SECRET = b"of the group"


class Reported:
    """A pulse that the test sets."""

    def __init__(self, **told):
        self.told = {"calls": 1, "step": 0, "waiting": False, "stack": "", **told}
        self.speaks = threading.Event()
        self.speaks.set()
        self.server = PulseServer("127.0.0.1", self.pulse)
        self.server.secret = SECRET

    def pulse(self):
        self.speaks.wait(30)
        return Pulse(**self.told)


@pytest.mark.parametrize(
    ("told", "later", "hangs"),
    [
        ({}, {}, True),
        ({}, {"step": 1}, False),
        ({}, {"calls": 3}, False),
        ({"calls": 2}, {}, False),
        ({"waiting": True}, {}, False),
    ],
    ids=["busy", "at the next minibatch", "in another call", "idle", "waiting for a peer"],
)
def test_who_gets_on_and_who_does_not(told, later, hangs):
    worker = Reported(**told)
    watch = Watch([worker.server.address], SECRET, timeout=0.2)
    assert watch.look() is None
    time.sleep(0.3)
    worker.told |= later
    found = watch.look()
    assert (found is not None and found[0] == 0) is hangs


def test_one_that_fell_silent_comes_before_those_it_holds_up_and_the_unreachable_are_not_watched():
    busy, silent = Reported(), Reported()
    nobody = socket.create_server(("127.0.0.1", 0))  # a port that is known to answer nothing
    watch = Watch([nobody.getsockname(), None, busy.server.address, silent.server.address], SECRET, timeout=0.2)
    silent.speaks.clear()
    time.sleep(0.3)
    assert watch.look() == (3, None)
    watch.begin()
    assert watch.blame() == (3, None)  # a peer of it failed
    silent.speaks.set()
    nobody.close()


@pytest.mark.parametrize("knows", [b"of another group", b""])
def test_a_pulse_is_told_to_nobody_without_the_secret_of_the_group(knows):
    worker = Reported(stack="source code")
    with socket.create_connection(worker.server.address, timeout=5) as stranger:
        nonce = stranger.recv(16)
        stranger.sendall(hmac.digest(knows, nonce, "sha256"))
        assert stranger.recv(65536) == b""
    assert Watch([worker.server.address], knows, timeout=0.2).look() is None  # cannot be asked: not watched
    watch = Watch([worker.server.address], SECRET, timeout=0.2)
    time.sleep(0.3)
    assert watch.look() == (0, worker.pulse())


def test_a_pulse_tells_where_the_main_thread_is():
    pulse = take_pulse(3, 7)
    assert (pulse.calls, pulse.step, pulse.waiting) == (3, 7, False)
    assert "in test_a_pulse_tells_where_the_main_thread_is" in pulse.stack
