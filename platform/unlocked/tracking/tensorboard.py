"""A run for TensorBoard: every metric at its step and time, its figures and its configuration."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from unlocked.errors import ConfigError, RunFailed
from unlocked.tracking.folder import TrackingFolder
from unlocked.tracking.spool import records

FOLDER = "tensorboard"
INSTALL = "pip install 'unlocked[tensorboard]'"


def write_events(run_dir: Path, folder: Path | None = None) -> Path:
    """The folder of its events, written anew: `tensorboard --logdir` takes it, or one above those of several runs.

    Raises `ConfigError` without the package tensorboard, and for a folder that holds no records of a run.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise ConfigError(f"--format: the package tensorboard is not installed: {INSTALL}")
    spool = TrackingFolder(run_dir).spool
    if not spool.is_file():
        raise ConfigError(f"{run_dir}: has no records of a run ({spool.relative_to(run_dir)})")
    from torch.utils.tensorboard import SummaryWriter

    folder = folder or run_dir / FOLDER
    try:
        for before in folder.glob("events.out.tfevents.*"):
            before.unlink()
        with SummaryWriter(str(folder)) as writer:
            last = 0
            for record in records(spool):
                if record["t"] == "metrics":
                    last = max(last, int(record["step"]))
                    for key, value in record["values"].items():
                        writer.add_scalar(key, float(value), int(record["step"]), record["time"] / 1000)
            for path in sorted((run_dir / "figures").glob("*.png")):
                writer.add_image(f"figures/{path.stem}", _pixels(path), last, dataformats="HWC")
            config = run_dir / "config.yaml"
            if config.is_file():
                text = config.read_text(encoding="utf-8")
                writer.add_text("config", "".join(f"    {line}\n" for line in text.splitlines()))  # Markdown's code
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise RunFailed(f"{folder}: cannot be written: {error.strerror}") from None
    return folder


def _pixels(path: Path) -> object:
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
