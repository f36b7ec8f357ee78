"""How the suite runs: marks by fixture, groups for pytest-xdist, seeds of statistical tests, and an end that leaves
nothing. What tests share with each other is in tests/conftest.py and in its rooms.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent / "tests"
SUITE = "UNLOCKED_SUITE"  # in the environment of every process that the suite starts
LONG = 10.0  # seconds after which a test needs a mark that says why

BY_FIXTURE = {
    "cluster": ["ray"],
    "warm": ["ray"],
    "private_ray": ["ray"],
    "shell": ["ray", "live"],
    "hosts": ["ray", "live"],
    "prepared": ["live"],
    "drive": ["live"],
    "runs": ["live"],  # a writer of its own sends each run
    "warm_python": ["live"],
    "seed_to_learn": ["learns"],
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seeds", type=int, default=1, help="seeds for tests that train to a bar (default: 1)")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed_to_learn" in metafunc.fixturenames:
        metafunc.parametrize("seed_to_learn", range(metafunc.config.getoption("--seeds")))


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    spread = config.pluginmanager.hasplugin("xdist")
    for item in items:
        for fixture in getattr(item, "fixturenames", []):
            for mark in BY_FIXTURE.get(fixture, []):
                item.add_marker(mark)
        if (slow := item.get_closest_marker("slow")) and not slow.args:
            raise pytest.UsageError(f"{item.nodeid}: say why: pytest.mark.slow('starts a server')")
        if spread:  # one process, and so one Ray, for all that needs it; a file's fixtures are made once
            group = "ray" if item.get_closest_marker("ray") else item.nodeid.partition("::")[0]
            item.add_marker(pytest.mark.xdist_group(group))


def pytest_collection_finish(session: pytest.Session) -> None:
    if getattr(session.config.option, "loadgroup", False) and any("@" not in item.nodeid for item in session.items):
        raise pytest.UsageError("this pytest-xdist groups no tests under this pytest: pip install 'pytest<9.2'")


def ray_runs() -> bool:
    return "ray" in sys.modules and bool(sys.modules["ray"].is_initialized())


@pytest.fixture(autouse=True)
def _ray_only_if_marked(request: pytest.FixtureRequest) -> Iterator[None]:
    before = ray_runs()
    yield
    if ray_runs() and not before and not request.node.get_closest_marker("ray"):
        sys.modules["ray"].shutdown()
        pytest.fail("this test started Ray: mark it with pytest.mark.ray")


@pytest.fixture(scope="session")
def warm_python() -> Iterator[list[str]]:
    """`[*warm_python, "-m", "unlocked", ...]` instead of `[sys.executable, "-m", ...]`: see tests/warm.py."""
    with tempfile.TemporaryDirectory(prefix="w", dir="/tmp") as folder:  # sockets need a short path
        address = f"{folder}/socket"
        command = [sys.executable, str(TESTS / "warm.py"), address]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            assert server.stdout.readline(), "the server of warm processes did not start"
            yield [sys.executable, "-S", command[1], address]


# Long tests -----------------------------------------------------------------------------------------------


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    seconds: dict[str, float] = {}
    for report in (one for found in terminalreporter.stats.values() for one in found if hasattr(one, "duration")):
        if not {"ray", "live", "learns", "slow"} & set(report.keywords):
            seconds[report.nodeid] = seconds.get(report.nodeid, 0.0) + report.duration
    long = sorted(((each, name) for name, each in seconds.items() if each > LONG), reverse=True)
    if long:
        terminalreporter.section(f"over {LONG:.0f} s without a mark that says why")
        for each, name in long:
            terminalreporter.line(f"{each:6.1f} s  {name}")


# The end --------------------------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """The first process of the suite is watched: if it is interrupted or killed, all that it started ends."""
    if hasattr(config, "workerinput"):
        return
    owner, outer = os.getpid(), os.environ.get(SUITE)  # a test may run a suite of its own
    os.environ[SUITE] = f"{outer or ''}/{uuid.uuid4().hex}"
    command = [sys.executable, "-S", str(TESTS / "watchdog.py"), os.environ[SUITE], str(owner)]
    watchdog = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    watchdog.stdout.readline()  # type: ignore[union-attr]

    def interrupt(number: int, frame: Any) -> None:
        if os.getpid() != owner:  # a fork
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        watchdog.send_signal(number)
        raise KeyboardInterrupt

    # a test may send itself SIGINT; from a terminal the watchdog has it as well
    numbers = [signal.SIGTERM, signal.SIGINT] if config.getoption("numprocesses", None) else [signal.SIGTERM]
    before = {number: signal.signal(number, interrupt) for number in numbers}

    def end() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.environ.pop(SUITE)
        if outer:
            os.environ[SUITE] = outer
        watchdog.stdin.close()  # type: ignore[union-attr]
        watchdog.wait()

    config.add_cleanup(end)
