"""A parallel corpus of 6,236 aligned verses in eleven languages (npm quran-json 3.1.2, CC-BY-4.0)."""

from __future__ import annotations

import json
from pathlib import Path

from unlocked.data.dataset import RawData, register_data
from unlocked.data.files.source import DataFile, Source
from unlocked.data.words.pairs import made_of
from unlocked.errors import DataError
from unlocked_models.contract.registry import unknown

MIRROR = "https://cdn.jsdelivr.net/npm/quran-json@3.1.2/dist"
MD5 = {
    "bn": "c48cb2bdf06e60af6b578b6b4af53cdb",
    "en": "6c12353bf9b701b6d17a2a67fb92d4af",
    "es": "6f2faa45024310e5adcdd4d114a7d2cd",
    "fr": "9ed5f24f8aad9a023a0ba7811d26898f",
    "id": "390ff321fd4dc82e49235ace6ffe49cd",
    "ru": "b83705037f73e92adead4dbf585b33e2",
    "sv": "d739ef77480801619c5157b1756abefd",
    "tr": "6dbba7d4afd869045c04f9be320d34a9",
    "ur": "748b837a5f0da52a52220b31a0b082ac",
    "zh": "92791396bf1269e787754562da725308",
}


@register_data("verses", task="translation", family="pairs")
def verses(
    source: Source,
    source_language: str = "en",
    target_language: str = "fr",
    length: int = 32,
    tokens: str = "bpe",
    vocabulary: int | None = 2000,
    lowercase: bool = True,
    mirror: str = MIRROR,
) -> RawData:
    """Verses in two of bn, en, es, fr, id, ru, sv, tr, ur, zh; a tenth, drawn, is the test split.

    Verses of more than `length` `tokens` (bpe, word or char), </s> among them, are left out; both languages share one
    `vocabulary`.
    """
    for key, language in (("source_language", source_language), ("target_language", target_language)):
        if language not in MD5:
            raise DataError(f"data.options.{key}: {unknown('language', language, list(MD5))}")
    files = [DataFile(f"quran_{language}.json", MD5[language]) for language in (source_language, target_language)]
    sides = [_verses(path) for path in source.files(files, ["verses", "quran-json", "package/dist", "."], mirror)]
    return made_of(
        source.name,
        [(sides[0][key], sides[1][key]) for key in sides[0] if key in sides[1]],
        length,
        tokens,
        vocabulary,
        lowercase,
    )


def _verses(path: Path) -> dict[tuple[int, int], str]:
    """Texts by chapter and verse."""
    try:
        chapters = json.loads(path.read_text(encoding="utf-8-sig"))
        return {
            (chapter["id"], verse["id"]): verse["translation"] for chapter in chapters for verse in chapter["verses"]
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a list of chapters with verses and translations ({error!r})") from None
