"""The text below a command's options, fitted to the terminal: examples with what they do, and sentences."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Iterable
from itertools import groupby

from unlocked.shell import wrapped

_EXAMPLE = re.compile(r"^ +(?P<command>\S.*?)(?: {2,}(?P<about>\S.*))?$")


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Lines as they are written, if they are not too long."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return fitted(text, self._width)


def fitted(text: str, width: int) -> str:
    """No line is longer than `width`, but for a single word. A line that begins with a space is an example.

    >>> print(fitted("examples:\\n  unlocked export runs/one      in the run folder\\n\\nA sentence.", 30))
    examples:
      unlocked export runs/one
          in the run folder
    <BLANKLINE>
    A sentence.
    """
    lines: list[str] = []
    for kind, group in groupby(text.splitlines(), key=lambda line: line[:1].isspace()):
        of_kind = list(group)
        lines += _examples(of_kind, width) if kind else _sentences(of_kind, width)
    return "\n".join(lines)


def _examples(lines: Iterable[str], width: int) -> list[str]:
    fit: list[str] = []
    for line in lines:
        found = _EXAMPLE.match(line)
        if len(line) <= width or found is None:
            fit.append(line)
            continue
        indent = " " * (len(line) - len(line.lstrip()))
        fit += [f"{indent}{part}" for part in wrapped(found["command"], width - len(indent)).split("\n")]
        fit += textwrap.wrap(
            found["about"] or "", width, initial_indent=f"{indent}    ", subsequent_indent=f"{indent}    "
        )
    return fit


def _sentences(lines: list[str], width: int) -> list[str]:
    fit: list[str] = []
    for is_blank, group in groupby(lines, key=lambda line: not line.strip()):
        paragraph = list(group)
        if is_blank or all(len(line) <= width for line in paragraph):
            fit += paragraph
        else:
            fit += textwrap.wrap(" ".join(paragraph), width, break_long_words=False, break_on_hyphens=False)
    return fit
