"""What a run was surrounded by, as files that are kept with it: packages, hardware, the user's modules.

runs/<run>/environment/packages.txt    every installed package, as `pip install -r` takes it
runs/<run>/environment/hardware.json   machine, processor, cores, memory, accelerators
runs/<run>/environment/imports.json    modules of the user's (`--import`): where they lay, and their digest
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import socket
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from unlocked.files import write_whole
from unlocked.tracking.tags import cores, processor

FOLDER = "environment"


def keep_surroundings(run_dir: Path, imports: Sequence[str], accelerators: Sequence[str]) -> Path:
    """Writes the files of a run that begins in this process; returns their folder."""
    folder = run_dir / FOLDER
    folder.mkdir(exist_ok=True)
    write_whole(folder / "packages.txt", packages())
    _write(folder / "hardware.json", hardware(accelerators))
    _write(folder / "imports.json", [_module(name) for name in dict.fromkeys(imports)])
    return folder


@cache  # a study begins many runs
def packages() -> str:
    """Name and version of every distribution that this process finds, a line each."""
    found = {
        str(known.name).lower(): f"{known.name}=={known.version}"
        for known in importlib.metadata.distributions()
        if known.name
    }
    return "\n".join(found[name] for name in sorted(found)) + "\n"


def hardware(accelerators: Sequence[str]) -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "system": platform.platform(),
        "processor": processor(),
        "cores": cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "accelerators": list(accelerators),
    }


def _module(name: str) -> dict[str, Any]:
    place = getattr(sys.modules.get(name), "__file__", None)
    try:
        digest = hashlib.sha256(Path(place).read_bytes()).hexdigest() if place else None
    except OSError:
        digest = None
    return {"name": name, "file": place, "sha256": digest}


def _write(path: Path, value: Any) -> None:
    write_whole(path, json.dumps(value, indent=2) + "\n")
