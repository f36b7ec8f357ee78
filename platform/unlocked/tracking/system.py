"""CPU and memory of the training process and its children, sampled by the writer."""

from __future__ import annotations

import psutil


class SystemMonitor:
    """Reads a process tree; processes that Ray started on other machines are not in it."""

    def __init__(self, pid: int) -> None:
        self._known: dict[int, psutil.Process] = {}
        self._pid = pid

    def sample(self) -> dict[str, float]:
        """CPU in percent of one core and resident memory in MB of the tree, and how full the machine is."""
        cpu = memory = 0.0
        alive: dict[int, psutil.Process] = {}
        for process in self._tree():
            process = self._known.get(process.pid, process)  # keeps the CPU time of the last sample
            try:
                cpu += process.cpu_percent(None)
                memory += process.memory_info().rss
            except psutil.Error:
                continue
            alive[process.pid] = process
        first, self._known = not self._known, alive
        if not alive or first:  # the first CPU reading has nothing to compare with
            return {}
        return {
            "system/cpu_percent": cpu,
            "system/memory_mb": memory / 1e6,
            "system/processes": float(len(alive)),
            "system/machine_cpu_percent": psutil.cpu_percent(None),
            "system/machine_memory_percent": psutil.virtual_memory().percent,
        }

    def _tree(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self._pid)
            return [root, *root.children(recursive=True)]
        except psutil.Error:
            return []
