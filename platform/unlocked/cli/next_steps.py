"""Commands that are printed to be pasted: they mean the same in any folder and any shell."""

from __future__ import annotations

import shlex
from pathlib import Path

from unlocked.files import read_json
from unlocked.schema.keys import TrackingConfig
from unlocked.security import redact
from unlocked.tracking import resolve_uri
from unlocked.tracking.folder import TrackingFolder
from unlocked.tracking.uris import OFF, split_credentials
from unlocked.tracking.views import RESULTS, links, run_link

DASHBOARD = "http://127.0.0.1:5000"  # where `unlocked ui` opens it, if not told otherwise


def command(*words: str | Path) -> str:
    """`unlocked ...`, quoted; paths are absolute.

    >>> command("train", "--resume", Path("/srv/my runs/one"))
    "unlocked train --resume '/srv/my runs/one'"
    """
    return "unlocked " + shlex.join(str(word.absolute() if isinstance(word, Path) else word) for word in words)


def looking(tracking: TrackingConfig, *compare: str, folder: Path | None = None, view: str = RESULTS) -> str:
    """How to look at runs that are tracked there; empty if nothing is. A password is left out of an address.

    `compare`: more words for that command. `folder`: of a run or a study; then also the links to a view of its
    experiment and to its own page, set in below the command that opens the dashboard.
    """
    if tracking.uri == OFF:
        return ""
    uri = resolve_uri(tracking.uri, Path(tracking.runs))
    store = ["--runs", Path(tracking.runs)] if tracking.uri is None else ["--uri", redact(uri)]
    names = [word for word in compare if not word.startswith("--")]
    told = {"compare": ["compare", *compare], "report": ["report", *names], "dashboard": ["ui"]}
    lines = [f"{what}: {command(*words, *store)}" for what, words in told.items()]
    known = read_json(TrackingFolder(folder).mlflow) if folder is not None else {}
    if all(isinstance(known.get(key), str) for key in ("experiment_id", "run_id")):
        url = split_credentials(uri)[0].rstrip("/") if uri.startswith(("http://", "https://")) else DASHBOARD
        named = dict(links(url, known["experiment_id"], with_trials=True))
        lines += [f"  {name.lower()}: {named[name]}" for name in (view.capitalize(),) if name in named]
        lines.append(f"  its page: {url}/{run_link(known['experiment_id'], known['run_id'])}")
    return "\n  ".join(lines)
