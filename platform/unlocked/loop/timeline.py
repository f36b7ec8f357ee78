"""The timeline of a run (`tracking.timeline`) as a figure, and as a trace for chrome://tracing and ui.perfetto.dev."""

from __future__ import annotations

from pathlib import Path

from unlocked import strict_json
from unlocked.engine.spans import chrome_trace
from unlocked.files import write_whole
from unlocked.loop.report import run_line
from unlocked.loop.stepper import Stepper

TRACE = "timeline.json"


def keep_timeline(trainer: Stepper) -> list[Path]:
    """Writes `figures/timeline.png` and `.json`; nothing if none was asked for. Says so if none was recorded."""
    plan, folder = trainer.plan, trainer.folder.path / "figures"
    if not trainer.config.tracking.timeline:
        return []
    if not trainer.spans:
        trainer.reporter.note("tracking.timeline: this engine or resumed run recorded none")
        return []
    from unlocked.drawing.style import about, with_svg
    from unlocked.drawing.timeline import timeline

    folder.mkdir(exist_ok=True)
    workers = plan.placement if plan.make_engine().on_workers else [0] * plan.modules
    names = [f"{net} {k}" for net, its in plan.nets.items() for k in range(its.modules)]
    names = names or [f"module {k}" for k in range(plan.modules)]
    trace = chrome_trace(trainer.spans, workers, names, run_line(plan))
    written = [write_whole(folder / TRACE, strict_json.dumps(trace))]
    with about(run_line(plan)):
        drawn = timeline(trainer.spans, workers, names, folder / "timeline.png")
    return [*(with_svg([drawn]) if drawn is not None else []), *written]
