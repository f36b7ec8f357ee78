"""What a run tells about itself: its tags, and the figures at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unlocked.config import to_dict
from unlocked.data import DATA, DataSet
from unlocked.data.digest import digest
from unlocked.engines import ENGINES
from unlocked.plan.plan import Plan
from unlocked.runs.evaluate import load_trained
from unlocked.tasks import TASKS
from unlocked.tracking import collect_tags, flatten, read
from unlocked.tracking.identity import config_hash
from unlocked.user_code import code_digest
from unlocked_models.contract.chain import Chain
from unlocked_models.contract.registry import MODELS

SHOWN = "over_time"  # a folder of outputs, by step


def run_tags(
    plan: Plan, data: DataSet, imports: Sequence[str] = (), past: Mapping[str, str] | None = None
) -> dict[str, str]:
    """What runs are grouped and filtered by, beside versions and the git commit.

    `config_hash` is equal for the seeds of one experiment alone (`tracking.identity`). `past`: tags of a run that goes
    on from another one.
    """
    config = plan.config
    device = config.parallel.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    own = {
        "family": MODELS.facts(config.model["name"])["family"],
        "model": config.model["name"],
        "scheme": config.scheme.name,
        "dataset": config.data.name,
        "task": plan.task,
        "modules": plan.modules,
        "replicas": config.parallel.replicas,
        "lag": plan.lag,
        "partition": [spec.stop - spec.start for spec in plan.specs],
        "engine": plan.engine,
        "seed": config.seed,
        "name": config.name,
        "monitor": plan.make_task().monitor,
        "data_digest": digest(data),
    }
    used: list[Any] = [
        MODELS.get(config.model["name"]),
        DATA.get(config.data.name),
        TASKS.get(plan.task),
        plan.scheme,
        ENGINES.get(plan.engine),
    ]
    code = code_digest([*imports, *(getattr(thing, "__module__", None) or "" for thing in used)])
    tags = collect_tags(device) | {key: str(value) for key, value in own.items()}
    tags |= {"code_digest": code} if code is not None else {}
    tags |= {"accelerator": torch.cuda.get_device_name()} if device == "cuda" and torch.cuda.is_available() else {}
    tags |= past or {}
    return tags | {"config_hash": config_hash(flatten(to_dict(config)), tags)}


def keep_shown(run_dir: Path, step: int, shown: Tensor) -> None:
    """Outputs of an evaluation, for figures over time."""
    folder = run_dir / "figures" / SHOWN
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{step:08d}.npy", shown.float().cpu().numpy())


def draw_figures(
    run_dir: Path, plan: Plan, data: DataSet, test_outputs: Tensor, trained: Chain | None = None
) -> list[Path]:
    """The figures that this run has the metrics for, as PNG and SVG in `figures/`, and those of the `trained` network
    if its task asks for it."""
    from unlocked.drawing import figures
    from unlocked.drawing.style import about, with_svg

    folder, history = run_dir / "figures", read(run_dir)
    folder.mkdir(exist_ok=True)
    with about(run_line(plan)):
        made = [
            figures.learning_curves(history, folder / "learning_curves.png"),
            figures.alignment(history, folder / "alignment.png"),
            figures.sg_loss(history, folder / "sg_loss.png"),
        ]
        task = plan.make_task()
        made += task.figures(data, test_outputs, trained, folder)
        if plan.nets:
            made += task.figures_of_nets(load_trained(run_dir, plan.config, data, "best", folder))
        if shown := {
            int(path.stem): torch.from_numpy(np.load(path)) for path in sorted((folder / SHOWN).glob("*.npy"))
        }:
            made += task.figures_over_time(shown, data, folder)
    return with_svg([path for path in made if path is not None])


def run_line(plan: Plan) -> str:
    """Which run it is, as the second line of its figures says it."""
    config, modules = plan.config, plan.modules
    cut = f"{modules} module{'s' * (modules != 1)}" + f", lag {plan.lag}" * (modules > 1)
    words = [f"{config.model['name']} on {config.data.name}", config.scheme.name, f"seed {config.seed}", cut]
    return "  ·  ".join([*([config.name] if config.name != config.model["name"] else []), *words])
