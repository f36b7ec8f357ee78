"""Text within Markdown that stays text, whatever it holds."""

from __future__ import annotations

import re


def fenced(text: str) -> str:
    """A block of code that no line of `text` can end.

    >>> print(fenced("unlocked train a.yaml"))
    ```
    unlocked train a.yaml
    ```
    """
    fence = _longer_than_any_in(text, 3)
    return f"{fence}\n{text}\n{fence}"


def code(text: str) -> str:
    """Code within a line, or a cell of a table.

    >>> code("a=b"), code("a`b")
    ('`a=b`', '``a`b``')
    """
    line = " ".join(text.split()).replace("|", "\\|")
    fence = _longer_than_any_in(line, 1)
    room = " " * (line[:1] == "`" or line[-1:] == "`")
    return f"{fence}{room}{line}{room}{fence}"


def _longer_than_any_in(text: str, least: int) -> str:
    return "`" * max([least, *(1 + len(run) for run in re.findall("`+", text))])
