"""What each module did when: a line for each, with what it computed, communicated and waited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from unlocked.colors import BLUE, GREEN, GREY, ORANGE, PINK, SKY, VERMILION
from unlocked.drawing.style import drawing, headline

LOOKS = {
    "forward": (BLUE, ""),
    "feedback": (SKY, ""),
    "backward": (SKY, ""),
    "passing": (GREY, ""),
    "update": (GREEN, ""),
    "M": (PINK, ""),
    "communicating": (ORANGE, "////"),
    "waiting": (VERMILION, "...."),
}
MOST = 12  # minibatches that are drawn; the trace has them all
THIN = 0.002  # of the width


class Span(Protocol):
    @property
    def what(self) -> str: ...
    @property
    def t(self) -> int: ...
    @property
    def begin(self) -> float: ...
    @property
    def end(self) -> float: ...


def timeline(
    spans: Mapping[int, Sequence[Span]], workers: Sequence[int], names: Sequence[str], path: Path
) -> Path | None:
    """The last `MOST` minibatches; numbers are those of minibatches, where they find room. None without spans."""
    every = [span for each in spans.values() for span in each]
    if not every:
        return None
    last = max(span.t for span in every)
    shown = {k: [s for s in each if s.t > last - MOST] for k, each in sorted(spans.items())}
    start = min(span.begin for each in shown.values() for span in each)
    whole = max(span.end for each in shown.values() for span in each) - start
    with drawing(path, size=(10.0, 1.9 + 0.55 * len(shown))) as (figure, (panel,)):
        for place, each in enumerate(shown.values()):
            for what, (color, hatch) in LOOKS.items():  # what lies within a phase is drawn over it
                bars = [(1e3 * (s.begin - start), 1e3 * (s.end - s.begin)) for s in each if s.what == what]
                thin = [wide < 1e3 * THIN * whole for _, wide in bars]  # a white edge would hide it
                edges: dict[str, Any] = {
                    "edgecolors": [color if t else "white" for t in thin],
                    "linewidths": [0.6 * t or 0.3 for t in thin],
                }
                panel.broken_barh(bars, (place - 0.36, 0.72), facecolor=color, hatch=hatch, **edges)
            for span in each:
                if span.what == "forward" and (span.end - span.begin) > 0.025 * whole:
                    panel.text(1e3 * (span.begin - start) + 1e3 * 0.002 * whole, place, str(span.t), **_NUMBER)
        shown_names = [names[k] + f" (worker {workers[k]})" * (len({*workers}) > 1) for k in shown]
        panel.set_yticks(range(len(shown)), shown_names)
        panel.set(ylim=(len(shown) - 0.5, -0.5), xlim=(0, 1e3 * whole), xlabel="milliseconds (numbers: minibatches)")
        panel.grid(axis="y", visible=False)
        for what, (color, hatch) in LOOKS.items():
            if any(span.what == what for each in shown.values() for span in each):
                panel.barh([0], [0], color=color, hatch=hatch, edgecolor="white", label=what)
        figure.legend(loc="outside lower center", ncols=len(LOOKS))
        words = "one after the other in one process" if len({*workers}) == 1 and len(shown) > 1 else "side by side"
        headline(figure, f"Timeline of {last - min(s.t for e in shown.values() for s in e) + 1} minibatches, {words}")
    return path


_NUMBER: dict[str, Any] = {"fontsize": 7, "color": "white", "va": "center", "ha": "left", "clip_on": True}
