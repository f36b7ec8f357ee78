"""A data set of a test's own."""

import pytest

from unlocked.data import DATA, RawData, register_data


@pytest.fixture
def mine():
    """`mine(RawData, ...)` registers what the set `mine` returns, for this test alone."""

    def add(*args, **options):
        register_data("mine")(lambda source: RawData(*args, **options))

    yield add
    DATA._entries.pop("mine", None)
    DATA._facts.pop("mine", None)
