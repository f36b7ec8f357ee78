"""`unlocked data FOLDER` of image and sound files: classes, sizes, lengths, copies, and a configuration."""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from unlocked.data.files.looking import Look, Rows, register_look
from unlocked.data.files.source import Source
from unlocked.data.media import image_files, sound_files
from unlocked.data.media.file_trees import Kind
from unlocked.data.media.labelled_files import CLASSES, Labelled, labelled
from unlocked.data.sets.audio import SOUNDS
from unlocked.data.sets.images import IMAGES
from unlocked.data.splits import Splits
from unlocked.data.tables.look import batch_size

FEW = 10  # files of a class
_STEPS = 500  # that a first training takes at least, if thirty epochs are as many
_LOOKED_THROUGH = 5000  # files of a folder, until one of the kind is found
_SHOWN = 30  # classes
_OF_SPLITS = tuple(Splits.__dataclass_fields__)


def _holds(kind: Kind) -> Callable[[Path], int]:
    def fits(path: Path) -> int:
        if not path.is_dir():
            return 0
        names = (name for _, _, names in os.walk(path) for name in names)
        return 3 * any(kind.takes(name) for name in islice(names, _LOOKED_THROUGH))

    return fits


def _found(source: Source, path: Path, options: Mapping[str, Any], kind: Kind) -> tuple[Labelled, dict[str, Any]]:
    given = {**options, "file": str(path)}
    splits = Splits(**{key: given[key] for key in _OF_SPLITS if key in given})
    place, target = str(given.get("path", "file")), str(given.get("target", "label"))
    return labelled(source, splits, str(path), kind, place, target, str(given.get("task", CLASSES))), given


def _classes(found: Labelled) -> Rows:
    if found.task != CLASSES:
        return []
    counts = np.bincount(found.y, minlength=len(found.names))
    return [{"class": name, "files": int(count)} for name, count in zip(found.names, counts, strict=True)][:_SHOWN]


def _counts(found: Labelled, kind: Kind) -> dict[str, Any]:
    parts = Counter(found.columns["split"]) if "split" in found.columns else Counter(found.own)
    return (
        {kind.named: len(found.paths)}
        | ({"classes": len(found.names)} if found.task == CLASSES else {})
        | {f"in {part}": count for part, count in parts.items()}
    )


def _notes(found: Labelled) -> list[str]:
    notes = []
    few = [f"{row['class']} ({row['files']})" for row in _classes(found) if row["files"] < FEW]
    if few:
        notes.append(f"classes of fewer than {FEW} files: {', '.join(few)}")
    copies = _copies(found.paths)
    if copies:
        first, again = copies[0]
        notes.append(
            f"copies of other files: {len(copies)}, such as {again} of {first}; one in the training split and one "
            "in the test split would make the figures too good"
        )
    return notes


def _copies(paths: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Each file that is the same as one before it, with that one."""
    by_size: dict[int, list[Path]] = {}
    for path in paths:
        by_size.setdefault(path.stat().st_size, []).append(path)
    found = []
    for alike in by_size.values():
        seen: dict[bytes, Path] = {}
        for path in alike if len(alike) > 1 else ():
            content = hashlib.sha256(path.read_bytes()).digest()
            if content in seen:
                found.append((seen[content], path))
            seen.setdefault(content, path)
    return found


@register_look("images", fits=_holds(IMAGES))
def look_at_images(source: Source, path: Path, options: Mapping[str, Any]) -> Look:
    found, given = _found(source, path, options, IMAGES)
    seen = image_files.headers(found.paths)
    sizes = Counter((each.width, each.height) for each in seen)
    notes = _notes(found)
    if len(sizes) > 1 and "size" not in given:
        given["size"] = 32 if np.median([min(each.width, each.height) for each in seen]) < 64 else 64
        notes.append(f"images have {len(sizes)} sizes: size={given['size']} crops and scales each to that")
    deep, grey = sum(each.deep for each in seen), sum(each.grey for each in seen)
    in_splits = "split" in found.columns
    read_as = "a table of files" if path.is_file() else "folders of splits" if in_splits else "a folder for each class"
    color = "grey" if grey == len(seen) else "colour" if not grey else f"{grey} grey, {len(seen) - grey} colour"
    shown = [{"width x height": f"{w} x {h}", "files": count} for (w, h), count in sizes.most_common(5)]
    batch = min(64, batch_size(len(seen)))
    config = {
        "data": {"name": "images", "batch_size": batch, "validation": 0.1, "options": given},
        "model": {"name": "cnn", "channels": [16, 32], "hidden": [64]},
        "optimizer": {"name": "adam", "lr": 1.0e-3},
        "train": {"epochs": min(30, max(10, round(_STEPS * batch / len(seen))))},
    }
    bits = "8 bits" if not deep else "16 bits" if deep == len(seen) else f"16 bits in {deep} of them"
    tables = {"classes": _classes(found), "sizes": shown}
    return Look(f"{read_as}, {color}, {bits}", _counts(found, IMAGES), tables, notes, config)


@register_look("audio", fits=_holds(SOUNDS))
def look_at_sounds(source: Source, path: Path, options: Mapping[str, Any]) -> Look:
    found, given = _found(source, path, options, SOUNDS)
    seen = sound_files.headers(found.paths)
    rates = Counter(each.rate for each in seen)
    seconds = np.array([each.seconds for each in seen])
    notes = _notes(found)
    if len(rates) > 1 and "rate" not in given:
        given["rate"] = min(rates)
        listed = ", ".join(f"{rate} ({count})" for rate, count in rates.most_common(4))
        notes.append(f"samples a second differ, {listed}: rate={min(rates)} brings all to that")
    most = float(np.percentile(seconds, 90))
    if "seconds" not in given and most < 0.8 * seconds.max():
        given["seconds"] = math.ceil(10 * most) / 10
        notes.append(
            f"one in ten is longer than {given['seconds']:g} s, the longest {seconds.max():.1f} s: "
            f"seconds={given['seconds']:g} cuts those"
        )
    lengths = [
        {"seconds": name, "": f"{float(np.percentile(seconds, at)):.2f}"}
        for name, at in (("shortest", 0), ("median", 50), ("nine of ten up to", 90), ("longest", 100))
    ]
    given.setdefault("layout", "image")
    batch = min(32, batch_size(len(seen)))
    config = {
        "data": {"name": "audio", "batch_size": batch, "validation": 0.1, "options": given},
        "model": {"name": "cnn", "channels": [16, 32], "hidden": [64]},
        "optimizer": {"name": "adam", "lr": 1.0e-3},
        "train": {"epochs": min(30, max(10, round(_STEPS * batch / len(seen))))},
    }
    channels = "mono" if all(each.channels == 1 for each in seen) else "stereo or more, averaged"
    read_as = f"WAV, {', '.join(f'{rate} Hz' for rate in sorted(rates))}, {channels}, {seconds.sum() / 60:.1f} minutes"
    return Look(read_as, _counts(found, SOUNDS), {"classes": _classes(found), "lengths": lengths}, notes, config)
