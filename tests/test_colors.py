"""One colour per scheme: what is compared can be told apart, on white and on black."""

import re
from itertools import combinations

from unlocked.colors import PALETTE, scheme_color
from unlocked.schemes.registry import SCHEMES

COMPARED = ("backprop", "cdni", "dni", "dfa", "frozen", "local")


def brightness(color: str) -> float:
    """Relative luminance, 0 (black) to 1 (white), as WCAG 2 defines it."""
    linear = [
        (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4)
        for c in (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_five_schemes_have_the_colours_that_every_page_shows():
    assert [scheme_color(name) for name in COMPARED[:5]] == ["#0072B2", "#009E73", "#56B4E9", "#D55E00", "#8A8A8A"]


def test_schemes_that_are_compared_never_share_a_colour():
    for one, other in (*combinations(COMPARED, 2), ("cd", "pcd"), ("weight_search", "annealing")):
        assert scheme_color(one) != scheme_color(other), (one, other)


def test_every_scheme_has_a_colour_that_can_be_read_on_white_and_on_black():
    for name in (*SCHEMES, "one_of_a_users_own"):
        color = scheme_color(name)
        assert re.fullmatch(r"#[0-9A-F]{6}", color)
        assert color == scheme_color(name)
        shown = brightness(color) + 0.05
        assert 1.05 / shown > 2.1, (name, color)
        assert shown / 0.05 > 1.5, (name, color)


def test_colours_of_other_series_are_distinct():
    assert len(set(PALETTE)) == len(PALETTE)
