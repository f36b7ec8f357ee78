"""Draws net.svg, the net cut into modules on workers that the concepts page explains: `python docs/pictures/net.py`."""

from pathlib import Path

BLUE, ORANGE, GREY, INK = "#0072B2", "#D55E00", "#8A8A8A", "#333333"
MODULES, WIDTH, GAP, LEFT = 4, 160, 48, 64
HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 940 330" role="img" aria-labelledby="title"
 font-family="Helvetica, Arial, DejaVu Sans, sans-serif" font-size="14">
<title id="title">A net of eight blocks, cut into four modules on two workers</title>
<defs>
<marker id="up" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0 0 L10 5 L0 10 z" fill="#0072B2"/></marker>
<marker id="down" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0 0 L10 5 L0 10 z" fill="#D55E00"/></marker>
</defs>
<rect width="940" height="330" fill="#ffffff"/>"""


def box(x: float, y: float, width: float, height: float, fill: str, stroke: str, more: str = "") -> str:
    size = f'width="{width}" height="{height}" rx="6"'
    return f'<rect x="{x}" y="{y}" {size} fill="{fill}" stroke="{stroke}" {more}/>'


def text(x: float, y: float, words: str, colour: str, more: str = 'text-anchor="middle"') -> str:
    return f'<text x="{x}" y="{y}" fill="{colour}" {more}>{words}</text>'


def arrow(path: str, colour: str, marker: str, more: str = "") -> str:
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2" marker-end="url(#{marker})" {more}/>'


def net() -> str:
    lines = [HEAD]
    for worker in range(2):
        x = LEFT + 2 * worker * (WIDTH + GAP) - 12
        lines.append(box(x, 36, 2 * WIDTH + GAP + 24, 222, "none", GREY, 'stroke-dasharray="6 4"'))
        lines.append(text(x + 4, 28, f"worker {worker}", "#555555", ""))
    for k in range(1, MODULES + 1):
        x, sub = LEFT + (k - 1) * (WIDTH + GAP), "₀₁₂₃₄"[k]
        lines.append(text(x + 4, 62, f"module f{sub}", BLUE, 'font-weight="bold"'))
        lines.append(box(x, 70, WIDTH, 100, "#EAF3F9", BLUE))
        for block in range(2):
            lines.append(box(x + 14 + 70 * block, 92, 62, 56, "#ffffff", INK))
            lines.append(text(x + 45 + 70 * block, 125, "block", INK, 'text-anchor="middle" font-size="13"'))
        end = x + WIDTH
        lines.append(arrow(f"M{end} 120 H{end + (GAP if k < MODULES else 34) - 2}", BLUE, "up"))
        lines.append(text(end + GAP / 2 - 2, 110, f"h{sub}" if k < MODULES else "L", BLUE))
        if k == MODULES:
            continue
        lines.append(box(x + 68, 198, 80, 40, "#FBEFE6", ORANGE))
        lines.append(text(x + 108, 223, f"M{sub}", ORANGE))
        lines.append(arrow(f"M{x + 108} 198 V172", ORANGE, "down"))
        lines.append(text(x + 100, 190, f"g{sub}", ORANGE, 'text-anchor="end"'))
        start = end + GAP + 24
        curve = f"M{start} 172 C{start} 219 {start - 20} 219 {end - 10} 219"
        lines.append(arrow(curve, ORANGE, "down", 'stroke-dasharray="3 4"'))
        lines.append(text(start + 6, 190, f"t{sub}", ORANGE, ""))
    lines.append(arrow(f"M{LEFT - 40} 120 H{LEFT - 2}", BLUE, "up"))
    lines.append(text(LEFT - 48, 125, "x", BLUE))
    captions = (
        "Blue: one tensor h crosses a boundary. Solid orange: the gradient g that is injected, here M's prediction.",
        "Dashed: the target t from which M learns, a fixed number of minibatches later (the lag).",
    )
    for row, words in enumerate(captions):
        lines.append(text(LEFT - 12, 284 + 22 * row, words, INK, 'font-size="13"'))
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(net())
