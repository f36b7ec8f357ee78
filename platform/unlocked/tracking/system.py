"""CPU and memory of the training process and its children, sampled by the writer."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any


class SystemMonitor:
    """Reads a process tree through psutil (its own, or the one Ray carries); silent where there is none.

    Processes that Ray started on other machines are not in the tree.
    """

    def __init__(self, pid: int) -> None:
        self._psutil = _find_psutil()
        self._known: dict[int, Any] = {}
        self._pid = pid

    def sample(self) -> dict[str, float]:
        """CPU in percent of one core and resident memory in MB of the tree, and how full the machine is."""
        if self._psutil is None:
            return {}
        cpu = memory = 0.0
        alive: dict[int, Any] = {}
        for process in self._tree():
            process = self._known.get(process.pid, process)      # keeps the CPU time of the last sample
            try:
                cpu += process.cpu_percent(None)
                memory += process.memory_info().rss
            except self._psutil.Error:
                continue
            alive[process.pid] = process
        first, self._known = not self._known, alive
        if not alive or first:             # the first CPU reading has nothing to compare with
            return {}
        return {
            "system/cpu_percent": cpu,
            "system/memory_mb": memory / 1e6,
            "system/processes": float(len(alive)),
            "system/machine_cpu_percent": self._psutil.cpu_percent(None),
            "system/machine_memory_percent": self._psutil.virtual_memory().percent,
        }

    def _tree(self) -> list[Any]:
        try:
            root = self._psutil.Process(self._pid)
            return [root, *root.children(recursive=True)]
        except self._psutil.Error:
            return []


def _find_psutil() -> Any:
    ray = importlib.util.find_spec("ray")                        # finds the folder, imports nothing
    for place in (ray.submodule_search_locations or []) if ray else []:
        sys.path.append(str(Path(place) / "thirdparty_files"))
    try:
        import psutil
    except ImportError:
        return None
    return psutil
