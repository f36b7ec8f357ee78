"""Where Python looks for modules: in the working directory last, so that a user's random.py is not Python's."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

_here: str | None = None  # what `find_here_last` added


def find_here_last() -> None:
    """Has this process find modules in the working directory too, after all other places."""
    global _here
    left, _here = _here, os.getcwd()
    sys.path[:] = [*(entry for entry in sys.path if entry not in ("", left, _here)), _here]


def child_environment() -> dict[str, str]:
    """For a Python process of ours that needs no user code: it finds none in the working directory."""
    here, ours = Path.cwd(), dict(os.environ)
    ours["PYTHONSAFEPATH"] = "1"
    if "PYTHONPATH" in ours and not (here / "unlocked").is_dir():
        kept = [entry for entry in ours["PYTHONPATH"].split(os.pathsep) if entry and Path(entry).absolute() != here]
        ours["PYTHONPATH"] = os.pathsep.join(kept)
    return ours


def ray_job() -> Any:
    """The `job_config` of `ray.init`, which by itself puts the driver's folders in front of every worker's path; actors
    of ours are given the driver's path as it is (`plugins.enter`)."""
    from ray.job_config import JobConfig

    return JobConfig(_py_driver_sys_path=_Nothing())


class _Nothing(list[str]):
    """Stays empty."""

    def extend(self, _: Any) -> None: ...

    def __bool__(self) -> bool:  # Ray would put another list in the place of one that is false
        return True
