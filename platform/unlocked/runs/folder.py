"""The folder of one run: its resolved configuration, checkpoints, figures, and what tracking keeps there.

runs/<name>-<scheme>-s<seed>-<time>/config.yaml  checkpoints/  figures/  tracking/  summary.json
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from shlex import quote
from typing import IO, Any

from unlocked import strict_json
from unlocked.config import Config, from_tree, read_tree, to_dict, to_yaml
from unlocked.config.yaml12 import read_file
from unlocked.data import DataSet
from unlocked.data.new.reading import FILE as INPUTS
from unlocked.data.new.reading import Reading
from unlocked.errors import ConfigError, DataError, RunFailed, UnlockedError
from unlocked.files import DISK_ERRORS, PRIVATE, clear_parts, read_json, write_json, write_whole
from unlocked.schema.keys import TrackingConfig
from unlocked.security import MASK, is_signed, redact, sign, unmask, variable_of
from unlocked.tracking import flatten
from unlocked.tracking.uris import OFF

ADDRESSES = "tracking/addresses.json"
_ADDRESSES = ("uri", "mirror")  # keys of tracking
MODEL = "model"  # a folder, the run as an MLflow model
FACTS = {  # of a run's summary, recorded at its end: metric, and key of the summary
    "model/parameters": "parameters",
    "train/epochs": "epochs",
    "best/step": "best_step",
    "time/median_steps_per_second": "steps_per_second",
    "time/train_seconds": "train_seconds",
    "time/first_step_seconds": "seconds_to_first_step",
    "time/total_seconds": "seconds",
    "time/restarts": "restarts",
}
TOKENS = "tokenizer.json"  # in the format of the `tokenizers` library
TARGET_TOKENS = "target_tokenizer.json"  # of targets, if theirs is another


def _refuse_links(path: Path) -> None:
    """A run folder may be somebody else's. Raises `ConfigError` for a link in it that a run which goes on would write
    through, or copy the target of; `checkpoints` may lie on another disk, and `tracking` follows none itself."""
    within = [each for each in path.iterdir() if each.name not in ("checkpoints", "tracking", "lock")]
    found = next((each for top in within for each in (top, *_inside(top)) if each.is_symlink()), None)
    if found is not None:
        raise ConfigError(f"{found}: is a link, which a run that goes on would follow; move it away")


def _inside(folder: Path) -> Iterator[Path]:
    return folder.rglob("*") if folder.is_dir() and not folder.is_symlink() else iter(())


class RunFolder:
    """A run folder held by this process; a second process that opens it is refused."""

    def __init__(self, path: Path):
        self.path = path
        self._lock: IO[str] | None = None

    @classmethod
    def create(cls, config: Config) -> RunFolder:
        """A new folder under `tracking.runs`; raises `ConfigError` if none can be made."""
        root = Path(config.tracking.runs)
        stem = f"{plain(config.name)}-{config.scheme.name}-s{config.seed}-{time.strftime('%Y%m%d-%H%M%S')}"
        try:
            root.mkdir(parents=True, exist_ok=True)
            path = root / stem
            for number in range(2, 10_000):  # several runs of one second
                try:
                    path.mkdir()
                    break
                except FileExistsError:
                    path = root / f"{stem}-{number}"
            folder = cls(path)
            folder._hold()
            write_config(config, path / "config.yaml")
            keep_addresses(path, asdict(config.tracking))
        except OSError as error:
            raise ConfigError(f"tracking.runs: {root} cannot be written: {error.strerror}") from None
        return folder

    @classmethod
    def open(
        cls, path: Path, patience: float = 0.0, addresses: TrackingConfig | None = None
    ) -> tuple[RunFolder, Config]:
        """An existing run, to go on with, and its configuration.

        `patience`: seconds to wait for another process that holds it. `addresses`: the user's own, with the
        passwords that the folder does not keep; else the environment has them (`unmask`).
        """
        config = from_tree(read_config(path))
        _refuse_links(path)
        config = _addresses(config, path, addresses)
        folder = cls(path)
        try:
            folder._hold(patience)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
        for place in (path, path / "checkpoints"):  # ours alone now; a writer may be at work in tracking/
            clear_parts(place)
        return folder, config

    @property
    def name(self) -> str:
        return self.path.name

    def write_summary(self, summary: dict[str, Any]) -> Path:
        return write_whole(self.path / "summary.json", strict_json.dumps(summary, indent=1))

    def release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _hold(self, patience: float = 0.0) -> None:
        place, deadline = self.path / "lock", time.monotonic() + patience
        if place.exists() and not place.is_file():
            raise ConfigError(f"{place}: not a file; move it away")
        # a link that came with the folder would have another file emptied
        lock = os.fdopen(os.open(place, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666), "a+")
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() < deadline:
                    time.sleep(0.2)
                    continue
                lock.seek(0)
                holder = lock.read().strip() or "another process"
                lock.close()
                raise UnlockedError(f"{self.path} is being trained by process {holder}") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock


def write_config(config: Config, path: Path) -> Path:
    """Without the passwords of its addresses; what a user's data or model needs as one stays, its owner's alone."""
    secrets = MASK in flatten(to_dict(config)).values()
    return write_whole(path, to_yaml(config), PRIVATE if secrets else None)


def read_config(path: Path) -> dict[str, Any]:
    """The configuration that a run folder was made from; `ConfigError` if it is none."""
    file = path / "config.yaml"
    try:
        text = read_file(file)
    except OSError:
        newest = _begins_so(path)
        hint = f"; the newest run that begins so: {newest}" if newest is not None else ""
        raise ConfigError(f"{path} is not a run folder (no config.yaml can be read there){hint}") from None
    return parse_config(text, str(path))


def _begins_so(path: Path) -> Path | None:
    """The newest run beside `path` whose name goes on from its own, also from `runs/wine-...` as pages write it."""
    begun = path.name.rstrip(".…")
    with suppress(OSError):
        beside = [each for each in path.parent.iterdir() if begun and each.name.startswith(begun)]
        runs = [each for each in beside if (each / "config.yaml").is_file()]
        return max(runs, key=lambda each: (each / "config.yaml").stat().st_mtime, default=None)
    return None


def parse_config(text: str, run: str) -> dict[str, Any]:
    """What the config.yaml of a `run` holds; `ConfigError` if it holds no configuration."""
    tree = read_tree(text, f"{run}/config.yaml")
    if not tree:
        raise ConfigError(f"{run}/config.yaml: expected keys and values, found none")
    return tree


def keep_tokens(run_dir: Path, data: DataSet) -> None:
    """Writes down what the ids of a text stand for: a tokeniser is fitted to its data, which may change."""
    for name, stored in ((TOKENS, data.tokenizer), (TARGET_TOKENS, data.target_tokenizer)):
        if stored is not None:
            write_whole(run_dir / name, stored)


def keep_inputs(run_dir: Path, data: DataSet) -> None:
    """Writes down how inputs were read, so that new ones are read the same way without the data set."""
    if data.loaded is not None and not (run_dir / INPUTS).exists():
        Reading.of(data).write(run_dir)


def check_tokens(run_dir: Path, data: DataSet) -> None:
    """Raises `DataError` if ids stand for something else than they did in training."""
    for name, stored in ((TOKENS, data.tokenizer), (TARGET_TOKENS, data.target_tokenizer)):
        kept = run_dir / name
        if kept.exists() and kept.read_bytes() != (stored or "").encode():
            raise DataError(
                f"{run_dir}: {data.name} has changed since, and its tokens with it; the network would misread them"
            )


@contextmanager
def one_line_when_full(run_dir: Path) -> Iterator[None]:
    """`RunFailed`, one line, if the disk takes no more, whatever was being written."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        raise RunFailed(
            f"{error.filename or run_dir}: cannot be written: {error.strerror}; {how_to_go_on(run_dir)}"
        ) from None


def how_to_go_on(run_dir: Path) -> str:
    """The end of a message: a command to be pasted into any shell, in any folder."""
    return f"go on with: unlocked train --resume {quote(str(run_dir.absolute()))}"


def keep_addresses(run_dir: Path, addresses: Mapping[str, Any]) -> None:
    """Signs where a run sends its records and its copy (keys `uri` and `mirror`), so that it may when it goes on."""
    value = {name: redact(str(addresses[name])) for name in _ADDRESSES if addresses.get(name) is not None}
    if not value:
        return
    with suppress(UnlockedError):  # no key can be kept here: the user will be asked again
        value = sign({"run": run_dir.name, **value})
    write_json(run_dir / ADDRESSES, value)


def _addresses(config: Config, run_dir: Path, given: TrackingConfig | None) -> Config:
    """With whole addresses in place of masked ones; raises `ConfigError` for one without its password, and for one that
    neither this user signed, nor the environment names: a run folder of somebody else may name any."""
    kept = read_json(run_dir / ADDRESSES)
    signed = kept if is_signed(kept) and kept.get("run") == run_dir.name else {}
    found = {}
    for name in _ADDRESSES:
        key, stored, own = f"tracking.{name}", getattr(config.tracking, name), getattr(given, name, None)
        if stored is None or stored == OFF:
            continue
        if own is not None and redact(own) == redact(stored):
            found[name] = own
        elif signed.get(name) == redact(stored):
            found[name] = unmask(key, stored)
        elif redact(os.environ.get(variable_of(key), "")) == redact(stored):
            found[name] = os.environ[variable_of(key)]
        else:
            raise ConfigError(
                f"{key}: {run_dir} is from elsewhere (not signed by this user) and would send to "
                f"{redact(stored)!r}; if you want that, set the environment variable {variable_of(key)} "
                "to this address"
            )
    return replace(config, tracking=replace(config.tracking, **found))


def plain(name: str) -> str:
    """A name as part of a folder's: no separators, so it cannot leave the runs folder."""
    return re.sub(r"[^\w.-]+", "-", name).strip(".-") or "run"
