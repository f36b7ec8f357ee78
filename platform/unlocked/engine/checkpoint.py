"""Checkpoints: complete or absent, never torn; weights in safetensors, the rest without pickled code.

    checkpoints/step-00001200/model.safetensors   the whole chain, keys of nn.Sequential(*blocks)
                              worker-0.pt ...     of every module and replica, module by module: optimiser,
                                                  synthetic-gradient model, what was in flight
                              progress.json       step, epoch, best so far
    checkpoints/best.json                         which of them had the best validation metric

A checkpoint is written to a temporary folder, flushed to the disk, then renamed; only after that are older
ones removed. So a full disk or a kill at any moment leaves the previous one whole.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from unlocked import strict_json
from unlocked.errors import RunFailed, reason

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
            temporary.mkdir(parents=True)
            weights: dict[str, Tensor] = {}
            for state in states:  # replicas have equal ones
                weights.update(state["weights"])
            save_file({key: value.contiguous() for key, value in weights.items()}, temporary / "model.safetensors")
            for i, state in enumerate(states):
                torch.save(state, temporary / f"worker-{i}.pt")
            (temporary / "progress.json").write_text(strict_json.dumps(asdict(progress)))
            for path in temporary.iterdir():
                _flush(path)
            _flush(temporary)
            if final.exists():  # a restarted run comes by again with the same numbers
                shutil.rmtree(final)
            temporary.rename(final)
            if is_best:
                _write_atomically(self.folder / "best.json", json.dumps({"step": progress.step}))
            _flush(self.folder)
        except (OSError, RuntimeError) as error:  # torch.save raises RuntimeError on a full disk
            shutil.rmtree(temporary, ignore_errors=True)
            kept = self.last()
            why = error.strerror if isinstance(error, OSError) else reason(error)
            safe = f"the checkpoint of step {_step(kept)} is intact" if kept else "no earlier checkpoint exists"
            raise RunFailed(f"{self.folder}: the checkpoint of step {progress.step} could not be written: "
                            f"{why}; {safe}") from None
        self._prune()
        return final

    def last(self) -> Path | None:
        found = self.all()
        return found[-1] if found else None

    def best(self) -> Path | None:
        """As the last checkpoint says, which is written as a whole; a kill may come before `best.json` is."""
        last = self.last()
        places = [(self.folder / "best.json", "step")]
        for file, key in [(last / "progress.json", "best_step"), *places] if last else places:
            try:
                path = self.folder / f"step-{int(json.loads(file.read_text())[key]):08d}"
            except (OSError, ValueError, KeyError, TypeError):
                continue
            if path.is_dir():
                return path
        return None

    def all(self) -> list[Path]:
        """Oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted((p for p in self.folder.iterdir() if _NAME.fullmatch(p.name)), key=_step)

    def _prune(self) -> None:
        keep = {*self.all()[-2:], self.best()}
        for path in self.all():
            if path not in keep:
                shutil.rmtree(path, ignore_errors=True)


def load_weights(checkpoint: Path) -> dict[str, Tensor]:
    """Weights of the whole chain; raises `RunFailed` for a file that is damaged."""
    try:
        return load_file(checkpoint / "model.safetensors")
    except Exception as error:  # safetensors raises its own Rust-side types
        raise RunFailed(f"{checkpoint / 'model.safetensors'}: cannot be read: {reason(error)}") from None


def load_states(checkpoint: Path, learners: int) -> tuple[Progress, list[dict[str, Any]]]:
    """Progress and one state per module and replica. No code is executed: `weights_only=True`."""
    try:
        progress = Progress(**json.loads((checkpoint / "progress.json").read_text()))
        progress.metrics = strict_json.numbers(progress.metrics)
        states = [torch.load(checkpoint / f"worker-{i}.pt", map_location="cpu", weights_only=True)
                  for i in range(learners)]
    except Exception as error:  # unpickling errors of any kind mean one thing: not a checkpoint of ours
        raise RunFailed(f"{checkpoint}: cannot be read: {reason(error)}") from None
    return progress, states


def _step(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1])


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_atomically(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    _flush(temporary)
    temporary.replace(path)
