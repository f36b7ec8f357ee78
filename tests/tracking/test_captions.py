"""Values as cells say them."""

import pytest

from unlocked.tracking.captions import brief


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("0.0025811552841929356", "0.002581"),
        ("-3.14159265e-07", "-3.142e-07"),
        ("1e-05", "1e-05"),
        ("20000", "20000"),
        ("[32, 32]", "[32, 32]"),
        ("2399e038", "2399e038"),  # a digest
        ("nan", "nan"),
    ],
)
def test_floats_are_said_in_four_digits(value, said):
    assert brief(value) == said
