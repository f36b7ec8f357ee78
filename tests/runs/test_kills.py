"""A run in one process, killed wherever it touches a file, goes on to the numbers of one that never was.

(Over workers: tests/distributed/test_kills.)
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from unlocked.errors import UnlockedError
from unlocked.loop.train import resume, train
from unlocked.runs.checkpoint import Checkpoints
from unlocked.tracking import read

pytestmark = [pytest.mark.live, pytest.mark.slow("kills at every file that a run touches"), pytest.mark.timeout(900)]

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}
RUN = [
    "scheme.name=cdni",
    "scheme.lag=3",
    "train.epochs=2",
    "train.log_every=15",
    "data.validation=0.2",
    "train.probe_every=1",
    "model.norm=batch",
    "model.dropout=0.2",
]


def forked(work: Callable[[], None]) -> int:
    """The exit code of `work` in a process of its own: 2 for an error of ours, 3 for any other."""
    child = os.fork()
    if child == 0:
        code = 0
        try:
            work()
        except UnlockedError:
            code = 2
        except BaseException:
            traceback.print_exc()
            code = 3
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def at_each_change_below(root: Path, do: Callable[[int], None]) -> None:
    """`do(n)` before the n-th time that this process, from now on and for good, changes something below `root`."""
    count = 0

    def seen(event: str, arguments: tuple) -> None:
        nonlocal count
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (event in CHANGES or writes) and str(arguments[0]).startswith(str(root)):
            count += 1
            do(count)

    sys.addaudithook(seen)


def outcome(run_dir: Path):
    """The last weights, and every point that does not tell the time."""
    last = Checkpoints(run_dir).last()
    assert last is not None
    series = {key: points for key, points in read(run_dir).items() if not key.startswith(("time/", "system/"))}
    return load_file(last / "model.safetensors"), series


def test_a_run_killed_wherever_it_touches_a_file_goes_on_to_the_same_numbers(small, tmp_path):
    def run(name, do):
        config = small(*RUN, f"tracking.runs={tmp_path / name}")

        def work():
            at_each_change_below(tmp_path / name, do)
            train(config)

        return forked(work)

    def noted(n):
        (tmp_path / "places").write_text(str(n))

    train(small(*RUN, f"tracking.runs={tmp_path / 'undisturbed'}"))  # here: what it imports takes longer than a run
    assert run("counted", noted) == 0
    places = int((tmp_path / "places").read_text())
    assert places > 40
    (undisturbed,) = (tmp_path / "undisturbed").iterdir()
    weights, series = outcome(undisturbed)
    for place in range(1, places + 1):
        runs = tmp_path / str(place)
        assert run(str(place), lambda n, at=place: n == at and os.kill(os.getpid(), signal.SIGKILL)) == -9
        folders = list(runs.iterdir()) if runs.exists() else []
        code = forked(lambda folders=folders: resume(folders[0]) if folders else None)
        if code == 2 or not folders:  # it had not begun yet, or was over
            assert not folders or not Checkpoints(folders[0]).all() or (folders[0] / "summary.json").exists(), place
            continue
        assert code == 0, place
        got, points = outcome(folders[0])
        assert weights.keys() == got.keys()
        assert [name for name in weights if not torch.equal(weights[name], got[name])] == [], place
        assert points == series, place
        assert json.loads((folders[0] / "summary.json").read_text())["metrics"].keys() >= {"test/accuracy"}
        assert list((folders[0] / "checkpoints").glob(".*")) == [], place
