"""`unlocked data FILE` of arrays: their names and shapes, the classes, and a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from unlocked.data.class_labels import text_of
from unlocked.data.files.arrays import NPY, SUFFIXES, Told, open_arrays
from unlocked.data.files.looking import Look, register_look
from unlocked.data.files.source import Source
from unlocked.data.sets.arrays import COPIES, X, Y

_SHOWN = 30  # classes, arrays


def _fits(path: Path) -> int:
    if path.is_dir():
        return 2 * any(each.suffix.lower() == NPY for each in path.iterdir())
    return 2 * (path.suffix.lower() in SUFFIXES)


@register_look("arrays", fits=_fits)
def look(source: Source, path: Path, options: Mapping[str, Any]) -> Look:
    opened = open_arrays(path)
    given = {**options, "file": str(path)}
    listed = [
        {"array": name, "shape": " x ".join(map(str, each.shape)), "of": np.dtype(each.dtype).name}
        for name, each in list(opened.told.items())[:_SHOWN]
    ]
    notes = []
    x = given.get("x") or next((name for name in X if name in opened.told), None)
    y = given.get("y") or next((name for name in Y if name in opened.told), None)
    told = opened.told.get(str(x))
    if told is None:
        notes.append("which array holds the inputs is not known: x=NAME says it")
    if y not in opened.told and not str(y).endswith(".npy"):
        notes.append("which array holds the targets is not known: y=NAME says it (or a .npy file)")
    if told is not None and COPIES * told.nbytes > psutil.virtual_memory().available:
        given.setdefault("memory", "mapped")
        size = f"{told.nbytes / 1e9:,.1f} GB"
        notes.append(f"{size} and their copies do not fit into memory: memory=mapped reads rows when they are needed")
    classes, counts = [], {"arrays": len(opened.told)} | ({"rows": told.shape[0]} if told is not None else {})
    beside = path.parent / str(y)
    targets = opened.load([str(y)])[str(y)] if y in opened.told else None
    if targets is None and str(y).endswith(NPY) and beside.is_file():
        targets = open_arrays(beside).load(["x"])["x"]
    if targets is not None:
        if targets.dtype.kind == "f" and targets.size and not (targets == np.round(targets)).all():
            given.setdefault("task", "regression")
            notes.append(f"{y} is no whole numbers, so it is read as values: task=regression")
        elif targets.ndim == 1:
            seen, number = np.unique(targets, return_counts=True)
            counts["classes"] = len(seen)
            classes = [
                {"class": text_of(c), "rows": int(n)} for c, n in zip(seen[:_SHOWN], number[:_SHOWN], strict=True)
            ]
    model: dict[str, Any] = {"name": "mlp", "hidden": [128, 128]}
    if told is not None and (channels := _channels(told)) is not None:
        model = {"name": "cnn", "channels": [16, 32], "hidden": [64]}
        if channels != "first":
            given.setdefault("channels", channels)
    config = {
        "data": {"name": "arrays", "batch_size": 64, "validation": 0.1, "options": given},
        "model": model,
        "optimizer": {"name": "adam", "lr": 1.0e-3},
        "train": {"epochs": 10},
    }
    files = [*path.glob(f"*{NPY}")] if path.is_dir() else [path]
    kind = "NPY files" if path.is_dir() else {".npz": "NPZ", ".npy": "NPY"}.get(path.suffix.lower(), "safetensors")
    return Look(
        f"{kind}, {sum(each.stat().st_size for each in files):,} bytes",
        counts,
        {"arrays": listed, "classes": classes},
        notes,
        config,
    )


def _channels(told: Told) -> str | None:
    """Of images; None if rows are rather something else."""
    shape = told.shape[1:]
    if len(shape) == 3:
        return "last" if shape[2] in (1, 3, 4) and min(shape[:2]) > 4 else "first"
    return "none" if len(shape) == 2 and np.dtype(told.dtype) == np.uint8 else None
