"""Writes the pages of a run that has ended, and of those that it is the control or the baseline of.

A description that somebody has changed in the dashboard stays as it is.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unlocked.files import read_json
from unlocked.tracking.folder import TrackingFolder
from unlocked.tracking.identity import BASELINE, CONTROL
from unlocked.tracking.keys import (
    BEST_TAG,
    DIRECTION_TAG,
    KIND_TAG,
    NOTE_TAG,
    PAGE_TAG,
    SETTING_TAG,
    TRIAL,
    WRITTEN_TAG,
)
from unlocked.tracking.pages import Peers, Ran, experiment_line, run_page, study_page
from unlocked.tracking.params import pack_any, unpack_any
from unlocked.tracking.views import run_link

_MOST = 50  # pages that are written anew for one run
_LONGEST = 7900  # bytes of a tag


def post_run(client: Any, experiment_id: str, run_id: str, page: Mapping[str, Any]) -> None:
    """The page of a run, those of its peers if they are compared with it, and the experiment's line."""
    run = ran(client.get_run(run_id))
    if (packed := pack_any(dict(page))) is not None:
        client.set_tag(run_id, PAGE_TAG, packed)
    peers = _peers(client, experiment_id, run)
    _write(client, run, run_page(run, peers, page))
    if run.scheme in (CONTROL, BASELINE):
        for other in [each for each in peers.runs if each.id != run_id][:_MOST]:
            known = unpack_any(other.tags.get(PAGE_TAG, ""))
            if isinstance(known, dict):
                _write(client, other, run_page(other, peers, known))
    if run.tags.get(KIND_TAG) == TRIAL and CONTROL not in peers.schemes():
        return  # one point of a search, which its study speaks of
    line = experiment_line(run, peers, run.tags.get(DIRECTION_TAG) == "min")
    known_tags = client.get_experiment(experiment_id).tags
    if _is_ours(known_tags):
        client.set_experiment_tag(experiment_id, NOTE_TAG, line)
        client.set_experiment_tag(experiment_id, WRITTEN_TAG, _mark(line))


def post_study(client: Any, experiment_id: str, run_id: str, page: Mapping[str, Any], folder: Path) -> None:
    """The page of a study, with links to the runs of its best trials; those of the best one are tagged."""
    links = {}
    before = f"tags.`unlocked.parent` = '{folder.name}' and tags.`{BEST_TAG}` = 'yes'"  # one that went on has another
    for each in client.search_runs([experiment_id], before) if "'" not in folder.name else ():
        client.set_tag(each.info.run_id, BEST_TAG, "no")
    for place, each in enumerate(page.get("best") or []):
        for name, _ in each["runs"]:
            known = read_json(TrackingFolder(folder.parent / Path(name).name).mlflow).get("run_id")
            if known:
                links[name] = run_link(experiment_id, known)
                if place == 0:
                    client.set_tag(known, BEST_TAG, "yes")
    _write(client, ran(client.get_run(run_id)), study_page(run_id, page, links))


def ran(run: Any) -> Ran:
    return Ran(run.info.run_id, run.data.tags, run.data.metrics)


def _peers(client: Any, experiment_id: str, run: Ran) -> Peers:
    setting = run.tags.get(SETTING_TAG)
    if setting is None:
        return Peers([run])
    found = client.search_runs(
        [experiment_id],
        f"tags.`{SETTING_TAG}` = '{setting}' and attributes.status = 'FINISHED'",
        max_results=500,
        order_by=["attributes.start_time DESC"],
    )
    return Peers([run, *(ran(each) for each in found if each.info.run_id != run.id)])


def _write(client: Any, run: Ran, text: str) -> None:
    if not _is_ours(run.tags):
        return
    while len(text.encode()) > _LONGEST and "\n\n" in text.strip():  # the last figures
        text = text.strip().rpartition("\n\n")[0] + "\n"
    client.set_tag(run.id, NOTE_TAG, text)
    client.set_tag(run.id, WRITTEN_TAG, _mark(text))


def _is_ours(tags: Mapping[str, str]) -> bool:
    """Whether there is no description, or the one that was written here."""
    return not tags.get(NOTE_TAG) or tags.get(WRITTEN_TAG) == _mark(tags[NOTE_TAG])


def _mark(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"
