"""python .ci/floors.py > FILE: pip's constraints that pin every dependency of pyproject.toml to its lower bound.

torch is left out: its floor (2.11) is on no index of CPU builds that this repository is tested with; constraints.txt
has the build that is. A dependency without a lower bound is an error, because nobody has tried its first version.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

LEFT_OUT = {"torch"}
REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[[\w,]+\])?(>=(?P<floor>[\w.]+))?(,<[\w.]+)?")
EXTRAS = ("docs", "dev")


def floors(project: dict) -> dict[str, str]:
    """The lower bound of each dependency, and of those of `EXTRAS`, by name."""
    wanted = [*project["dependencies"], *(each for extra in EXTRAS for each in project["optional-dependencies"][extra])]
    found: dict[str, str] = {}
    for requirement in wanted:
        parts = REQUIREMENT.fullmatch(requirement.replace(" ", ""))
        if parts is None:
            sys.exit(f"pyproject.toml: {requirement!r}: expected NAME>=FLOOR, with an upper bound or none")
        if parts["floor"]:
            found[parts["name"]] = parts["floor"]
        elif parts["name"] not in (project["name"], *found):
            sys.exit(f"pyproject.toml: {requirement!r} has no lower bound")
    return found


if __name__ == "__main__":
    text = Path(__file__).parents[1].joinpath("pyproject.toml").read_text()
    for name, floor in floors(tomllib.loads(text)["project"]).items():
        if name not in LEFT_OUT:
            print(f"{name}=={floor}")
