"""The scheme of docs/own-scheme.md passes the contract that the page tells its reader to inherit."""

import re
from pathlib import Path

import pytest

from unlocked.schemes import SCHEMES
from unlocked.testing import SchemeContract

PAGE = (Path(__file__).parents[2] / "docs" / "own-scheme.md").read_text()


@pytest.fixture(scope="class", autouse=True)
def drtp():
    if "drtp" not in SCHEMES:
        exec(
            re.search(r"<!-- example: my_scheme.py -->\n```python\n(.*?)```", PAGE, re.S)[1], {"__name__": "my_scheme"}
        )
    yield
    SCHEMES._entries.pop("drtp", None)
    SCHEMES._facts.pop("drtp", None)


class TestDRTP(SchemeContract):
    scheme = "drtp"
    options = {"density": 0.5}
