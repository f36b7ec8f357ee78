"""One MLflow run as the writer sees it: created once, filled in bounded batches, closed with a status.

Only the writer process imports this module's MLflow. Everything sent here may be sent again after a crash:
points keep their timestamps (MLflow drops identical ones), params already there are not repeated, tags and
artifacts overwrite themselves.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from unlocked import strict_json
from unlocked.files import read_json, write_json
from unlocked.security import is_signed, redact, sign
from unlocked.tracking.datasets import log_data
from unlocked.tracking.folder import TrackingFolder
from unlocked.tracking.keys import CONFIG_TAG, NAME_TAG, STUDY
from unlocked.tracking.params import pack
from unlocked.tracking.postings import post_run, post_study
from unlocked.tracking.store import opening
from unlocked.tracking.uris import artifact_root
from unlocked.tracking.views import keep as keep_views
from unlocked.tracking.views import shape_after

# Limits of MLflow 3.17 (mlflow/utils/validation.py); text is cut in bytes, to be safe
METRICS_PER_BATCH, ENTRIES_PER_BATCH = 1000, 100
KEY_LENGTH, PARAM_LENGTH, TAG_LENGTH, BATCH_BYTES = 250, 6000, 8000, 800_000
_REFUSED = "INVALID_PARAMETER_VALUE"  # the one code that a database in trouble does not give


class Point(NamedTuple):
    key: str
    value: float
    timestamp: int
    step: int


class RunGone(Exception):
    """The MLflow run no longer exists (another database, or deleted for good): it has to be made again."""


class RunDeleted(Exception):
    """Somebody deleted the run in MLflow: their word counts, nothing more is sent."""


class Sink:
    """Creates or finds the MLflow run of `run_dir` and sends to it; raises what MLflow raises."""

    def __init__(self, run_dir: Path, uri: str, experiment: str, runs_root: Path) -> None:
        self.run_dir, self.uri, self.experiment, self.runs_root = run_dir, uri, experiment, runs_root
        self._files = TrackingFolder(run_dir)
        self._client: Any = None
        self._failures: Counter[str] = Counter()
        self._tags: dict[str, str] = {}
        self.run_id = self._experiment = ""

    def open(self, spool_id: str, start: Mapping[str, Any]) -> bool:
        """Connect and have a run; True when it is new, so that everything must be sent again."""
        from mlflow.tracking import MlflowClient

        with opening(self.uri):  # migrations of several first users collide
            self._client = MlflowClient(self.uri)
            self._experiment = experiment_id = self._experiment_id()
        known = read_json(self._files.mlflow)
        if not is_signed(known):  # somebody else's word, or a damaged one
            known = {}
        if known.get("uri") == redact(self.uri) and known.get("experiment") == self.experiment:
            self.run_id = known["run_id"]
            if (stage := self._lifecycle()) == "active":
                return False
            if stage == "deleted":
                raise RunDeleted(self.run_id)
        found = self._search(experiment_id, spool_id)
        self.run_id = found or self._create(experiment_id, spool_id, start)
        place = {"run_id": self.run_id, "experiment_id": experiment_id, "experiment": self.experiment}
        write_json(self._files.mlflow, sign({**place, "uri": redact(self.uri)}))
        return True

    def resume(self) -> None:
        """Mark the run as running again."""
        self._try(["RUNNING"], lambda part: self._client.update_run(self.run_id, status=part[0]))

    def start(
        self,
        params: Mapping[str, str],
        tags: Mapping[str, str],
        shown: Sequence[str] | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        """Params, tags and the data set. A param keeps its first value; a changed one becomes tag `changed.<param>`.

        Only params that are `shown` (default: all) are sent as such; all of them are one hidden tag.
        """
        from mlflow.entities import Param, RunTag

        stored: dict[str, str] = {}
        self._try(["params"], lambda _: stored.update(self._client.get_run(self.run_id).data.params))
        wanted = {_entity_key(key): _cut(value, PARAM_LENGTH) for key, value in params.items()}
        moved = [key for key, value in wanted.items() if stored.get(key, value) != value]
        changed = {f"changed.{key}": wanted[key] for key in moved}
        packed = pack(params)
        chosen = wanted if shown is None or packed is None else {_entity_key(str(key)) for key in shown}
        new = [Param(key, value) for key, value in wanted.items() if key in chosen and key not in stored]
        self._send(new, lambda part: self._client.log_batch(self.run_id, params=part))
        self._tags = dict(tags)
        pairs = {**tags, **changed, **self._parent(wait=5.0)}
        pairs.pop(NAME_TAG, None)  # given when the run was made; another one is a user's
        pairs |= {CONFIG_TAG: packed} if packed is not None and len(new) + len(stored) < len(wanted) else {}
        entries = [RunTag(_entity_key(key), _cut(value, TAG_LENGTH)) for key, value in pairs.items()]
        self._send(entries, lambda part: self._client.log_batch(self.run_id, tags=part))
        self._dress(tags)
        if data:
            self._try([data], lambda _: log_data(self._client, self.run_id, data))

    def _dress(self, tags: Mapping[str, str]) -> None:
        """The views of the experiment; a dashboard can do without them."""
        try:
            keep_views(self._client, self._experiment, lambda shape: shape_after(shape, tags, self.run_dir.name))
        except Exception as error:
            warn(f"views of the experiment: {type(error).__name__}: {error}")

    def _post(self, page: Mapping[str, Any]) -> None:
        """The description of the run or the study."""
        try:
            if page.get("kind") == STUDY:
                post_study(self._client, self._experiment, self.run_id, page, self.run_dir)
            else:
                post_run(self._client, self._experiment, self.run_id, page)
        except Exception as error:
            warn(f"description of the run: {type(error).__name__}: {error}")

    def points(self, points: Sequence[Point]) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(_entity_key(p.key), p.value, p.timestamp, p.step) for p in points]
        for first in range(0, len(metrics), METRICS_PER_BATCH):
            batch = metrics[first : first + METRICS_PER_BATCH]
            self._try(batch, lambda part: self._client.log_batch(self.run_id, metrics=part))

    def artifact(self, path: str, folder: str) -> None:
        """A file or directory of the run folder; given up after three failures at a server that answers otherwise."""
        source = self.run_dir / path
        if not _is_inside(source, self.run_dir):
            warn(f"artifact {source} is gone, or leads out of the run folder: not sent")
            return
        upload = self._client.log_artifacts if source.is_dir() else self._client.log_artifact
        try:
            self._try([source], lambda _: upload(self.run_id, str(source), folder or None))
            if (source / "MLmodel").is_file():
                self._tell_of_model(read_json(source / "MLmodel"), folder)
        except (RunGone, RunDeleted):
            raise
        except Exception as error:
            self._client.get_run(self.run_id)  # raises when it is the server that is away
            self._failures[path] += 1
            if self._failures[path] < 3:
                raise
            warn(f"artifact {source} could not be stored, left out: {error}")

    def _tell_of_model(self, model: Mapping[str, Any], folder: str) -> None:
        """The tag by which MLflow's pages know that this folder of artifacts is a model."""
        told = {key: model.get(key) for key in ("utc_time_created", "model_uuid", "mlflow_version", "flavors")}
        entry = {"run_id": self.run_id, "artifact_path": folder, **told}
        self._client.set_tag(self.run_id, "mlflow.log-model.history", strict_json.dumps([entry]))

    def finish(
        self,
        status: str,
        end_ms: int | None,
        summary: Mapping[str, Any] | None,
        page: Mapping[str, Any] | None = None,
    ) -> None:
        if summary is not None:
            with tempfile.TemporaryDirectory() as draft:
                file = Path(draft) / "summary.json"
                file.write_text(strict_json.dumps(summary, indent=2))
                self._try([file], lambda _: self._client.log_artifact(self.run_id, str(file)))
        for key, value in self._parent(wait=0.0).items():
            self._client.set_tag(self.run_id, key, value)
        self._try([status], lambda part: self._client.set_terminated(self.run_id, part[0], end_ms))
        if page is not None:
            self._post(page)

    def _experiment_id(self) -> str:
        from mlflow.exceptions import MlflowException

        if (experiment := self._client.get_experiment_by_name(self.experiment)) is None:
            root = artifact_root(self.uri, self.runs_root)
            place = None if root is None else (root / _entity_key(self.experiment).replace("/", "_")).as_uri()
            try:
                # the kind says that these are training runs, not language-model traces
                kind = {"mlflow.experimentKind": "custom_model_development"}
                made: str = self._client.create_experiment(self.experiment, artifact_location=place, tags=kind)
                return made
            except MlflowException:  # another machine created it between the two calls
                experiment = self._client.get_experiment_by_name(self.experiment)
                if experiment is None:
                    raise
        if experiment.lifecycle_stage == "deleted":
            warn(f"experiment '{self.experiment}' was deleted in MLflow: restored, to take this run")
            self._client.restore_experiment(experiment.experiment_id)
        out: str = experiment.experiment_id
        return out

    def _search(self, experiment_id: str, spool_id: str) -> str | None:
        """A run made just before a crash, its id not yet on disk; the spool's id makes the name unique."""
        name = _cut(self.run_dir.name, TAG_LENGTH).replace("'", "")
        wanted = f"tags.`unlocked.run` = '{name}' and tags.`unlocked.spool` = '{spool_id}'"
        found = self._client.search_runs([experiment_id], wanted, max_results=1)
        return found[0].info.run_id if found else None

    def _create(self, experiment_id: str, spool_id: str, start: Mapping[str, Any]) -> str:
        name, given = self.run_dir.name, start.get("tags", {})
        # the dashboard shows tags in the order in which they came: our own marks last
        tags = {_entity_key(key): _cut(value, TAG_LENGTH) for key, value in given.items() if key != NAME_TAG}
        tags |= {"unlocked.run": _cut(name, TAG_LENGTH).replace("'", ""), "unlocked.spool": spool_id}
        shown = given.get(NAME_TAG) or name
        run = self._client.create_run(experiment_id, start.get("time"), tags=tags, run_name=_cut(shown, KEY_LENGTH))
        out: str = run.info.run_id
        return out

    def _parent(self, wait: float) -> dict[str, str]:
        """`unlocked.parent`: the parent's run folder, whose own writer knows the MLflow id."""
        if "unlocked.parent" not in self._tags or "mlflow.parentRunId" in self._tags:
            return {}
        folder = TrackingFolder(self.run_dir.parent / Path(self._tags["unlocked.parent"]).name)
        deadline = time.monotonic() + wait
        while not (known := read_json(folder.mlflow).get("run_id")) and time.monotonic() < deadline:
            time.sleep(0.1)
        if known:
            self._tags["mlflow.parentRunId"] = known
        return {"mlflow.parentRunId": known} if known else {}

    def _lifecycle(self) -> str | None:
        """'active' or 'deleted'; None when MLflow does not know the run."""
        from mlflow.exceptions import MlflowException

        try:
            out: str | None = self._client.get_run(self.run_id).info.lifecycle_stage
            return out
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def _send(self, entries: Sequence[Any], call: Callable[[Sequence[Any]], object]) -> None:
        for batch in _bounded(entries):
            self._try(batch, call)

    def _try(self, batch: Sequence[Any], call: Callable[[Sequence[Any]], object]) -> None:
        """Send; what MLflow refuses for good is halved down to one entry, which is logged and left out."""
        from mlflow.exceptions import MlflowException

        if not batch:
            return
        try:
            call(batch)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise RunGone(str(error)) from error
            if error.error_code != _REFUSED:
                raise
            if self._lifecycle() == "deleted":
                raise RunDeleted(self.run_id) from error
            if len(batch) == 1:
                warn(f"MLflow refused {batch[0]}: {error}")
                return
            middle = len(batch) // 2
            self._try(batch[:middle], call)
            self._try(batch[middle:], call)


def _is_inside(path: Path, folder: Path) -> bool:
    """Whether a file, or a directory with all it holds, lies in `folder`, with every link followed."""
    home = folder.resolve()
    try:
        return all(
            each.resolve(strict=True).is_relative_to(home)
            for each in (path, *(path.rglob("*") if path.is_dir() else ()))
        )
    except (OSError, ValueError, RuntimeError):  # gone, unprintable, or a link to itself
        return False


def warn(text: str) -> None:
    """One line in the writer's log."""
    line = " ".join(redact(str(text)).split())
    print(time.strftime("%H:%M:%S"), line[:1000], file=sys.stderr, flush=True)


def _entity_key(key: str) -> str:
    """A name MLflow accepts: word characters, `/ . - : space`, and the same name when read as a path.

    A longer one than `KEY_LENGTH` ends in a digest of it, so that two that begin alike stay two.
    """
    clean = posixpath.normpath(re.sub(r"[^/\w.\- :]", "_", key)).lstrip("/")
    while clean.startswith("../") or clean in (".", ".."):
        clean = clean.removeprefix("../") if clean.startswith("../") else "_"
    if len(clean) > KEY_LENGTH:
        digest = hashlib.sha256(key.encode(errors="replace")).hexdigest()[:12]
        clean = f"{clean[: KEY_LENGTH - 13]}-{digest}"
    return clean or "_"


def _cut(text: str, length: int) -> str:
    """`text` in at most `length` bytes, the cut marked."""
    raw = text.encode()
    return text if len(raw) <= length else raw[: length - 3].decode(errors="ignore") + "..."


def _bounded(entries: Sequence[Any]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    size = 0
    for entry in entries:
        weight = len(entry.key.encode()) + len(entry.value.encode()) + 40
        if batch and (len(batch) == ENTRIES_PER_BATCH or size + weight > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += weight
    if batch:
        yield batch
