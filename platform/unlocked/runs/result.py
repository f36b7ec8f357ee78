"""What `train` gives back: the summary of a run as a mapping, with what one asks of a run next.

>>> run = train(load_config("quickstart"))  # doctest: +SKIP
>>> run.metrics["test/accuracy"], run.figure("alignment"), run.model()  # doctest: +SKIP
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlocked.errors import ConfigError
from unlocked.files import read_json
from unlocked.strict_json import numbers
from unlocked.tracking import read
from unlocked_models.contract.registry import unknown

if TYPE_CHECKING:
    import pandas
    from torch import nn

    from unlocked.tasks.predicting import Columns


class Picture:
    """A PNG file: a path wherever one is wanted, and shown as it is in a notebook."""

    def __init__(self, path: Path):
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"Picture({str(self.path)!r})"

    def _repr_png_(self) -> bytes:
        return self.path.read_bytes()


def picture_of(name: str, folder: Path) -> Picture:
    """Raises `ConfigError` for a name that no figure in the folder has."""
    drawn = sorted(path.stem for path in folder.glob("*.png"))
    if name not in drawn:
        raise ConfigError(f"{folder}: {unknown('figure', name, drawn)}")
    return Picture(folder / f"{name}.png")


class Run(dict[str, Any]):
    """The summary of a finished run, as in its `summary.json`: `run["metrics"]["test/accuracy"]`."""

    @classmethod
    def of(cls, folder: str | Path) -> Run:
        """Of a run folder; raises `ConfigError` if no run has finished there."""
        file = Path(folder).absolute() / "summary.json"
        if not file.is_file():
            raise ConfigError(f"{folder}: no run has finished there (no summary.json)")
        summary = read_json(file)
        if not isinstance(summary.get("metrics"), dict):
            raise ConfigError(f"{file}: is damaged")
        return cls(summary | {"metrics": numbers(summary["metrics"]), "run_dir": str(file.parent)})

    @property
    def folder(self) -> Path:
        return Path(self["run_dir"])

    @property
    def metrics(self) -> Mapping[str, float]:
        """The latest value of each, those of the test split among them."""
        found: dict[str, float] = self["metrics"]
        return found

    def history(self) -> pandas.DataFrame:
        """Every metric by step, a column each; NaN at steps without one."""
        import pandas

        series = {name: pandas.Series(dict(points), dtype=float) for name, points in read(self.folder).items()}
        return pandas.DataFrame(series).sort_index().rename_axis("step")

    def figures(self) -> list[str]:
        """Names of those that were drawn."""
        return sorted(path.stem for path in (self.folder / "figures").glob("*.png"))

    def figure(self, name: str) -> Picture:
        """Such as `learning_curves` or `alignment`; raises `ConfigError` that names those there are."""
        return picture_of(name, self.folder / "figures")

    def model(self, weights: str = "best", net: str | None = None) -> nn.Sequential:
        """The plain trained net: `unlocked.load`."""
        from unlocked.runs.opened import load

        return load(self, net=net, weights=weights)

    def predict(self, inputs: Any) -> Columns:
        """What it says of new inputs: `unlocked.predict`."""
        from unlocked.runs.opened import predict

        return predict(self, inputs)

    def _repr_html_(self) -> str:
        tested = {name: f"{value:.4g}" for name, value in self.metrics.items() if name.startswith("test/")}
        facts = {"scheme": self.get("scheme"), "model": self.get("model"), "data": self.get("data")}
        rows = {**facts, "seed": self.get("seed"), **tested, "folder": self["run_dir"]}
        cells = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(str(v))}</td></tr>" for k, v in rows.items())
        return f"<table>{cells}</table>"
