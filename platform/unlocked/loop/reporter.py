"""Who watches a run: the progress display, a study, nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from unlocked.plan.plan import Plan


class Reporter(Protocol):
    """All calls come from the driver's thread."""

    def doing(self, text: str) -> None:
        """What takes the time now, if it is not training: `loading data: digits`."""
        ...

    def started(self, plan: Plan, run_dir: Path, step: int) -> None: ...

    def segment(self, step: int, values: dict[str, float]) -> None: ...

    def epoch(self, epoch: int, values: dict[str, float]) -> bool | None:
        """True ends the run here, with a checkpoint: it is not worth more time."""
        ...

    def note(self, text: str) -> None: ...


class Silent:
    """Ignores every event; base class for partial watchers."""

    def doing(self, text: str) -> None: ...

    def started(self, plan: Plan, run_dir: Path, step: int) -> None: ...

    def segment(self, step: int, values: dict[str, float]) -> None: ...

    def epoch(self, epoch: int, values: dict[str, float]) -> bool | None: ...

    def note(self, text: str) -> None: ...
