"""What our processes tell MLflow before it is imported: no pickles, no telemetry, no long silent retries."""

from __future__ import annotations

MLFLOW_ENVIRONMENT = {
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",  # MLflow's default is true
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",  # a batch counts as sent when it has arrived
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the default 7 take minutes; the writer repeats
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # a queue nobody uses here
}
