"""Tags and params of a run: where the code, the packages and the machine stood when it was started."""

from __future__ import annotations

import contextlib
import getpass
import importlib.metadata
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unlocked.security import is_secret

_OWN_CODE = Path(__file__).resolve().parents[1]
# the tags that readers look for, in the order in which the dashboard shows them; it shows those first that came first
_ORDER = (
    *("scheme", "model", "dataset", "task", "seed", "modules", "lag", "replicas", "engine", "device", "config_hash"),
    *("trial", "best", "parameters", "host", "cpu", "gpu", "user", "platform.git.commit", "git.commit"),
)
PACKAGES = ("unlocked", "torch", "ray", "mlflow", "optuna", "omegaconf")


def collect_tags(device: str | None = None, source: Path | None = None) -> dict[str, str]:
    """Machine, user, commits, package versions, Python and device, as tags. What is unknown is left out.

    `source`: a directory of the repository with the user's code (default: the working directory); the repository of
    the platform itself, if it runs from one, is under `platform.git.commit`.
    """
    tags = {} if device is None else {"device": str(device)}
    tags |= {"host": socket.gethostname(), "cpu": processor(), "user": user()}
    tags |= {f"platform.{key}": value for key, value in git_tags(_OWN_CODE).items() if key.startswith("git.")}
    tags |= git_tags(source)
    tags |= {"cpus": str(cores()), "platform": platform.platform()}
    tags |= {f"version.{name}": version for name, version in versions(PACKAGES).items()}
    tags["mlflow.source.name"] = Path(sys.argv[0]).name or "python"
    tags["mlflow.source.type"] = "LOCAL"
    tags["mlflow.user"] = tags["user"]
    if "UNLOCKED_JOB" in os.environ:  # set by `unlocked submit`
        tags["unlocked.job"] = os.environ["UNLOCKED_JOB"]
    return tags


def git_tags(source: Path | None = None, timeout: float = 2.0) -> dict[str, str]:
    """`git.commit` and `git.dirty` of the repository around `source`; empty outside one or if git is slow."""
    commit = _git(("rev-parse", "HEAD"), source, timeout)
    if not commit:
        return {}
    tags = {"git.commit": commit, "mlflow.source.git.commit": commit}
    changes = _git(("status", "--porcelain", "--untracked-files=no"), source, timeout)
    if changes is not None:
        tags["git.dirty"] = "true" if changes else "false"
    return tags


def in_order(tags: Mapping[str, str]) -> dict[str, str]:
    """The same tags, those that readers look for first.

    >>> in_order({"name": "quickstart", "trial": "7", "user": "ann", "scheme": "cdni", "parameters": "12"})
    {'scheme': 'cdni', 'trial': '7', 'parameters': '12', 'user': 'ann', 'name': 'quickstart'}
    """
    return {**{key: tags[key] for key in _ORDER if key in tags}, **tags}


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A nested configuration as `a.b.c` params; values of keys such as `password` are masked.

    >>> flatten({"model": {"name": "mlp", "hidden": [64, 64]}, "seed": 0, "tracking": {"uri": None}})
    {'model.name': 'mlp', 'model.hidden': '[64, 64]', 'seed': '0', 'tracking.uri': 'null'}
    """
    flat: dict[str, str] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if is_secret(str(key)):
            flat[name] = "***" if value is not None else "null"
        elif isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
        elif _is_list_of_mappings(value):
            flat |= flatten({str(index): item for index, item in enumerate(value)}, f"{name}.")
        else:
            flat[name] = _shown(value)
    return flat


def _is_list_of_mappings(value: Any) -> bool:
    is_list = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    return is_list and len(value) > 0 and all(isinstance(item, Mapping) for item in value)


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()  # as the YAML it came from says it
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return "[" + ", ".join(_shown(item) for item in value) + "]"
    return str(value)


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Of Python and of these packages, as this process finds them; what is missing is left out."""
    found = {"python": platform.python_version()}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The model of the processor, as the system calls it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()


def user() -> str:
    """The name of who started this process; its number if it has none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user, who stands in no list
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"


def _git(arguments: Sequence[str], source: Path | None, timeout: float) -> str | None:
    command = ["git", "--no-optional-locks", *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=source,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
