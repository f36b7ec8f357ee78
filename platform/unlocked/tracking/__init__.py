"""Tracking: what a run records, how it reaches MLflow, and how runs are compared afterwards.

The training process writes JSON lines into its own run folder (`Recorder`) and never imports MLflow. One
writer process per run, or one for all the runs of a study (`StudyRuns`), carries them to the tracking server
(`Tracker` starts it); what could not be sent stays in the folder and follows with the next command
(`sync_leftovers`).
"""

from unlocked.security import redact
from unlocked.tracking.leftovers import adopt, sync_leftovers
from unlocked.tracking.spawn import StudyRuns, StudyTracking
from unlocked.tracking.spool import Recorder, read
from unlocked.tracking.tags import collect_tags, flatten
from unlocked.tracking.tracker import Tracker
from unlocked.tracking.ui import serve
from unlocked.tracking.uris import resolve_uri

__all__ = [
    "Recorder",
    "StudyRuns",
    "StudyTracking",
    "Tracker",
    "adopt",
    "collect_tags",
    "flatten",
    "read",
    "redact",
    "resolve_uri",
    "serve",
    "sync_leftovers",
]
