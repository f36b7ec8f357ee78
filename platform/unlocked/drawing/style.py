"""The house style of every figure: one look, a headline, a second line that says which run it is, PNG and SVG.

Colours are Okabe and Ito's, which colour-blind readers tell apart; the background is opaque white, so that a figure is
read on a dark page and in print; matplotlib is imported on the first figure and no window is ever opened.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlocked.files import written_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.text import Text

INK, FAINT = "#222222", "#5F5F5F"
DPI = 140
SEPARATOR = "  ·  "  # between the entries of a second line
_TITLE, _LINE = 11.0, 8.5  # points
STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],  # which matplotlib brings: the same picture on every machine
    "font.size": 10,
    "text.color": INK,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.transparent": False,
    "axes.titlesize": _TITLE,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.edgecolor": "#555555",
    "axes.labelcolor": INK,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "figure.constrained_layout.w_pad": 0.1,
    "figure.constrained_layout.h_pad": 0.08,
    "svg.hashsalt": "unlocked",  # the same file for the same figure
    "svg.fonttype": "path",  # the same letters on every machine
}
_subject: ContextVar[str | None] = ContextVar("subject", default=None)
_vectors: ContextVar[bool] = ContextVar("vectors", default=False)


@contextmanager
def captioned(subject: str) -> Iterator[None]:
    """Inside it every figure has this second line."""
    token = _subject.set(subject)
    try:
        yield
    finally:
        _subject.reset(token)


@contextmanager
def about(subject: str) -> Iterator[None]:
    """As `captioned`, and with an SVG beside its PNG: the figures of one run or study."""
    token = _vectors.set(True)
    try:
        with captioned(subject):
            yield
    finally:
        _vectors.reset(token)


def with_svg(paths: list[Path]) -> list[Path]:
    """Figures and the SVG that was drawn beside each."""
    return [each for path in paths for each in (path, path.with_suffix(".svg")) if each == path or each.exists()]


@contextmanager
def drawing(
    path: Path, columns: int = 1, size: tuple[float, float] | None = None, rows: int = 1
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure in the house style, written to `path` when the block ends; its panels row by row."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size or (4.9 * columns + 0.4, 3.8), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        yield figure, list(panels)
        write(figure, panels, Path(path))


def write(figure: Figure, panels: list[Axes], path: Path) -> Path:
    """Adds headline and second line, and writes the figure: whole, or not at all on a full disk."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    _head(figure, panels)
    canvas = figure.canvas
    if path.suffix != ".png" or not isinstance(canvas, FigureCanvasAgg):
        return _written(figure, path)
    drawn = BytesIO()
    canvas.print_png(drawn)  # type: ignore[no-untyped-call]  # savefig lays everything out twice
    _write_bytes(path, drawn)
    if _vectors.get():
        figure.set_layout_engine("none")  # it stays as it was laid out
        _written(figure, path.with_suffix(".svg"))
    return path


def _written(figure: Figure, path: Path) -> Path:
    drawn = BytesIO()  # matplotlib's PDF writer hides a full disk below an error of its own
    figure.savefig(drawn, format=path.suffix[1:], metadata={"Date": None} if path.suffix == ".svg" else None)
    return _write_bytes(path, drawn)


def _write_bytes(path: Path, drawn: BytesIO) -> Path:
    with written_whole(path) as part:
        part.write_bytes(drawn.getbuffer())
    return path


def literal(text: str) -> str:
    """Text that matplotlib shows as it is: between two dollars it would set a formula."""
    return text.replace("$", r"\$")


def headline(figure: Figure, words: str) -> None:
    """The figure's own title, over all panels."""
    figure.suptitle(words, x=0.012, ha="left", fontsize=_TITLE, fontweight="bold", color=INK)


def footnote(figure: Figure, words: str) -> None:
    figure.supxlabel(words, x=0.985, ha="right", fontsize=8, color=FAINT)


def in_percent(axis: Axis, most: float = math.inf) -> None:
    """Ticks of shares, with as many decimals as they need: 42.5%, which is not 43%. None above `most` has a label."""
    from matplotlib.ticker import Formatter

    class Percent(Formatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return self.format_ticks([x])[0]

        def format_ticks(self, values: list[float]) -> list[str]:
            exact = (d for d in range(4) if all(abs(100 * v - round(100 * v, d)) < 1e-6 for v in values))
            digits = next(exact, 4)
            return [f"{value:.{digits}%}" if value <= most + 1e-9 else "" for value in values]

    axis.set_major_formatter(Percent())


def _head(figure: Figure, panels: list[Axes]) -> None:
    title: Text | None = figure._suptitle  # type: ignore[attr-defined]
    if title is None and len(panels) == 1 and (only := panels[0].get_title(loc="left")):
        panels[0].set_title("", loc="left")
        headline(figure, only)
        title = figure._suptitle  # type: ignore[attr-defined]
    wide = figure.get_figwidth()
    if title is not None:
        title.set_text(_filled(title.get_text(), wide, _TITLE * 1.12))  # bold letters are wider
    subject = _subject.get()
    if subject is None:
        return
    words = _filled(literal(subject), wide, _LINE)
    high = (1 + words.count("\n")) * _LINE * 1.35 / 72 + 0.07
    above = (1 + title.get_text().count("\n")) * _TITLE * 1.3 / 72 if title is not None else 0.0
    figure.set_figheight(figure.get_figheight() + high)
    whole = figure.get_figheight()
    layout: Any = figure.get_layout_engine()
    layout.set(rect=(0, 0, 1, 1 - high / whole))
    at = 1 - (0.08 + above) / whole
    line = figure.text(0.012, at, words, ha="left", va="top", fontsize=_LINE, color=FAINT, linespacing=1.25)
    line.set_in_layout(False)


def _filled(text: str, inches: float, points: float) -> str:
    """Wrapped to a figure's width: between the entries of a list such as "seed 0  ·  lag 2", not in their midst."""
    letters = max(20, math.floor((inches - 0.3) * 72 / (0.585 * points)))
    entries = [entry.replace(" ", "\xa0") if len(entry) < letters - 3 else entry for entry in text.split(SEPARATOR)]
    lines = SEPARATOR.join(entries).split("\n")
    return "\n".join(textwrap.fill(line, letters) for line in lines).replace("\xa0", " ")
