"""Checkpoints: complete or absent, never torn; weights in safetensors, the rest without pickled code.

    checkpoints/step-00001200/model.safetensors   the whole chain, keys of nn.Sequential(*blocks)
                              worker-0.pt ...     of every module and replica, module by module: optimiser,
                                                  synthetic-gradient model, what was in flight
                              progress.json       step, epoch, best so far
                              callbacks.pt        of callbacks that have a state
                              SHA256SUMS          of these files, checked whenever they are loaded
    checkpoints/best.json                         which of them had the best validation metric

A checkpoint is written to a temporary folder, flushed to the disk, then renamed; only after that are older
ones removed. So a full disk or a kill at any moment leaves the previous one whole. A damaged one is set aside
(`damaged-step-...`) once training goes on from one before it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from unlocked import strict_json
from unlocked.errors import RunFailed, reason
from unlocked.files import flush, read_regular, write_whole, written_whole
from unlocked.runs.digests import SUMS, check_sums, named, write_sums

WEIGHTS, PROGRESS, CALLBACKS = "model.safetensors", "progress.json", "callbacks.pt"
_NAME = re.compile(r"step-(\d{8,})")


@dataclass
class Progress:
    """Where a run stands after `step` steps."""

    step: int = 0
    best_value: float | None = None  # of the validation metric
    best_loss: float | None = None  # at the same evaluation
    best_step: int | None = None
    stale_evaluations: int = 0  # since the best
    stopped_early: bool = False
    train_seconds: float = 0.0
    waited: list[float] | None = None  # seconds, per module
    metrics: dict[str, float] = field(default_factory=dict)  # the latest value of each
    level: int | None = None  # of the data's curriculum, since `level_step`; None: still the first
    level_step: int = 0
    lr_scale: float = 1.0  # what optimizer.schedule=plateau has made of the rate
    plateau: int = 0  # evaluations since the best, or since it last did
    stopped_because: str | None = None  # what a callback, or patience, said
    callbacks: dict[str, Any] = field(default_factory=dict)  # their states, in a file of their own
    difficulty: list[int] | None = None  # of the training examples in this epoch, if losses order them


class Checkpoints:
    """The checkpoints of one run: the last two and the best are kept."""

    def __init__(self, run_dir: Path):
        self.folder = run_dir / "checkpoints"

    def save(self, progress: Progress, states: list[dict[str, Any]], is_best: bool) -> Path:
        """Raises `RunFailed` when the disk does not take it; earlier checkpoints are then untouched."""
        final = self.folder / f"step-{progress.step:08d}"
        temporary = self.folder / f".{final.name}.{os.getpid()}"
        try:
            for unfinished in self.folder.glob(".*"):  # of a process that was killed while it saved
                if unfinished.is_dir():
                    shutil.rmtree(unfinished, ignore_errors=True)
                else:
                    unfinished.unlink(missing_ok=True)
            with _one_kind_of_error():
                temporary.mkdir(parents=True)
                weights: dict[str, Tensor] = {}
                for state in states:  # replicas have equal ones
                    weights.update(state["weights"])
                save_file({key: value.contiguous() for key, value in weights.items()}, temporary / WEIGHTS)
                for i, state in enumerate(states):
                    with (temporary / f"worker-{i}.pt").open("wb") as file:  # which says why it takes no more
                        torch.save(state, file)
                if progress.callbacks:
                    torch.save(progress.callbacks, temporary / CALLBACKS)
                write_whole(temporary / PROGRESS, strict_json.dumps(asdict(replace(progress, callbacks={}))))
                write_sums({path.name: path for path in temporary.iterdir()}, temporary / SUMS)
            for path in temporary.iterdir():
                flush(path)
            flush(temporary)
            if final.exists():  # a restarted run comes by again with the same numbers
                shutil.rmtree(final)
            temporary.rename(final)
            if is_best:
                write_whole(self.folder / "best.json", json.dumps({"step": progress.step}))
            flush(self.folder)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            kept = self.last()
            safe = f"the checkpoint of step {_step(kept)} is intact" if kept else "no earlier checkpoint exists"
            raise RunFailed(
                f"{self.folder}: the checkpoint of step {progress.step} could not be written: {error.strerror}; {safe}"
            ) from None
        self._prune()
        return final

    def last(self) -> Path | None:
        found = self.all()
        return found[-1] if found else None

    def last_step(self) -> int | None:
        last = self.last()
        return None if last is None else _step(last)

    def best(self) -> Path | None:
        """As the last checkpoint says, which is written as a whole; a kill may come before `best.json` is."""
        last = self.last()
        places = [(self.folder / "best.json", "step")]
        for file, key in [(last / PROGRESS, "best_step"), *places] if last else places:
            try:
                path = self.folder / f"step-{int(json.loads(read_regular(file))[key]):08d}"
            except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
                continue
            if path.is_dir():
                return path
        return None

    def all(self) -> list[Path]:
        """Oldest first. An empty folder is none: a checkpoint gets its name when it is whole."""
        if not self.folder.is_dir():
            return []
        named_so = (p for p in self.folder.iterdir() if _NAME.fullmatch(p.name))
        return sorted((p for p in named_so if not p.is_dir() or any(p.iterdir())), key=_step)

    def newest(self, learners: int, note: Callable[[str], None]) -> tuple[Progress, list[dict[str, Any]]] | None:
        """What to go on with: of the newest checkpoint that is whole, as are the best weights until then, which will be
        tested. None if none was taken; `note` is told of every damaged file. Raises `RunFailed` if none is whole.
        """
        taken, chosen = self.all(), None
        problems: list[str] = []
        for path in reversed(taken):
            try:
                found = load_states(path, learners)
                chosen = chosen or (path, found)
                self._check_best(found[0])
            except RunFailed as damaged:
                problems += [str(damaged)] if str(damaged) not in problems else []
                continue
            chosen = (path, found)
            break
        if chosen is None:
            if taken:
                raise RunFailed(
                    f"{problems[0]}; no checkpoint before it is whole: remove {self.folder} to train from the start"
                )
            return None
        for problem in problems:
            earlier = chosen[0] != taken[-1]
            note(f"{problem}; going on {'from the checkpoint before it' if earlier else f'from {chosen[0].name}'}")
        self._set_aside(taken[taken.index(chosen[0]) + 1 :])
        return chosen[1]

    def refuse_damaged(self) -> None:
        """Raises `RunFailed` if checkpoints were taken, and none is as it was written."""
        problem = None
        for path in reversed(self.all()):
            try:
                check_sums(named(path / SUMS), path / SUMS)
            except RunFailed as damaged:
                problem = problem or damaged
            else:
                return
        if problem is not None:
            raise problem

    def _check_best(self, progress: Progress) -> None:
        best = self.folder / f"step-{progress.best_step or 0:08d}"
        if progress.best_step is not None and best.is_dir():
            check_sums([best / WEIGHTS], best / SUMS)

    def _set_aside(self, damaged: list[Path]) -> None:
        """Renames what is not gone on with, so that it neither counts nor pushes out what is whole."""
        for path in damaged:
            there = self.folder / f"damaged-{path.name}"
            shutil.rmtree(there, ignore_errors=True)
            path.rename(there)

    def _prune(self) -> None:
        keep = {*self.all()[-2:], self.best()}
        for path in self.all():
            if path not in keep:
                shutil.rmtree(path, ignore_errors=True)


def load_weights(checkpoint: Path) -> dict[str, Tensor]:
    """Weights of the whole chain; raises `RunFailed` for a file that is damaged."""
    return read_weights(checkpoint / WEIGHTS, checkpoint / SUMS)


def read_weights(path: Path, sums: Path) -> dict[str, Tensor]:
    """Named tensors, checked against their digest in `sums`; raises `RunFailed` for a file that is damaged."""
    check_sums([path], sums)
    try:
        return load_file(path)
    except Exception as error:  # safetensors raises its own Rust-side types
        raise RunFailed(f"{path}: cannot be read: {reason(error)}") from None


def write_weights(weights: dict[str, Tensor], path: Path, sums: Path) -> None:
    """Whole, after its digest, without which it would not be checked. Raises `RunFailed`."""
    try:
        with _one_kind_of_error(), written_whole(path) as part:
            save_file({key: value.contiguous() for key, value in weights.items()}, part)
            write_sums({path.name: part}, sums)
    except OSError as error:
        raise RunFailed(f"{path}: could not be written: {error.strerror}") from None


def load_states(checkpoint: Path, learners: int) -> tuple[Progress, list[dict[str, Any]]]:
    """Progress and one state per module and replica. No code is executed: `weights_only=True`."""
    workers = [checkpoint / f"worker-{i}.pt" for i in range(learners)]
    followed = [path] if (path := checkpoint / CALLBACKS).exists() else []
    check_sums([checkpoint / WEIGHTS, *workers, checkpoint / PROGRESS, *followed], checkpoint / SUMS)
    try:
        progress = _progress(json.loads(read_regular(checkpoint / PROGRESS)), _step(checkpoint))
        states = [torch.load(path, map_location="cpu", weights_only=True) for path in workers]
        progress.callbacks = torch.load(path, map_location="cpu", weights_only=True) if followed else {}
    except Exception as error:  # unpickling errors of any kind mean one thing: not a checkpoint of ours
        raise RunFailed(f"{checkpoint}: cannot be read: {reason(error)}") from None
    return progress, states


def _progress(value: Any, step: int) -> Progress:
    """Raises ValueError or TypeError for what is not written at `step`: the file may be somebody else's."""

    def numbers(values: Any) -> bool:
        return all(each is None or (isinstance(each, (int, float)) and not isinstance(each, bool)) for each in values)

    p = Progress(**value)
    counts = [
        each
        for each in (p.step, p.stale_evaluations, p.level_step, p.best_step, p.level, p.plateau)
        if each is not None
    ]
    fits = (
        p.step == step
        and all(type(each) is int and each >= 0 for each in counts)
        and max(p.best_step or 0, p.level_step) <= step
        and isinstance(p.stopped_early, bool)
        and isinstance(p.stopped_because, str | None)
        and numbers([p.best_value, p.best_loss, p.train_seconds])
        and p.train_seconds is not None
        and isinstance(p.lr_scale, float)
        and 0 < p.lr_scale <= 1
        and (p.waited is None or (isinstance(p.waited, list) and None not in p.waited and numbers(p.waited)))
        and isinstance(p.metrics, dict)
        and numbers(p.metrics.values())
    )
    if not fits:
        raise ValueError(f"{PROGRESS} is not that of step {step}")
    p.metrics = strict_json.numbers(p.metrics)
    return p


def _step(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1])


@contextmanager
def _one_kind_of_error() -> Iterator[None]:
    """`OSError` also from torch and safetensors, which raise kinds of their own when a disk is full."""
    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        cause: BaseException | None = error  # of torch: what the file said stands before it
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__context__
        if isinstance(cause, OSError):
            raise cause from None
        told = re.search(r"\(os error (\d+)\)", str(error))  # of safetensors
        raise OSError(int(told[1]) if told else 0, os.strerror(int(told[1])) if told else reason(error)) from None
