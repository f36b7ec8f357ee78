"""A private Ray's folder and processes go when nobody owns them, and not before."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

import pytest

from unlocked.files import read_json
from unlocked.launch import private_ray, reaper
from unlocked.processes import RAY_FOLDER, identify_process


@pytest.fixture
def start():
    """A process that does nothing, in a folder's environment or in none's."""
    begun = []

    def begin(folder=None):
        begun.append(subprocess.Popen(["sleep", "60"], env=os.environ | ({RAY_FOLDER: str(folder)} if folder else {})))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.wait()


@pytest.fixture
def folder(monkeypatch):
    """A new one, as Ray would fill it, in a temporary folder that nobody else clears meanwhile."""
    with tempfile.TemporaryDirectory(prefix="u", dir="/tmp") as root:
        monkeypatch.setattr(tempfile, "tempdir", root)
        monkeypatch.setattr(reaper, "_roots", lambda: {root})
        made = reaper.make_folder()
        (made / "r" / "session").mkdir(parents=True)
        yield made


def gone(start):
    """The identity of a process that has ended."""
    process = start()
    identity = identify_process(process.pid)
    process.kill()
    process.wait()
    return identity


def test_only_its_user_may_enter_the_folder(folder):
    assert folder.stat().st_mode & 0o777 == 0o700


def test_what_nobody_owns_is_cleared_with_its_processes(folder, start):
    member, stranger = start(folder), start(f"{folder}x")
    reaper.own(folder, [gone(start)])
    assert reaper.clear_leftovers() == [folder]
    assert not folder.exists()
    assert member.wait(5) == -9
    assert stranger.poll() is None


def test_a_process_of_rays_belongs_to_the_folder_that_it_logs_to(folder):
    """Its title stands where its environment began."""
    with (folder / "r" / "agent.log").open("w") as log:
        agent, reader = (
            subprocess.Popen([title, "60"], executable="/bin/sleep", stdout=log)
            for title in ("ray::DashboardAgent", "tail")
        )
    try:
        assert reaper.members(folder) == [agent.pid]
        reaper.remove(folder)
        assert agent.wait(5) == -9
        assert reader.poll() is None
    finally:
        for process in (agent, reader):
            process.kill()
            process.wait()


def test_what_has_an_owner_left_or_may_get_one_stays(folder, start):
    member = start(folder)
    assert reaper.clear_leftovers() == []  # nobody has said yet whose it is
    reaper.own(folder, [gone(start), identify_process(os.getpid())])
    assert reaper.clear_leftovers() == []
    assert (folder / "r").exists()
    assert member.poll() is None


def test_a_folder_of_another_machine_or_a_link_to_one_stays(folder, start):
    reaper.own(folder, [gone(start) | {"host": "elsewhere"}])
    other = folder / "r" / "target"
    other.mkdir()
    reaper.own(other, [gone(start)])
    (folder.parent / f"{reaper.PREFIX}link").symlink_to(other)
    assert reaper.clear_leftovers() == []
    assert other.exists()


def test_an_empty_folder_that_nobody_came_to_own_is_removed_when_it_is_old(folder):
    (folder / "r" / "session").rmdir()
    (folder / "r").rmdir()
    os.utime(folder, (0, 0))
    reaper.clear_leftovers()
    assert not folder.exists()


def test_the_reaper_clears_up_and_has_the_last_word_when_the_owner_is_killed(folder, start):
    owner, member = start(), start(folder)
    reaper.own(folder, [identify_process(owner.pid)], "go on with this")
    beside = subprocess.Popen(
        [sys.executable, "-m", "unlocked.launch.reaper", str(folder)], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        time.sleep(0.5)
        assert folder.exists()
        owner.kill()
        owner.wait()
        beside.stdin.close()  # as the kernel does for an owner that is killed
        assert beside.wait(10) == 0
        assert beside.stderr.read() == b"go on with this\n"
        assert not folder.exists()
        assert member.wait(5) == -9
    finally:
        beside.kill()


def test_the_reaper_is_silent_where_the_owner_has_cleared_up_itself(folder, monkeypatch, capfd):
    reaper.own(folder, [identify_process(os.getpid())], "go on with this")
    monkeypatch.setattr(reaper, "_PERIOD", 0.01)
    monkeypatch.setattr(reaper, "is_owned", lambda known: (reaper.shutil.rmtree(known), False)[1])  # meanwhile
    reaper.main(folder)
    assert capfd.readouterr().err == ""


def test_a_private_ray_leaves_word_of_how_to_go_on_and_none_once_all_is_said(folder, monkeypatch):
    import ray

    told = []

    def tell(**_):
        told.append(read_json(private_ray._private.folder / reaper.OWNER)["last_words"])

    def pretend(**_):
        tell()
        for text in ("go on with this", ""):
            private_ray.last_words(text)
            tell()
        raise RuntimeError("enough")

    monkeypatch.setattr(ray, "init", pretend)
    monkeypatch.setattr(ray, "shutdown", lambda: None)  # of one that another test may have
    monkeypatch.setattr(private_ray, "_private", None)
    monkeypatch.setattr(private_ray, "_last_words", None)
    with pytest.raises(RuntimeError, match="enough"):
        private_ray.start(1)
    before = f"unlocked: process {os.getpid()} was ended, or Ray beneath it; "
    assert told == [f"{before}start it again", f"{before}go on with this", ""]
    assert list(folder.parent.glob(f"{reaper.PREFIX}*")) == [folder]
