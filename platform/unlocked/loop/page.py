"""What a run's page in the dashboard is made from: how to repeat it, what differs from its preset, its warnings."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from shlex import join
from typing import Any

from unlocked.config import Config, load_config, presets, to_dict
from unlocked.errors import ConfigError
from unlocked.loop.reporter import Reporter
from unlocked.plan.plan import Plan
from unlocked.tracking import flatten

_APART = ("name", "seed", "tracking.", "schemes.", "expect.", "sweep.", "parallel.partition")
_FIRST = ("learning_curves", "alignment", "sg_loss")  # of the figures


class Noting:
    """A reporter that keeps what the run had to say, for its page."""

    def __init__(self, inner: Reporter):
        self._inner, self.notes = inner, list[str]()

    def started(self, plan: Plan, run_dir: Path, step: int) -> None:
        self._inner.started(plan, run_dir, step)

    def segment(self, step: int, values: dict[str, float]) -> None:
        self._inner.segment(step, values)

    def epoch(self, epoch: int, values: dict[str, float]) -> bool | None:
        return self._inner.epoch(epoch, values)

    def note(self, text: str) -> None:
        self.notes.append(text)
        self._inner.note(text)

    def __getattr__(self, name: str) -> Any:  # what a reporter has beyond the protocol
        return getattr(self._inner, name)


def page_of(config: Config, plan: Plan, run_dir: Path, notes: list[str], is_trial: bool) -> dict[str, Any]:
    run_dir = run_dir.absolute()  # the page is read elsewhere
    preset, differs = (None, []) if is_trial else differences(config)
    again = [preset, *differs, f"seed={config.seed}"] if preset is not None else [str(run_dir / "config.yaml")]
    return {
        "kind": "run",
        "run_dir": str(run_dir),
        "repeat": f"unlocked train {join(again)}",
        "preset": preset,
        "differs": differs,
        "warnings": [note for note in notes if not note.startswith("tracking:")][:10],
        "figures": [path.stem for path in shown_figures(run_dir)],
        "model": (run_dir / "model").is_dir(),
        "direction": "max" if plan.make_task().higher_is_better else "min",
    }


def shown_figures(run_dir: Path) -> list[Path]:
    """The figures that the page shows."""
    drawn = {path.stem: path for path in sorted((run_dir / "figures").glob("*.png"))}
    names = [name for name in _FIRST if name in drawn] + [name for name in drawn if name not in _FIRST][:3]
    return [drawn[name] for name in names]


def differences(config: Config) -> tuple[str | None, list[str]]:
    """The preset of this name, and the overrides that make this configuration of it; None if there is none.

    >>> differences(load_config("quickstart", ["scheme.name=dfa", "train.epochs=3"]))
    ('quickstart', ['scheme.name=dfa', 'train.epochs=3'])
    """
    known = _presets()
    preset = next((name for name in (config.name, f"{config.name}/{config.scheme.name}") if name in known), None)
    if preset is None:
        return None, []
    try:
        plain = load_config(preset)
        scheme = [f"scheme.name={config.scheme.name}"] if plain.scheme.name != config.scheme.name else []
        base = flatten(to_dict(load_config(preset, scheme) if scheme else plain))
    except ConfigError:  # a file of somebody's ./experiments, or a scheme that this preset refuses
        return None, []
    own = flatten(to_dict(config))
    return preset, scheme + [
        f"{key}={value}" for key, value in own.items() if base.get(key) != value and not key.startswith(_APART)
    ]


@cache
def _presets() -> frozenset[str]:
    return frozenset(presets())
