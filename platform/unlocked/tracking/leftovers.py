"""Send what earlier runs could not: asked by every command, so it costs a few stats when all is well.

A run folder may be somebody else's (a colleague's, an archive's). Its records are sent nowhere before this user says
so (`adopt`), and nothing in it decides where to.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from shlex import quote

from unlocked.errors import ConfigError, UnlockedError, reason
from unlocked.files import locked, read_json
from unlocked.processes import process_alive
from unlocked.security import redact
from unlocked.tracking.folder import TrackingFolder, write_target
from unlocked.tracking.spawn import spawn_writer
from unlocked.tracking.uris import OFF, reachable, resolve_uri, split_credentials, sqlite_path, straight

_NO_RUNS_INSIDE = {"tracking", "artifacts", "checkpoints", "figures", "model"}


def _say(text: str) -> None:
    print(redact(text), file=sys.stderr)


def sync_leftovers(
    runs_root: Path,
    uri: str | None = None,
    wait: float = 0.0,
    probe: float = 1.0,
    depth: int = 3,
    note: Callable[[str], None] = _say,
) -> list[Path]:
    """Start a background writer per server for the unsent runs under `runs_root`; returns those folders.

    A run is left over when its spool is not fully sent (or its MLflow run never closed, or its database is gone),
    nobody writes it, and it is over: it said `finish`, or its process is gone. Each goes to the address it was started
    with; `uri`, the configured one, only lends that address its password, as the environment does. A server that does
    not answer within `probe` seconds is left for another time. `wait`: seconds to wait for the writers. Imports no
    MLflow.

    `note` is told, a line each, of what is set aside: runs that this user did not sign, and what cannot be used.
    Neither ends the command, or keeps the other runs from being sent.
    """
    groups: dict[str, list[Path]] = {}
    strangers: list[Path] = []
    for run_dir in _run_folders(Path(runs_root), depth):
        try:
            files = TrackingFolder(run_dir)
            target = files.destination()
            if target is None:
                strangers += [run_dir] if _is_strange(files) else []
                continue
            store = target["uri"]
            if not straight(run_dir).is_relative_to(target["runs_root"]):  # the runs folder was moved
                store = _moved(target, Path(runs_root))
            if _left_over(files, store):
                if store != target["uri"]:
                    write_target(run_dir, store, target["experiment"], Path(runs_root))
                groups.setdefault(store, []).append(run_dir)
        except OSError as error:
            note(f"tracking: {run_dir} is set aside: {error.strerror}")
    if strangers:
        note(_about(strangers, runs_root))
    writers: list[subprocess.Popen[bytes]] = []
    handed: list[Path] = []
    for shown, run_dirs in groups.items():
        try:
            given = None if uri in (None, OFF) else resolve_uri(uri, Path(runs_root))
            matches = given is not None and redact(split_credentials(given)[0]) == shown
            address = given if given is not None and matches else resolve_uri(shown, Path(runs_root))
            if not reachable(address, timeout=probe):
                continue
            writers.append(spawn_writer(run_dirs, ["--give-up", "5"], address))
        except (OSError, UnlockedError) as error:
            note(f"tracking: {run_dirs[0]} is set aside: {reason(error)}")
            continue
        handed += run_dirs
    deadline = time.monotonic() + wait
    for writer in writers:
        with contextlib.suppress(subprocess.TimeoutExpired):  # it goes on by itself
            writer.wait(max(0.0, deadline - time.monotonic()))
    return handed


def adopt(run_dir: Path, uri: str | None, runs_root: Path) -> None:
    """Signs a run folder of somebody else, so that its records are sent to this user's store, as a run of its own.

    Raises `ConfigError` if there is nothing to send, or its files lead out of the folder.
    """
    files, address = TrackingFolder(run_dir), resolve_uri(uri, runs_root)
    if not files.size():
        raise ConfigError(f"--adopt: {run_dir} holds no records (no tracking/spool.jsonl)")
    if links := files.links():
        raise ConfigError(f"--adopt: {links[0]} is a link; a run folder that leads elsewhere is not taken over")
    experiment = read_json(files.target).get("experiment")
    experiment = experiment if isinstance(experiment, str) and experiment.strip() else "unlocked"
    try:
        for known in (files.mlflow, files.offset):  # which run of which store: somebody else's word
            known.unlink(missing_ok=True)
        write_target(run_dir, address, experiment, runs_root)
    except OSError as error:
        raise ConfigError(f"--adopt: {run_dir} cannot be written: {error.strerror}") from None


def _run_folders(root: Path, depth: int) -> Iterator[Path]:
    try:
        entries = [entry for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for entry in entries:
        if entry.name in _NO_RUNS_INSIDE or entry.name.startswith("."):
            continue
        if os.path.exists(os.path.join(entry.path, "tracking", "spool.jsonl")):
            yield Path(entry.path)
        if depth > 1:
            yield from _run_folders(Path(entry.path), depth - 1)


def _is_strange(files: TrackingFolder) -> bool:
    """Whether it has records to be sent, by its own word. Another user of this machine sees to their own."""
    if not files.target.exists() or read_json(files.target).get("uri") == OFF:
        return False
    if os.geteuid() not in (0, files.run_dir.stat().st_uid):
        return False
    return not files.is_sent()


def _about(strangers: Sequence[Path], runs_root: Path) -> str:
    first, more = strangers[0], len(strangers) - 1
    others = f" and {more} other run folder{'s' * (more > 1)}" if more else ""
    return (
        f"tracking: {first}{others}: from elsewhere (not signed by this user), so nothing is sent; to take it into "
        f"your own store: unlocked compare --runs {quote(str(runs_root.absolute()))} --adopt "
        f"{quote(str(first.absolute()))}"
    )


def _moved(target: dict[str, str], runs_root: Path) -> str:
    """The database beside the runs moves with them; any other address stays."""
    beside = resolve_uri(None, Path(target["runs_root"]))
    return resolve_uri(None, runs_root) if target["uri"] == beside else target["uri"]


def _left_over(files: TrackingFolder, uri: str) -> bool:
    database = sqlite_path(uri)
    gone = database is not None and database.parent.is_dir() and not database.exists()
    if files.is_sent() and not gone:
        return False
    if not files.finished_in_spool() and process_alive(files.process()):
        return False
    if links := files.links():
        raise OSError(None, f"{links[0]} is a link")
    with locked(files.lock, timeout=0.0) as free:
        return free
