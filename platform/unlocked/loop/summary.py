"""The end of a run: its figures, its summary, and what of it is kept as artifacts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import median
from typing import Any

from unlocked.drawing.inline import INLINE, inline_copies
from unlocked.loop.page import shown_figures
from unlocked.loop.report import draw_figures
from unlocked.loop.timeline import keep_timeline
from unlocked.loop.trainer import Tested, Trainer
from unlocked.runs.folder import FACTS
from unlocked.runs.package import package


def summarise(trainer: Trainer, tested: Tested, restarts: int) -> dict[str, Any]:
    """Draws the figures, writes the summary and records both with the weights; gives the summary."""
    p, config, plan, folder = trainer.progress, trainer.config, trainer.plan, trainer.folder
    recorder = trainer.tracker.recorder
    if config.tracking.figures:
        for path in draw_figures(folder.path, plan, trainer.data, tested.outputs, tested.network):
            recorder.artifact(path, "figures")
    for path in keep_timeline(trainer):
        recorder.artifact(path, "figures")
    if shown := shown_figures(folder.path):
        recorder.artifact(inline_copies(shown, folder.path / "figures" / INLINE), f"figures/{INLINE}")
    summary = {
        "run": folder.name,
        "run_dir": str(folder.path),
        "mlflow_run_id": None,
        "data": config.data.name,
        "model": config.model["name"],
        "scheme": config.scheme.name,
        "modules": plan.modules,
        "replicas": config.parallel.replicas,
        "lag": plan.lag,
        "engine": plan.engine,
        "seed": config.seed,
        "setting": trainer.tracker.setting,
        "steps": p.step,
        "epochs": p.step // plan.steps_per_epoch,
        "parameters": sum(plan.parameters),
        "tested": tested.weights,
        "tested_on": trainer.data.tested_on,
        "stopped": p.stopped_because,
        "metrics": dict(trainer.metrics),
        "steps_per_second": median(trainer.rates) if trainer.rates else None,
        "wait_fraction": [w / p.train_seconds for w in p.waited or []] if p.train_seconds else None,
        "train_seconds": p.train_seconds,
        "seconds_to_first_step": trainer.to_first_step,
        "restarts": restarts,
        "seconds": time.time() - trainer.started,
    }
    recorder.metrics(p.step, facts(summary, p.best_step))
    recorder.artifact(folder.path / "config.yaml")
    model = package(folder.path, tested.weights)
    if model is not None:
        recorder.artifact(model, model.name)
    recorder.artifact(folder.write_summary(summary))
    return summary


def facts(summary: Mapping[str, Any], best_step: int | None) -> dict[str, float]:
    """Of the summary what is a number, under the names of metrics: columns of the dashboard, and axes of its charts."""
    known = {name: {**summary, "best_step": best_step}[key] for name, key in FACTS.items()}
    return {name: float(value) for name, value in known.items() if value is not None}
