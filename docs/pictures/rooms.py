"""Draws rooms.svg and data_rooms.svg, which room imports from which: `python docs/pictures/rooms.py`.

Layers, rooms and imports are those that tests/test_layers.py checks. A row is a room, with its lines of code; a number
counts the files of that room that import from the room of the column. Everything lies on one side of the diagonal,
because dependencies point one way.
"""

import importlib.util
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BLUE, GREY, INK = "#0072B2", "#8A8A8A", "#333333"
CELL, LEFT, TOP = 30, 190, 130


def layers() -> Any:
    """The test of the layers, as a module."""
    spec = importlib.util.spec_from_file_location("test_layers", ROOT / "tests" / "test_layers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rooms() -> str:
    """Of the whole tree; but for the public names, and `python -m unlocked`."""
    known = layers()
    files = set(known.FILES) - {"unlocked", "unlocked.__main__"}
    title = "Which room imports from which, from the command line down to plain torch"
    return matrix(title, known.LAYERS, files, known.room)


def rooms_of_data() -> str:
    known = layers()
    title = "Which room of unlocked.data imports from which, from sets by name down to readers of files"
    return matrix(title, known.LAYERS_OF_DATA, known.IN_DATA, known.room_in_data)


def matrix(title: str, rows: Sequence[Sequence[str]], names: Iterable[str], room: Callable[[str], str]) -> str:
    known = layers()
    order = [each for row in reversed(rows) for each in row]
    lines: Counter[str] = Counter()
    files: Counter[tuple[str, str]] = Counter()
    wanted = set(names)
    for name in sorted(wanted):
        lines[room(name)] += len(known.FILES[name].read_text().splitlines())
        files.update({(room(name), room(other)) for other in known.IMPORTS[name] & wanted})
    side = CELL * len(order)
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + side + 90} {TOP + side + 10}" role="img"',
        ' aria-labelledby="title" font-family="Helvetica, Arial, DejaVu Sans, sans-serif" font-size="13">',
        f'<title id="title">{title}</title>',
        f'<rect width="{LEFT + side + 90}" height="{TOP + side + 10}" fill="#ffffff"/>',
    ]
    for row, upper in enumerate(order):
        y = TOP + CELL * row
        label = f'{upper} <tspan fill="{GREY}">{lines[upper]:,}</tspan>'
        drawn.append(f'<text x="{LEFT - 8}" y="{y + 20}" fill="{INK}" text-anchor="end">{label}</text>')
        turned = f'transform="translate({LEFT + CELL * row + 20} {TOP - 8}) rotate(-50)"'
        drawn.append(f'<text {turned} fill="{INK}">{upper}</text>')
        for column, lower in enumerate(order):
            x, count = LEFT + CELL * column, files[upper, lower]
            shade = min(0.85, 0.12 + 0.04 * count)
            fill = (
                f'fill="{GREY}" fill-opacity="0.35"' if row == column else f'fill="{BLUE}" fill-opacity="{shade:.2f}"'
            )
            if count or row == column:
                drawn.append(f'<rect x="{x}" y="{y}" width="{CELL}" height="{CELL}" {fill} stroke="#ffffff"/>')
            if count and row != column:
                ink = "#ffffff" if shade > 0.5 else INK
                drawn.append(f'<text x="{x + 15}" y="{y + 20}" fill="{ink}" text-anchor="middle">{count}</text>')
    drawn.append(f'<rect x="{LEFT}" y="{TOP}" width="{side}" height="{side}" fill="none" stroke="{GREY}"/>')
    return "\n".join([*drawn, "</svg>", ""])


if __name__ == "__main__":
    for name, drawn in (("rooms", rooms()), ("data_rooms", rooms_of_data())):
        Path(__file__).with_name(f"{name}.svg").write_text(drawn)
