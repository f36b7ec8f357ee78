"""The loader that MLflow calls for a run's model: from a configuration and safetensors to something with `predict`.

>>> import mlflow
>>> model = mlflow.pyfunc.load_model("runs/quickstart-cdni-s0-.../model")  # doctest: +SKIP
>>> model.predict(digits, params={"outputs": "raw"})  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unlocked.errors import ConfigError
from unlocked.runs.opened import Opened, as_new, open_trained
from unlocked_models.contract.registry import unknown

if TYPE_CHECKING:
    import numpy as np
    import pandas

OUTPUTS = ("table", "raw")


class Served:
    """Answers with the table of `unlocked predict`, or with what the net gives."""

    def __init__(self, opened: Opened):
        self.opened = opened

    def predict(self, inputs: Any, params: dict[str, Any] | None = None) -> pandas.DataFrame | np.ndarray:
        """`params={"outputs": "raw"}`: the numbers that `unlocked evaluate` measures, `(n, ...)`."""
        import pandas

        kind = (params or {}).get("outputs", OUTPUTS[0])
        if kind not in OUTPUTS:
            raise ConfigError(f"outputs: {unknown('kind', str(kind), list(OUTPUTS))}")
        new = as_new(self.opened, inputs)
        if kind == "raw":
            raw: np.ndarray = self.opened.outputs(new).numpy()
            return raw
        return pandas.DataFrame(self.opened.table(new))


def _load_pyfunc(path: str) -> Served:
    """MLflow's name for it."""
    return Served(open_trained(path))
