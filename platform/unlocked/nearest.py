"""The nearest matches of a word that nothing is called by. Imports nothing that takes time."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MOST = 3  # matches
LEAST, BESIDE = 0.6, 0.9  # likeness: of any match, and of one beside a better one as a share of that one's


def nearest(word: str, known: Iterable[str]) -> list[str]:
    """Names that are close to it, or whose last part is (`gat` of `graph/gat`, `lr` of `optimizer.lr`).

    >>> nearest("gta", ["graph/gat", "quickstart"]), nearest("quikstart", ["graph/gat", "quickstart"])
    (['graph/gat'], ['quickstart'])
    """
    names = sorted(filter(None, known), key=lambda name: (_parts(name), name))
    lasts = {name: name.replace("/", ".").rpartition(".")[2] for name in names}
    likeness = {name: max(_alike(word, name), _alike(word, lasts[name])) for name in names}
    best = max(likeness.values(), default=0.0)
    near = [name for name in names if likeness[name] >= max(LEAST, BESIDE * best)]
    return sorted(near, key=lambda name: -likeness[name])[:MOST]


def _alike(word: str, name: str) -> float:
    matcher = difflib.SequenceMatcher(None, word, name)
    return matcher.ratio() if matcher.real_quick_ratio() >= LEAST and matcher.quick_ratio() >= LEAST else 0.0


def _parts(name: str) -> int:
    return name.count(".") + name.count("/")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """
    >>> did_you_mean("trian", ["train", "list"]), did_you_mean("zzz", ["train"])
    ("; did you mean 'train'?", '')
    """
    near = [repr(name) for name in nearest(word, known)]
    if not near:
        return ""
    return f"; did you mean {' or '.join(filter(None, (', '.join(near[:-1]), near[-1])))}?"
