"""The finished runs of a tracking store, and which of them are asked for: by experiment, name and values of keys."""

from __future__ import annotations

import contextlib
import difflib
import gc
import math
import os
import shlex
from collections.abc import Collection, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from unlocked.comparing.stored import StoredRun, of_database
from unlocked.errors import ConfigError, UnlockedError
from unlocked.metrics import by_module
from unlocked.network import spare_loopback
from unlocked.schema.renamed import now
from unlocked.security import redact, without_controls
from unlocked.tracking.environment import MLFLOW_ENVIRONMENT
from unlocked.tracking.identity import PLACE, TAG_OF, config_hash, identity
from unlocked.tracking.keys import KIND_TAG, STUDY
from unlocked.tracking.params import whole
from unlocked.tracking.store import WAY_OUT, opening
from unlocked.tracking.uris import NO_DATABASE, NOBODY, reachable, resolve_uri, sqlite_path

_FINISHED = "attributes.status = 'FINISHED'"


class FinishedRun:
    """A finished run, as comparing sees it: what it is (`identity`), where it ran (`place`), what it reached."""

    def __init__(self, run: StoredRun) -> None:
        self.tags, self.params = (
            {now(key): value for key, value in of.items()} for of in (run.tags, whole(run.params, run.tags))
        )
        self.id, self.started, self.experiment = run.id, run.started, run.experiment
        self.name = self.tags.get("unlocked.run") or run.name or self.tags.get("mlflow.runName", "")  # the run folder's
        self.metrics = run.metrics
        self.is_trial = "mlflow.parentRunId" in self.tags or "unlocked.parent" in self.tags
        self.is_study = self.tags.get(KIND_TAG) == STUDY  # the parent of its trials, which trained nothing
        self.seed = self.word("seed") or "-"
        self.identity = identity(self.params, self.tags)
        renamed = any(now(key) != key for key in run.params)  # its tag is a hash of the old names
        self.hash = (None if renamed else self.tags.get("config_hash")) or config_hash(self.params, self.tags)
        for of in (self.tags, self.params, self.identity):
            of.update({key: shown for key, value in of.items() if (shown := without_controls(value)) != value})
        self.name, self.seed = without_controls(self.name), without_controls(self.seed)
        self.place = tuple(self.word(key) for key in PLACE)

    def word(self, key: str) -> str:
        """The value of a tag or a configuration key, by either name; empty if it has none."""
        names = (TAG_OF.get(key, key), f"changed.{key}")
        return next((found for name in names if (found := self.tags.get(name))), "") or self.params.get(key, "")

    def final(self, metric: str) -> float | None:
        """Its last value; of a metric that only modules have, their mean."""
        if metric in self.metrics:
            return self.metrics[metric]
        modules = by_module(self.metrics, f"{metric}/").values()
        return math.fsum(modules) / len(modules) if modules else None


def finished_runs(source: str | Path, experiment: str | None = None) -> list[FinishedRun]:
    """All finished runs of a store, or of one experiment. Raises as `tracking.compare` does."""
    with _collecting_nothing():
        return [FinishedRun(run) for run in _search(source, experiment)]


@contextlib.contextmanager
def _collecting_nothing() -> Iterator[None]:
    """Without the garbage collector, which looks through all that was read again and again: of 1,000 runs 80,000
    objects of SQLAlchemy's, in 3.1 s of processor time with it and 0.8 s without."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def named(runs: Iterable[FinishedRun], names: Sequence[str]) -> list[FinishedRun]:
    """The runs of these configurations: a preset (`quickstart`, `mnist1d/cdni`), a configuration's `name` or a run
    folder's, with `*` and `?`."""
    wanted = [(name, _presets(name)) for name in names]
    return [run for run in runs if any(_is_named(run, name, presets) for name, presets in wanted)]


def _is_named(run: FinishedRun, name: str, presets: Collection[tuple[str, str | None]]) -> bool:
    own, scheme = run.word("name"), run.word("scheme")
    return any(fnmatchcase(known, name) for known in (own, run.name, f"{own}/{scheme}")) or (
        (own, scheme) in presets or (own, None) in presets
    )


def _presets(name: str) -> set[tuple[str, str | None]]:
    """The `name` that runs of the matching presets have, and their scheme if the preset is one of a scheme."""
    from unlocked.config import load_config, presets

    found: set[tuple[str, str | None]] = set()
    for preset in (known for known in presets() if fnmatchcase(known, name)):
        try:
            config = load_config(preset)
        except ConfigError:  # a file of somebody's ./experiments
            continue
        scheme = config.scheme.name
        found.add((config.name, scheme if preset.rpartition("/")[2] == scheme else None))
    return found


def where(runs: Sequence[FinishedRun], conditions: Sequence[str]) -> list[FinishedRun]:
    """The runs that fulfil `key=value` for all keys; of several values of one key any."""
    wanted: dict[str, list[str]] = {}
    for condition in conditions:
        key, equals, value = condition.partition("=")
        if not key or not equals:
            raise ConfigError(f"--where: {condition!r} is not key=value, such as scheme=cdni or optimizer.lr=1e-3")
        wanted.setdefault(key_of(runs, key, "--where"), []).append(value)
    return [
        run
        for run in runs
        if all(any(_agrees(run.word(key), value) for value in values) for key, values in wanted.items())
    ]


def key_of(runs: Sequence[FinishedRun], key: str, source: str) -> str:
    """The tag or configuration key that a word means: itself, or the only one that ends in it; of several the only one
    in which the runs differ. Old names are read as the present ones."""
    key = now(key)
    known = {name for run in runs for name in (*run.tags, *run.params)}
    if not runs or key in known or TAG_OF.get(key) in known:
        return key
    longer = sorted(name for name in known if name.endswith(f".{key}") and not name.startswith("changed."))
    varying = [name for name in longer if len({run.word(name) for run in runs}) > 1]
    if len(longer) == 1 or len(varying) == 1:
        return (varying or longer)[0]
    if longer:
        raise ConfigError(f"{source}: {key} may be {', '.join(longer)}; give more of it")
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"{source}: no run has a tag or param '{key}' (usual: model, scheme, dataset){hint}")


def _agrees(given: str, wanted: str) -> bool:
    if given == wanted:
        return True
    try:
        return float(given) == float(wanted)
    except ValueError:
        return fnmatchcase(given, wanted)


def _search(source: str | Path, experiment: str | None) -> list[StoredRun]:
    uri = address_of(source)
    if not reachable(uri, timeout=3.0):
        raise UnlockedError(NOBODY.format(redact(uri)))
    with opening(uri):
        database = sqlite_path(uri)
        known, runs = (of_database(database) if database is not None else None) or _of_mlflow(uri)
    if experiment is None:
        return runs
    if experiment not in known:
        names = ", ".join(sorted(known)) or "none"
        meant = named(map(FinishedRun, runs), [experiment])
        hint = f"; runs and studies of that name: --name {shlex.quote(experiment)}" if meant else ""
        raise ConfigError(f"--experiment: no experiment '{experiment}' in {redact(uri)} (known: {names}){hint}")
    return [run for run in runs if run.experiment == known[experiment]]


def _of_mlflow(uri: str) -> tuple[dict[str, str], list[StoredRun]]:
    """As `of_database`, of any store."""
    spare_loopback()
    for name, value in MLFLOW_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient
    from sqlalchemy.exc import SQLAlchemyError

    try:
        client = MlflowClient(uri)
        known = {found.name: str(found.experiment_id) for found in client.search_experiments()}
        runs: list[StoredRun] = []
        token = None
        while True:
            page = client.search_runs([*known.values()], _FINISHED, page_token=token, max_results=1000)
            runs += map(_stored, page)
            if not (token := page.token):
                return known, runs
    except (MlflowException, SQLAlchemyError) as error:
        reason = redact(" ".join(str(error).split()))[:200]
        way_out = f"; {WAY_OUT}" if sqlite_path(uri) is not None else ""
        raise UnlockedError(f"cannot read runs from {redact(uri)}: {reason}{way_out}") from error


def _stored(run: Any) -> StoredRun:
    info, data = run.info, run.data
    started = info.start_time or 0
    return StoredRun(
        info.run_id, info.run_name or "", str(info.experiment_id), started, data.tags, data.params, data.metrics
    )


def address_of(source: str | Path) -> str:
    """Of a store by its address, or of the runs root that its database lies in."""
    text = str(source)
    uri = resolve_uri(text, Path()) if "://" in text else resolve_uri(None, Path(text))
    database = sqlite_path(uri)
    if database is not None and not database.exists():
        raise UnlockedError(NO_DATABASE.format(database))
    return uri
