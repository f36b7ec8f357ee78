"""Progress for Python: a bar and the latest numbers in a notebook, a line for each epoch elsewhere.

>>> train(load_config("quickstart"), reporter=Progress())  # doctest: +SKIP
"""

from __future__ import annotations

import html
import sys
import time
from pathlib import Path
from typing import Any

from unlocked.loop.reporter import Silent
from unlocked.plan.plan import Plan

EVERY = 0.2  # seconds between two pictures of the bar


class Progress(Silent):
    """A reporter of one run after the other. In a notebook one output cell is drawn again and again."""

    def __init__(self) -> None:
        self._cell: Any = None
        self._title, self._total, self._step, self._doing = "", 1, 0, ""
        self._values: dict[str, float] = {}
        self._notes: list[str] = []
        self._drawn = 0.0

    def doing(self, text: str) -> None:
        self._doing = text
        self._draw(now=True)

    def started(self, plan: Plan, run_dir: Path, step: int) -> None:
        config = plan.config
        self._title = f"{config.model['name']} on {config.data.name} under {config.scheme.name}, seed {config.seed}"
        self._total, self._step, self._doing, self._values = plan.total_steps, step, "", {}
        if not _in_notebook():
            self._print(self._title)
        self._draw(now=True)

    def segment(self, step: int, values: dict[str, float]) -> None:
        self._step = step
        self._values |= values
        self._draw(now=step >= self._total)

    def epoch(self, epoch: int, values: dict[str, float]) -> bool | None:
        self._values |= values
        if _in_notebook():
            self._draw(now=True)
        else:
            self._print(f"epoch {epoch}  {self._numbers()}")
        return None

    def note(self, text: str) -> None:
        self._notes.append(text)
        if _in_notebook():
            self._draw(now=True)
        else:
            self._print(text)

    def _print(self, text: str) -> None:
        print(text, file=sys.stdout, flush=True)

    def _numbers(self) -> str:
        shown = {k: v for k, v in self._values.items() if k.startswith(("train/", "val/", "test/"))}
        return "  ".join(f"{name} {value:.4g}" for name, value in sorted(shown.items())[:8])

    def _draw(self, now: bool) -> None:
        if not _in_notebook() or (not now and time.monotonic() - self._drawn < EVERY):
            return
        from IPython.display import HTML, display

        self._drawn = time.monotonic()
        doing = self._doing if self._step < self._total else ""  # what comes after the last step says no end
        notes = "".join(f"<div>{html.escape(note)}</div>" for note in self._notes[-5:])
        content = HTML(
            f"<div><b>{html.escape(self._title)}</b> {html.escape(doing)}<br>"
            f'<progress value="{self._step}" max="{self._total}" style="width:16em"></progress> '
            f"{self._step:,} of {self._total:,} steps<br><code>{html.escape(self._numbers())}</code>{notes}</div>"
        )
        if self._cell is None:
            self._cell = display(content, display_id=True)
        else:
            self._cell.update(content)


def _in_notebook() -> bool:
    """Whether a kernel that can draw a cell again runs this."""
    shell = sys.modules.get("IPython")
    found = shell.get_ipython() if shell is not None else None
    return found is not None and getattr(found, "kernel", None) is not None
