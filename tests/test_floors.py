"""`make floors`: what it pins."""

from __future__ import annotations

import runpy
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_dependency_has_a_lower_bound_that_make_floors_pins():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = runpy.run_path(str(ROOT / ".ci" / "floors.py"))["floors"](project)
    assert {"torch", "ray", "mlflow", "numpy", "pytest", "ruff"} <= found.keys()
    assert len(found) >= len(project["dependencies"])
