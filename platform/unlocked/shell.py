"""Commands as a reader copies them into a shell."""

from __future__ import annotations

import re


def wrapped(command: str, width: int) -> str:
    """Lines of at most `width` letters, broken between words, an option with its value; a shell joins them again.

    >>> print(wrapped("unlocked train quickstart " + "train.epochs=5 " * 4, 76))
    unlocked train quickstart train.epochs=5 train.epochs=5 train.epochs=5 \\
      train.epochs=5
    """
    words = re.findall(r"""(?:--[\w-]+ (?!-))?(?:'[^']*'|"[^"]*"|\S)+|\n""", command)
    lines = [""]
    for word in words:
        if word == "\n":
            lines.append("")
        elif lines[-1] and len(lines[-1]) + len(word) > width - 3:
            lines[-1] += " \\"
            lines.append(f"  {word}")
        else:
            lines[-1] += f" {word}" if lines[-1] else word
    return "\n".join(lines)
