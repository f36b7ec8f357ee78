"""A report as a LaTeX article, with its figures as PDF in a folder beside it; tables by booktabs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unlocked.files import write_whole
from unlocked.reporting.document import Commands, Document, Figure, Form, Heading, Notes, Paragraph, Table
from unlocked.reporting.markdown import figures_of
from unlocked.shell import wrapped

_BEGIN = r"""\documentclass[11pt]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage[margin=2.2cm]{geometry}
\usepackage{booktabs,graphicx,adjustbox}
\begin{document}
"""
_LONG = 80  # letters of a typewriter line
_SPECIAL = {
    "\\": r"\textbackslash{}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "[": "{[}",  # behind a line's end it would be how much room follows
    "^": r"\textasciicircum{}",
    "–": "--",
    "·": r"\textperiodcentered{}",
    "…": r"\ldots{}",
    "±": r"\ensuremath{\pm}",
    "−": r"\ensuremath{-}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "\N{NO-BREAK SPACE}": "~",
}


def render(document: Document, path: Path) -> Path:
    parts = [rf"\section*{{{escaped(document.title)}}}", escaped(document.subtitle), *_Latex(path).of(document)]
    return write_whole(path, _BEGIN + "\n\n".join(parts) + "\n\n\\end{document}\n")


def escaped(text: str) -> str:
    """
    >>> escaped("50 % of a_b")
    '50 \\\\% of a\\\\_b'
    """
    return "".join(_SPECIAL.get(letter) or _known(letter) for letter in text)


def _known(letter: str) -> str:
    """What LaTeX has no letter for would end it."""
    return letter if ord(letter) < 0x180 else f"U+{ord(letter):04X}"


@dataclass(frozen=True)
class _Latex(Form):
    path: Path

    def heading(self, heading: Heading) -> str:
        return rf"\{'section' if heading.level < 2 else 'subsection'}*{{{escaped(heading.text)}}}"

    def paragraph(self, paragraph: Paragraph) -> str:
        return rf"\noindent\textbf{{{escaped(paragraph.text)}}}" if paragraph.lead else escaped(paragraph.text)

    def commands(self, commands: Commands) -> str:
        # LaTeX ends it at these very letters, wherever they stand
        folded = (line if line.startswith("#") else wrapped(line, _LONG) for line in commands.lines)
        lines = "".join(map(_known, "\n".join(folded))).replace(r"\end{verbatim}", r"\end {verbatim}")
        return "\\begin{verbatim}\n" + lines + "\n\\end{verbatim}"

    def notes(self, notes: Notes) -> str:
        return "\\begin{itemize}\n" + "\n".join(rf"\item {escaped(line)}" for line in notes.lines) + "\n\\end{itemize}"

    def table(self, table: Table) -> str:
        return _table(table)

    def figure(self, figure: Figure) -> str:
        drawn = figure.draw(figures_of(self.path) / f"{figure.name}.pdf")
        if drawn is None:
            return ""
        picture = rf"\includegraphics[width=\linewidth]{{{figures_of(self.path).name}/{drawn.name}}}"
        return "\n".join([r"\begin{center}", picture, "", rf"{{\small {escaped(figure.caption)}}}", r"\end{center}"])


def _table(table: Table) -> str:
    columns = "".join("l" if i < table.left else "r" for i in range(len(table.header)))
    rows = [" & ".join(map(_cell, row)) + r" \\" for row in table.rows]
    head = [" & ".join(map(_cell, table.header)) + r" \\", r"\midrule"] if any(table.header) else []
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", *head, *rows, r"\bottomrule", r"\end{tabular}"]
    shown = [r"\begin{center}", r"\begin{adjustbox}{max width=\textwidth}", *lines, r"\end{adjustbox}", r"\end{center}"]
    caption = [rf"{{\small {escaped(table.caption)}}}"] if table.caption else []
    return "\n".join([*shown, *caption])


def _cell(text: str) -> str:
    lines = [escaped(line) for line in text.split("\n")]
    return lines[0] if len(lines) == 1 else rf"\shortstack[r]{{{(chr(92) * 2).join(lines)}}}"
