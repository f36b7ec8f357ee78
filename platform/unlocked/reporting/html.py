"""A report as one HTML file that needs nothing else: its figures and style lie within it, and it has no script."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Sequence
from html import escape
from pathlib import Path

from unlocked.files import write_whole
from unlocked.reporting.document import Commands, Document, Figure, Form, Heading, Notes, Paragraph, Table

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --faint: #5f5f5f; --paper: #ffffff; --line: #d9d9d9; --soft: #f4f6f8;
  --lead: #0072B2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --faint: #a8a8a8; --paper: #16181b; --line: #3a3d42; --soft: #212429; --lead: #56B4E9; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 1.5rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .5rem 0 .2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid var(--line); padding-bottom: .2rem; }
.sub, figcaption, caption, .notes { color: var(--faint); font-size: .87rem; }
.lead { font-size: 1.15rem; border-left: 4px solid var(--lead); background: var(--soft); padding: .8rem 1rem;
  margin: 1rem 0; }
.wide { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .87rem; font-variant-numeric: tabular-nums; min-width: 40%; }
caption { caption-side: bottom; text-align: left; padding-top: .4rem; }
th { border-bottom: 2px solid var(--line); vertical-align: bottom; font-weight: 600; }
td { border-bottom: 1px solid var(--line); }
th, td { padding: .35rem .7rem .35rem 0; text-align: right; white-space: nowrap; }
th.word, td.word { text-align: left; white-space: normal; overflow-wrap: break-word; min-width: 8rem; }
.dot { display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .5em; }
figure { margin: 1rem 0; }
figure img { max-width: 100%; height: auto; background: #ffffff; border-radius: 6px; border: 1px solid var(--line); }
pre { background: var(--soft); padding: .7rem 1rem; border-radius: 6px; overflow-x: auto; font-size: .85rem; }
@media print {
  :root { --ink: #000; --faint: #444; --paper: #fff; --line: #bbb; --soft: #f4f4f4; }
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  h2 { break-after: avoid; } figure, table, .lead, pre { break-inside: avoid; }
  pre { white-space: pre-wrap; } .wide { overflow: visible; }
  .dot { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""


def render(document: Document, path: Path) -> Path:
    body = "\n".join(_Html().of(document))
    title = escape(document.title)
    page = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        f'<p class="sub">{escape(document.subtitle)}</p>\n{body}\n</body>\n</html>\n'
    )
    return write_whole(path, page)


class _Html(Form):
    def heading(self, heading: Heading) -> str:
        return f"<h{heading.level}>{escape(heading.text)}</h{heading.level}>"

    def paragraph(self, paragraph: Paragraph) -> str:
        return f"<p{' class=lead' * paragraph.lead}>{escape(paragraph.text)}</p>"

    def commands(self, commands: Commands) -> str:
        return f"<pre>{escape(chr(10).join(commands.lines))}</pre>"

    def notes(self, notes: Notes) -> str:
        return '<ul class="notes">' + "".join(f"<li>{escape(line)}</li>" for line in notes.lines) + "</ul>"

    def table(self, table: Table) -> str:
        return _table(table)

    def figure(self, figure: Figure) -> str:
        return _figure(figure)


def _table(table: Table) -> str:
    def cells(of: str, row: Sequence[str], dot: str = "") -> str:
        word = [" class=word" * (i < table.left) for i in range(len(row))]
        shown = [escape(cell).replace("\n", "<br>") for cell in row]
        marked = [f"<{of}{kind}>{cell}</{of}>" for kind, cell in zip(word, [dot + shown[0], *shown[1:]], strict=True)]
        return f"<tr>{''.join(marked)}</tr>"

    colors = [*table.colors, *[""] * (len(table.rows) - len(table.colors))]
    dots = [f'<span class="dot" style="background:{color}"></span>' if color else "" for color in colors]
    head = f"<thead>{cells('th', table.header)}</thead>" if any(table.header) else ""
    body = "".join(cells("td", row, dot) for row, dot in zip(table.rows, dots, strict=True))
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    return f'<div class="wide"><table>{caption}{head}<tbody>{body}</tbody></table></div>'


def _figure(figure: Figure) -> str:
    """As an image of SVG: its names cannot meet those of another figure, and it runs no script."""
    with tempfile.TemporaryDirectory() as folder:
        drawn = figure.draw(Path(folder) / f"{figure.name}.svg")
        if drawn is None:
            return ""
        picture = base64.b64encode(drawn.read_bytes()).decode()
    words, source = escape(figure.caption), f"data:image/svg+xml;base64,{picture}"
    return f'<figure><img alt="{words}" src="{source}"><figcaption>{words}</figcaption></figure>'
