"""One colour per scheme: what is compared can be told apart, on white and on black."""

import math
import re
from itertools import combinations

import pytest

from unlocked.colors import CLASSES, PALETTE, scheme_color
from unlocked.schemes.registry import SCHEMES

LEAST = 0.11  # of linear RGB; two of matplotlib's ten are 0.02 apart
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


DEUTERAN = ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881))
PROTAN = ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998))


def seen_by(color: str, eyes: tuple[tuple[float, ...], ...]) -> tuple[float, ...]:
    """Linear RGB as colour-blind eyes see it (Machado, Oliveira and Fernandes 2009, severity 1)."""
    linear = [(int(color[at : at + 2], 16) / 255) ** 2.2 for at in (1, 3, 5)]
    return tuple(sum(weight * part for weight, part in zip(row, linear, strict=True)) for row in eyes)


@pytest.mark.parametrize("eyes", [DEUTERAN, PROTAN], ids=["deuteranopia", "protanopia"])
def test_classes_can_be_told_apart_by_colour_blind_eyes(eyes):
    for one, other in combinations(CLASSES, 2):
        assert math.dist(seen_by(one, eyes), seen_by(other, eyes)) > LEAST, (one, other)
