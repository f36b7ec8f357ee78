"""JSON that every parser reads."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from unlocked import strict_json


def refuse(word: str) -> None:
    raise AssertionError(f"not JSON: {word}")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_is_null_at_any_depth(value):
    text = strict_json.dumps({"a": value, "b": [1, {"c": (value, 2.5)}], "d": "NaN"})
    assert json.loads(text, parse_constant=refuse) == {"a": None, "b": [1, {"c": [None, 2.5]}], "d": "NaN"}


def test_metrics_come_back_as_they_were():
    there_and_back = strict_json.numbers(json.loads(strict_json.dumps({"r2": math.nan, "mse": 0.5})))
    assert math.isnan(there_and_back["r2"])
    assert there_and_back["mse"] == 0.5


def test_no_command_writes_json_by_another_way():
    """`json.dumps` writes NaN, which is no JSON."""
    cli = Path(strict_json.__file__).parent / "cli"
    found = [path.name for path in cli.glob("*.py") if re.search(r"(?<!strict_)json\.dumps?\(", path.read_text())]
    assert not found
