"""Send what earlier runs could not: asked by every command, so it costs a few stats when all is well."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from unlocked.security import redact
from unlocked.tracking.folder import TrackingFolder, locked, process_alive, read_json
from unlocked.tracking.spawn import spawn_writer
from unlocked.tracking.uris import OFF, reachable, resolve_uri, split_credentials

_NO_RUNS_INSIDE = {"tracking", "artifacts", "checkpoints", "figures", "model"}


def sync_leftovers(
    runs_root: Path, uri: str | None = None, wait: float = 0.0, probe: float = 1.0, depth: int = 3
) -> list[Path]:
    """Start a background writer per server for the unsent runs under `runs_root`; returns those folders.

    A run is left over when its spool is not fully sent (or its MLflow run never closed), nobody writes it,
    and it is over: it said `finish`, or its process is gone. Each goes to the address it was started with;
    `uri`, the configured one, only lends that address its password. A server that does not answer within
    `probe` seconds is left for another time. `wait`: seconds to wait for the writers. Imports no MLflow.
    """
    groups: dict[str, list[Path]] = {}
    for run_dir in _run_folders(Path(runs_root), depth):
        files = TrackingFolder(run_dir)
        if _left_over(files) and (address := read_json(files.target).get("uri")):
            groups.setdefault(address, []).append(run_dir)
    writers: list[subprocess.Popen[bytes]] = []
    handed: list[Path] = []
    for shown, run_dirs in groups.items():
        given = None if uri in (None, OFF) else resolve_uri(uri, Path(runs_root))
        matches = given is not None and redact(split_credentials(given)[0]) == shown
        address = given if given is not None and matches else shown
        if "***" in address or not reachable(address, timeout=probe):
            continue                              # without its password, or nobody there
        writers.append(spawn_writer(run_dirs, ["--give-up", "5"], address))
        handed += run_dirs
    deadline = time.monotonic() + wait
    for writer in writers:
        with contextlib.suppress(subprocess.TimeoutExpired):     # it goes on by itself
            writer.wait(max(0.0, deadline - time.monotonic()))
    return handed


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


def _left_over(files: TrackingFolder) -> bool:
    offset, closed = files.sent()
    if offset >= files.size() and closed is not None:
        return False
    if not files.finished_in_spool() and process_alive(read_json(files.driver)):
        return False
    with locked(files.lock, timeout=0.0) as free:
        return free
