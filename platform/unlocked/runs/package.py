"""A trained run as an MLflow model: a folder that `mlflow.pyfunc.load_model` and `mlflow models serve` take.

    runs/<run>/model/MLmodel    data/config.yaml  inputs.json  checkpoints/step-00001200/model.safetensors
                     input_example.json  serving_input_example.json  requirements.txt  python_env.yaml  conda.yaml

Written as MLflow documents the format, without MLflow, which only the writer of a run imports. The loader is
`unlocked.runs.served`: it makes the net of the configuration and fills in the weights; nothing is unpickled. Weights
are links to those of the checkpoint, and take no room.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
import uuid
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from unlocked import __version__, strict_json
from unlocked.data.new.inputs import TEXT
from unlocked.data.new.reading import FILE as INPUTS
from unlocked.data.new.reading import Reading
from unlocked.errors import UnlockedError
from unlocked.files import clear_parts, write_whole
from unlocked.runs.checkpoint import PROGRESS, WEIGHTS, Checkpoints
from unlocked.runs.digests import SUMS
from unlocked.runs.folder import MODEL, TOKENS
from unlocked.runs.needs import FILE as NEEDS
from unlocked.runs.opened import Opened, as_new, open_trained
from unlocked.tasks.phases import NET
from unlocked_models.contract.batch import EDGES, LENGTHS

DATA = "data"  # the folder that the loader is given
LOADER = "unlocked.runs.served"
MOST_ASKED = 500_000_000  # bytes of weights
PARAMS = [{"name": "outputs", "default": "table", "shape": None, "type": "string"}]


def package(run_dir: Path, weights: str = "best") -> Path | None:
    """Writes `model/` of a run, of its best or last weights; None if it has no checkpoint, or was made of a data set
    that nothing is known of. Raises `OSError` if the disk takes no more."""
    checkpoints = Checkpoints(run_dir)
    checkpoint = (checkpoints.best() if weights == "best" else None) or checkpoints.last()
    if checkpoint is None or not (run_dir / INPUTS).exists():
        return None
    folder = run_dir / MODEL
    shutil.rmtree(folder, ignore_errors=True)
    inner = folder / DATA / "checkpoints" / checkpoint.name
    inner.mkdir(parents=True)
    for name in ("config.yaml", INPUTS, TOKENS, NEEDS):
        if (run_dir / name).exists():
            shutil.copy2(run_dir / name, folder / DATA / name)
    for name in (WEIGHTS, PROGRESS, SUMS):
        _link(checkpoint / name, inner / name)
    write_whole(inner.parent / "best.json", json.dumps({"step": int(checkpoint.name.removeprefix("step-"))}))
    reading = Reading.read(run_dir)
    assert reading is not None
    _describe(folder, reading, _opened(folder / DATA, (checkpoint / WEIGHTS).stat().st_size))
    clear_parts(folder)
    return folder


def _opened(place: Path, size: int) -> Opened | None:
    """To ask it about an example; None for a net that would take long to, or cannot be made without being told more."""
    try:
        return open_trained(place) if size <= MOST_ASKED else None
    except UnlockedError:  # such as modules of the user's that nobody signed for
        return None


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


def _describe(folder: Path, reading: Reading, opened: Opened | None) -> None:
    """`MLmodel`, the example of an input and what it needs installed."""
    several = opened is not None and NET not in opened.trained.nets
    asked = not several and (reading.changed_by is None or reading.is_text)
    shown = _example(reading) if asked else None
    requirements = [f"unlocked=={__version__}", *_installed("torch", "mlflow", "safetensors", "numpy")]
    write_whole(folder / "requirements.txt", "\n".join(requirements) + "\n")
    python = platform.python_version()
    write_whole(
        folder / "python_env.yaml",
        f"python: {python}\nbuild_dependencies:\n- pip\n- setuptools\n- wheel\ndependencies:\n- -r requirements.txt\n",
    )
    pip = "".join(f"  - {each}\n" for each in requirements)
    write_whole(
        folder / "conda.yaml",
        f"channels:\n- conda-forge\ndependencies:\n- python={python}\n- pip\n- pip:\n{pip}name: mlflow-env\n",
    )
    model: dict[str, Any] = {
        "flavors": {
            "python_function": {
                "code": None,
                "data": DATA,
                "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
                "loader_module": LOADER,
                "python_version": python,
                "streamable": False,
            }
        },
        "mlflow_version": next((each.split("==")[1] for each in requirements if each.startswith("mlflow==")), None),
        "model_uuid": uuid.uuid4().hex,
        "run_id": None,
        "utc_time_created": time.strftime("%Y-%m-%d %H:%M:%S.000000", time.gmtime()),
    }
    if asked:
        model["signature"] = {"inputs": json.dumps(_inputs(reading)), "outputs": None, "params": json.dumps(PARAMS)}
    outputs = _outputs(opened, shown[0]) if shown is not None and opened is not None else None
    if shown is not None and (outputs is not None or opened is None):
        payload, served, kind = shown
        model["signature"]["outputs"] = outputs
        model["saved_input_example_info"] = {
            "artifact_path": "input_example.json",
            "serving_input_path": "serving_input_example.json",
            **kind,
        }
        write_whole(folder / "input_example.json", strict_json.dumps(served if kind["type"] != "ndarray" else payload))
        request = {"inputs" if kind["type"] == "ndarray" else "dataframe_split": served}
        write_whole(folder / "serving_input_example.json", strict_json.dumps(request))
    write_whole(folder / "MLmodel", strict_json.dumps(model, indent=1) + "\n")  # JSON is YAML


def _installed(*names: str) -> list[str]:
    found = []
    for name in names:
        try:
            found.append(f"{name}=={version(name).partition('+')[0]}")
        except PackageNotFoundError:
            continue
    return found


def _inputs(reading: Reading) -> list[dict[str, Any]]:
    """The signature's schema of inputs, as MLflow writes it."""
    if reading.is_text:
        return [{"type": "string", "name": TEXT, "required": True}]
    if reading.features is not None:
        return [{"type": "double", "name": name, "required": True} for name in reading.features]
    graph = any(extra.name == EDGES for extra in reading.extras)
    shape = [-1, *reading.shape[1:]] if graph else [-1, *reading.shape]
    x: dict[str, Any] = {"type": "tensor", "tensor-spec": {"dtype": reading.dtype, "shape": shape}}
    beside = [extra for extra in reading.extras if not graph or extra.name != LENGTHS]
    if not beside:
        return [x]
    tensors = [{"name": "x", **x}]
    for extra in beside:
        kind = str(extra.dtype).removeprefix("torch.")
        sizes = [2, -1] if extra.name == EDGES else [-1, *extra.shape]
        tensors.append({"name": extra.name, "type": "tensor", "tensor-spec": {"dtype": kind, "shape": sizes}})
    return tensors


def _example(reading: Reading) -> tuple[Any, Any, dict[str, Any]] | None:
    """Inputs of the test split as MLflow keeps them: the value, the same as it is written, and of which kind it is."""
    if not reading.shown or reading.extras:
        return None
    if reading.is_text:
        texts = reading.texts(np.array(reading.shown))
        return texts, _frame([TEXT], [[text] for text in texts]), {"type": "dataframe", "pandas_orient": "split"}
    if reading.features is not None:
        rows = [[float(each) for each in row] for row in reading.shown]
        return rows, _frame(reading.features, rows), {"type": "dataframe", "pandas_orient": "split"}
    return reading.shown, reading.shown, {"type": "ndarray"}


def _frame(columns: list[str], rows: list[Any]) -> dict[str, Any]:
    """As pandas splits it."""
    return {"columns": columns, "data": rows}


def _outputs(opened: Opened, payload: Any) -> str | None:
    """The schema of the table that it answers with; None if its outputs are numbers alone."""
    inputs = payload if opened.reading.is_text else np.array(payload, dtype=opened.reading.dtype)
    try:
        table = opened.table(as_new(opened, inputs))
    except UnlockedError:
        return None
    kinds = {str: "string", float: "double", int: "long"}
    return json.dumps(
        [{"type": kinds[type(column[0])], "name": name, "required": True} for name, column in table.items()]
    )
