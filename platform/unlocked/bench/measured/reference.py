"""The platform's backprop against a training loop written by hand in plain PyTorch: the same test metrics?

Every preset is trained twice for each seed: by `unlocked.train` under backprop, cut, scheduled and evaluated as the
preset says, and by `bench.plain`. Both begin with the same weights, read the same rows in the same order and draw the
same noise, so for most presets the two figures are the same to rounding by design, and a difference is a finding. What
may differ, by design too: `optimizer.clip_norm` clips the gradient of each module on the platform, of the whole network
here, as `optimizer.clip_global` does in both.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from safetensors.torch import load_file

from unlocked.bench.measured.measure import torch_threads
from unlocked.bench.measured.plain import OBJECTIVES, PlainRun
from unlocked.config import Config, load_config
from unlocked.errors import ConfigError
from unlocked.loop.train import train
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.schema.facts import value_of

TOLERANCE = 0.01  # relative
MATRIX = "studies/matrix"  # whose presets are compared if none are named
# what the plain loop does not do
_PLAIN: dict[str, Any] = {
    "objective": {},
    "data.easy_first": None,
    "train.precision": "fp32",
    "train.adversary.attack": "none",
    "train.curriculum": None,
    "train.patience": None,
    "transfer.freeze": False,
    "scheme.time.synthetic": False,
    "parallel.replicas": 1,
    "parallel.schedule": "locked",
}


@dataclass(frozen=True)
class Comparison:
    """One preset: its test loss and its metric, a value per seed of each."""

    preset: str
    metric: str
    seeds: list[int]
    platform: dict[str, list[float]]
    plain: dict[str, list[float]]

    @property
    def names(self) -> list[str]:
        return list(self.platform)

    def difference(self, name: str) -> float:
        """Relative, the greatest over the seeds."""
        return max(map(relative, self.platform[name], self.plain[name]))

    @property
    def holds(self) -> bool:
        return all(self.difference(name) <= TOLERANCE for name in self.names)

    def words(self) -> str:
        each = (
            f"{name} {fmean(self.platform[name]):.6g} and {fmean(self.plain[name]):.6g} "
            f"({self.difference(name):.2g} apart)"
            for name in self.names
        )
        return f"{self.preset}: test {', '.join(each)}"


def relative(value: float, reference: float) -> float:
    """|value - reference| / |reference|; infinite if one is no number.

    >>> relative(1.01, 1.0) < 0.0101, relative(0.0, 0.0), relative(float("nan"), 1.0)
    (True, 0.0, inf)
    """
    if value == reference:
        return 0.0
    apart = abs(value - reference) / abs(reference) if reference else math.inf
    return apart if math.isfinite(apart) else math.inf


def matrix_presets() -> list[str]:
    return list(load_config(MATRIX).sweep.space["preset"])


def compare(
    presets: Sequence[str],
    overrides: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    threads: int = 1,
    note: Callable[[str], None] = lambda text: None,
) -> list[Comparison]:
    """All configurations are checked before the first trains. Raises `ConfigError` for what the plain loop lacks."""
    configs = {preset: [_config(preset, overrides, seed, threads) for seed in seeds] for preset in presets}
    found = []
    with torch_threads(threads):
        for preset, each in configs.items():
            found.append(_compare(preset, each))
            note(found[-1].words())
    return found


def _config(preset: str, overrides: Sequence[str], seed: int, threads: int) -> Config:
    config = load_config(
        preset,
        [
            "scheme.name=backprop",
            "parallel.device=cpu",
            f"parallel.threads={threads}",
            f"seed={seed}",
            "tracking.uri=off",
            "train.probe_every=0",
            *overrides,
        ],
    )
    for key, plain in _PLAIN.items():
        given = value_of(config, key)
        if given != plain:
            raise ConfigError(f"{key}: {given} in {preset}, but the plain loop of bench reference has only {plain}")
    return config


def _compare(preset: str, configs: Sequence[Config]) -> Comparison:
    task = make_plan(configs[0], load_data(configs[0])).task
    if task not in OBJECTIVES:
        raise ConfigError(f"task: bench reference knows no plain objective of {task}")
    pairs = [_both(config) for config in configs]
    measured = pairs[0][1]
    promised = [name.removeprefix("test/") for bounds in configs[0].expect.values() for name in bounds]
    metric = next(name for name in [*promised, OBJECTIVES[task].monitor] if name in measured)
    names = list(dict.fromkeys(["loss", metric]))
    return Comparison(
        preset,
        metric,
        [config.seed for config in configs],
        {name: [ours[f"test/{name}"] for ours, _ in pairs] for name in names},
        {name: [plain[name] for _, plain in pairs] for name in names},
    )


def _both(config: Config) -> tuple[dict[str, float], dict[str, float]]:
    """Test metrics of the platform's run, and of the plain one from the weights with which that began."""
    with tempfile.TemporaryDirectory(prefix="unlocked-bench-") as runs:
        config.tracking.runs = runs
        summary = train(config)
        began_with = Path(summary["run_dir"]) / "initial.safetensors"
        weights = load_file(began_with) if began_with.exists() else None
    data = load_data(config)
    return summary["metrics"], PlainRun(make_plan(config, data), data, weights).complete()
