"""What programs say, and its translation: the gettext catalogues that are on a machine."""

from __future__ import annotations

import gettext
from pathlib import Path

from unlocked.data.dataset import RawData, register_data
from unlocked.data.files.source import Source
from unlocked.data.words.pairs import Pair, made_of
from unlocked.errors import DataError


@register_data("catalogues", task="translation", family="pairs")
def catalogues(
    source: Source,
    language: str = "fr",
    folder: str = "/usr/share/locale",
    length: int = 24,
    tokens: str = "bpe",
    vocabulary: int | None = 2000,
    lowercase: bool = True,
) -> RawData:
    """English messages and their translations from all `<language>/LC_MESSAGES/*.mo` below `folder`, which Linux
    systems and Python packages (Django, say) bring with them; a tenth, drawn, is the test split. `tokens` (bpe, word or
    char) are of one `vocabulary` for both languages.

    What is there differs from machine to machine. Messages of several lines, with a menu's mnemonic (`_File`, `&Open`),
    without a letter, or left as they were are no pairs; of a message with several translations the first counts.
    """
    root = Path(folder).expanduser()
    files = sorted(root.glob(f"**/{language}/LC_MESSAGES/*.mo"))
    if not files:
        raise DataError(
            f"data.options.folder: no gettext catalogue (*.mo) of {language!r} below {root}; an operating "
            f"system has them in /usr/share/locale, Python packages in their own folders"
        )
    pairs: dict[str, str] = {}
    for file in files:
        for message, translation in _messages(file):
            pairs.setdefault(message, translation)
    if not pairs:
        raise DataError(
            f"data.options.language: the {len(files)} catalogues of {language!r} below {root} hold no "
            f"translated message"
        )
    return made_of(source.name, sorted(pairs.items()), length, tokens, vocabulary, lowercase)


def _messages(file: Path) -> list[Pair]:
    """Of one catalogue; none of one that is damaged or in an encoding of its own."""
    try:
        with file.open("rb") as stream:
            entries = vars(gettext.GNUTranslations(stream))["_catalog"]
    except (OSError, ValueError, KeyError, IndexError):
        return []
    return [
        (message, translation)
        for message, translation in entries.items()
        if isinstance(message, str) and isinstance(translation, str) and _is_pair(message, translation)
    ]


def _is_pair(message: str, translation: str) -> bool:
    told = message.strip() != translation.strip() and any(c.isalpha() for c in message)
    return told and not any(sign in message for sign in ("\n", "\x04", "_", "&"))  # \x04 ends a message's context
