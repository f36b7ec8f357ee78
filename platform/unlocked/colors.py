"""One colour per scheme, wherever it is shown: figures, MLflow, the terminal, reports.

The palette of Okabe and Ito (2008), which colour-blind readers can tell apart; schemes that are not named here, also a
user's own, get a colour of Paul Tol's muted palette by their name, so that it is the same in every picture.
"""

from __future__ import annotations

import zlib

BLUE, SKY, GREEN, VERMILION = "#0072B2", "#56B4E9", "#009E73", "#D55E00"
ORANGE, PINK, GREY = "#E69F00", "#CC79A7", "#8A8A8A"
PALETTE = (BLUE, VERMILION, GREEN, PINK, ORANGE, SKY)  # of series that are no schemes, in this order
# of classes: Petroff (2021), "Accessible Color Sequences for Data Visualization", in its order
CLASSES = (
    *("#3F90DA", "#FFA90E", "#BD1F01", "#94A4A2", "#832DB6"),
    *("#A96B59", "#E76300", "#B9AC70", "#717581", "#92DADD"),
)

_SCHEMES = {
    "backprop": BLUE,
    "cdni": GREEN,
    "dni": SKY,
    "dfa": VERMILION,
    "frozen": GREY,  # the control
    "local": PINK,
    "denoise": ORANGE,
    # families with schemes of their own, which are compared with each other alone
    "cd": ORANGE,
    "pcd": PINK,
    "weight_search": ORANGE,
    "annealing": PINK,
    "evolution": GREEN,
}
_OTHERS = ("#332288", "#882255", "#44AA99", "#999933", "#AA4499", "#117733")


def named_schemes() -> dict[str, str]:
    """The colours of the schemes that have one of their own."""
    return dict(_SCHEMES)


def scheme_color(name: str) -> str:
    """The colour of a scheme, as `#RRGGBB`.

    >>> scheme_color("dfa"), scheme_color("frozen")
    ('#D55E00', '#8A8A8A')
    """
    return _SCHEMES.get(name) or _OTHERS[zlib.crc32(name.encode()) % len(_OTHERS)]
