"""Tags by which MLflow and this platform speak of a run; the dashboard hides those that begin with `mlflow.`."""

from __future__ import annotations

NAME_TAG = "mlflow.runName"
COLOR_TAG = "mlflow.runColor"
NOTE_TAG = "mlflow.note.content"  # the description, as Markdown
CONFIG_TAG = "mlflow.unlocked.config"  # all params, packed (`params.py`)
SETTING_TAG = "mlflow.unlocked.setting"  # equal for runs that differ in scheme and seed alone
KIND_TAG, STUDY, TRIAL = "unlocked.kind", "study", "trial"  # a run that is neither has no such tag
BEST_TAG = "best"  # of a trial: yes or no, which is known when its study ends
STUDY_TAG = "study"  # of a study's own run alone: its name
DIRECTION_TAG = "mlflow.unlocked.direction"  # of the metric that the task follows: max or min
METRIC_TAG, SWEPT_TAG = "mlflow.unlocked.metric", "mlflow.unlocked.swept"  # of a study: what it follows, its keys
PAGE_TAG = "mlflow.unlocked.page"  # what a run's description was made from, packed
WRITTEN_TAG = "mlflow.unlocked.written"  # checksum of the description as it was written: another one is a user's
