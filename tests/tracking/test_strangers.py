"""Run folders of somebody else, and damaged ones: nothing is sent that this user did not ask for, no command ends."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from unlocked.errors import ConfigError
from unlocked.files import locked, read_json
from unlocked.processes import process_alive
from unlocked.security import is_signed
from unlocked.tracking import Recorder, Tracker, adopt, leftovers, read, sync_leftovers, tracker
from unlocked.tracking.folder import TrackingFolder, write_target
from unlocked.tracking.records import parse, seal
from unlocked.tracking.sink import Sink
from unlocked.tracking.spool import records
from unlocked.tracking.writer import SET_ASIDE, main


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], str]]:
    """The run folders that a writer was started for, and its address; none is."""
    started: list[tuple[list[str], str]] = []

    class Done:
        def wait(self, timeout: float) -> int:
            return 0

    def spawn(run_dirs: list[Path], options: list[str], uri: str) -> Done:
        started.append(([run_dir.name for run_dir in run_dirs], uri))
        return Done()

    monkeypatch.setattr(leftovers, "spawn_writer", spawn)
    return started


def finished(root: Path, name: str, signed: bool = True, uri: str | None = None) -> TrackingFolder:
    """A run that is over and has not been sent."""
    recorder = Recorder(root / name)
    recorder.start({}, {})
    recorder.metrics(1, {"train/loss": 0.5})
    recorder.finish("FINISHED")
    recorder.close()
    files = TrackingFolder(root / name)
    uri = uri or f"sqlite:///{root / 'mlflow.db'}"
    if signed:
        write_target(root / name, uri, "digits", root)
    else:
        files.target.write_text(json.dumps({"uri": uri, "experiment": "digits", "runs_root": str(root)}))
    return files


def test_a_run_that_this_user_did_not_sign_is_set_aside_in_one_line(tmp_path: Path, sent):
    finished(tmp_path, "mine")
    finished(tmp_path, "theirs", signed=False, uri="http://attacker.example:5000")
    finished(tmp_path, "theirs-too", signed=False)
    notes: list[str] = []
    handed = sync_leftovers(tmp_path, note=notes.append)
    assert [path.name for path in handed] == ["mine"]
    assert sent == [(["mine"], f"sqlite:///{tmp_path / 'mlflow.db'}")]
    (note,) = notes
    assert "and 1 other run folder: from elsewhere (not signed by this user)" in note
    assert f"unlocked compare --runs {tmp_path} --adopt {tmp_path}/theirs" in note


def test_a_signature_that_does_not_fit_its_words_is_none(tmp_path: Path, sent):
    files = finished(tmp_path, "mine")
    target = read_json(files.target)
    files.target.write_text(json.dumps({**target, "uri": "http://attacker.example:5000"}))
    assert sync_leftovers(tmp_path, note=lambda _: None) == []
    assert sent == []


def test_an_adopted_run_goes_to_this_users_store_and_not_to_where_it_says(tmp_path: Path, sent):
    files = finished(tmp_path, "theirs", signed=False, uri="http://attacker.example:5000")
    files.mlflow.write_text('{"run_id": "of another run"}')
    files.offset.write_text('{"offset": 1, "closed": null}')
    adopt(tmp_path / "theirs", None, tmp_path)
    assert sync_leftovers(tmp_path) == [tmp_path / "theirs"]
    assert sent == [(["theirs"], f"sqlite:///{tmp_path / 'mlflow.db'}")]
    assert is_signed(read_json(files.target))
    assert files.destination()["experiment"] == "digits"
    assert not files.mlflow.exists()
    assert files.sent() == (0, None)


def test_what_cannot_be_adopted_is_one_line(tmp_path: Path):
    with pytest.raises(ConfigError, match="holds no records"):
        adopt(tmp_path, None, tmp_path)
    files = finished(tmp_path, "theirs", signed=False)
    files.log.symlink_to(tmp_path / "profile")
    with pytest.raises(ConfigError, match="is a link"):
        adopt(tmp_path / "theirs", None, tmp_path)
    assert not (tmp_path / "profile").exists()


def test_links_in_a_tracking_folder_are_followed_neither_to_read_nor_to_write(tmp_path: Path, sent):
    files = finished(tmp_path, "mine")
    files.log.symlink_to(tmp_path / "profile")
    notes: list[str] = []
    assert sync_leftovers(tmp_path, note=notes.append) == []
    assert len(notes) == 1
    (tmp_path / "lock").symlink_to(tmp_path / "profile")
    with pytest.raises(OSError, match="symbolic links"), locked(tmp_path / "lock"):
        pass
    assert not (tmp_path / "profile").exists()


@pytest.mark.parametrize("path", ["/etc/hostname", "../secret", "link", "folder", "a\0b", "missing"])
def test_only_files_inside_the_run_folder_are_sent(tmp_path: Path, path: str):
    run = tmp_path / "run"
    (run / "folder").mkdir(parents=True)
    (tmp_path / "secret").write_text("key")
    (run / "link").symlink_to(tmp_path / "secret")
    (run / "folder" / "link").symlink_to(tmp_path / "secret")
    sink = Sink(run, "sqlite://", "x", tmp_path)
    sink._client = None  # anything asked of it would raise
    sink.artifact(path, "")
    (run / "figure.png").write_text("dots")
    (run / "inner").symlink_to("figure.png")
    sink._client = Uploads()
    sink.artifact("inner", "figures")
    assert sink._client.files == ["inner"]


class Uploads:
    def __init__(self) -> None:
        self.files: list[str] = []

    def log_artifact(self, run_id: str, path: str, folder: str | None) -> None:
        self.files.append(Path(path).name)

    log_artifacts = log_artifact


def test_a_writer_without_an_address_follows_a_signed_one_only_and_goes_on_with_the_next(
    tmp_path: Path, capsys, monkeypatch
):
    monkeypatch.delenv("UNLOCKED_TRACKING_URI", raising=False)
    finished(tmp_path, "theirs", signed=False)
    finished(tmp_path, "theirs-too", signed=False)
    runs = [str(tmp_path / "theirs"), str(tmp_path / "theirs-too")]
    assert main(runs, nice=lambda _: 0) == SET_ASIDE
    assert capsys.readouterr().err.count("not signed by this user") == 2


@pytest.mark.parametrize(
    "text",
    [
        b"\377\376",
        b"null",
        b"[1]",
        b'{"offset": null}',
        b'{"offset": -1}',
        b"[" * 100_000,
        b'{"offset": "1"}',
        b'{"offset": 1' + b"0" * 5000 + b"}",
        b'{"offset": true}',
        b"",
    ],
)
def test_a_damaged_tracking_file_counts_as_absent(tmp_path: Path, text: bytes, sent):
    files = finished(tmp_path, "mine")
    for path in (files.offset, files.driver, files.mlflow):
        path.write_bytes(text)
    assert files.sent() == (0, None)
    assert files.process() == {}
    assert not process_alive(files.process())
    assert sync_leftovers(tmp_path) == [tmp_path / "mine"]
    files.target.write_bytes(text)
    assert sync_leftovers(tmp_path, note=lambda _: None) == []


def test_an_address_that_nobody_can_have_sets_its_runs_aside_and_no_others(tmp_path: Path, sent):
    finished(tmp_path, "mine")
    finished(tmp_path, "odd", uri="http://127.0.0.1:99999")
    notes: list[str] = []
    assert sync_leftovers(tmp_path, note=notes.append) == [tmp_path / "mine"]
    (note,) = notes
    assert "odd is set aside" in note
    assert "99999" in note


def test_a_folder_that_cannot_be_read_sets_itself_aside_and_no_others(tmp_path: Path, sent, monkeypatch):
    finished(tmp_path, "mine")
    finished(tmp_path, "other")
    sent_of = TrackingFolder.sent

    def refused(files: TrackingFolder) -> tuple[int, str | None]:
        if files.run_dir.name == "other":
            raise PermissionError(13, "Permission denied")
        return sent_of(files)

    monkeypatch.setattr(TrackingFolder, "sent", refused)
    notes: list[str] = []
    assert sync_leftovers(tmp_path, note=notes.append) == [tmp_path / "mine"]
    assert notes == [f"tracking: {tmp_path / 'other'} is set aside: Permission denied"]


def test_a_file_that_may_only_be_read_can_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "lock"
    path.touch()
    monkeypatch.setattr(os, "access", lambda *_: False)  # as for another user; root may write everywhere
    with locked(path) as held, locked(path, timeout=0.0) as again:
        assert (held, again) == (True, False)


def test_the_database_beside_the_runs_moves_with_them(tmp_path: Path, sent):
    finished(tmp_path / "runs", "mine")
    (tmp_path / "runs").rename(tmp_path / "moved")
    sync_leftovers(tmp_path / "moved")
    assert sent == [(["mine"], f"sqlite:///{tmp_path / 'moved' / 'mlflow.db'}")]


def test_runs_whose_database_is_gone_are_sent_again(tmp_path: Path, sent):
    files = finished(tmp_path, "mine")
    files.offset.write_text(json.dumps({"offset": files.size(), "closed": "FINISHED"}))
    assert sync_leftovers(tmp_path) == [tmp_path / "mine"]
    (tmp_path / "mlflow.db").touch()
    assert sync_leftovers(tmp_path) == []


@pytest.mark.parametrize(
    "record",
    [
        {"t": "metrics", "step": None, "time": 1, "values": {}},
        {"t": "metrics", "step": 1, "time": 1, "values": [1]},
        {"t": "metrics", "step": 1, "time": 1, "values": {"a": "b"}},
        {"t": "metrics", "step": 2**64, "time": 1, "values": {}},
        {"t": "metrics", "step": 1, "time": 1, "values": {"a": 10**400}},
        {"t": "metrics"},
        {"t": []},
        {"t": "unknown"},
        {"t": "artifact", "path": 3, "folder": ""},
        {"t": "start", "time": 1, "params": {"a": 1}, "tags": {}},
        {"t": "finish", "status": "WON", "summary": None},
        {"t": "spool", "id": "' or 1=1"},
    ],
)
def test_a_record_of_another_shape_is_passed_over(tmp_path: Path, record: dict):
    files = finished(tmp_path, "mine")
    with files.spool.open("a") as spool:
        spool.write(json.dumps(record) + "\n" + "[" * 50_000 + "\n")
    assert [record["t"] for record in records(files.spool)] == ["spool", "start", "metrics", "finish"]
    assert read(tmp_path / "mine") == {"train/loss": [(1, 0.5)]}
    Recorder(tmp_path / "mine").close()


def test_a_flipped_byte_makes_a_record_unreadable_and_never_another_number():
    record = {"t": "metrics", "step": 50, "time": 1, "values": {"train/loss": 0.71}}
    line = seal(record)
    for i in range(len(line) - 1):
        for bit in range(8):
            damaged = bytearray(line)
            damaged[i] ^= 1 << bit
            found = parse(bytes(damaged))
            assert found is None or {key: found[key] for key in record} == record


def test_a_record_of_a_version_without_checksums_is_read():
    assert parse(b'{"t": "spool", "id": "1f"}\n') == {"t": "spool", "id": "1f"}


def test_a_run_that_goes_on_from_another_directory_keeps_its_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    stores: list[str] = []

    class Kept:
        def __init__(self, run_dir: Path, options: list[str], uri: str) -> None:
            stores.append(uri)

    monkeypatch.setattr(tracker, "KeptWriter", Kept)
    (tmp_path / "elsewhere").mkdir()
    for uri in (None, "sqlite:///mine.db"):
        run = tmp_path / f"runs/{uri is None}"
        for place in (tmp_path, tmp_path / "elsewhere"):
            monkeypatch.chdir(place)
            Tracker.start(Path(os.path.relpath(run)), uri, "digits", {}, {}).recorder.close()
    beside, mine = f"sqlite:///{tmp_path}/runs/mlflow.db", f"sqlite:///{tmp_path}/mine.db"
    assert stores == [beside, beside, mine, mine]
