"""What a run tells about itself: its tags, and the figures at its end."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unlocked.callbacks import CALLBACKS, check_callbacks
from unlocked.colors import scheme_color
from unlocked.config import Config, to_dict
from unlocked.config.schema import schema
from unlocked.config.schemes import flatten as keys_of
from unlocked.data import DATA, DataSet
from unlocked.data.digest import digest
from unlocked.engines import ENGINES
from unlocked.plan.plan import Plan
from unlocked.runs.checkpoint import Checkpoints, load_states
from unlocked.runs.evaluate import load_trained
from unlocked.tasks import LOSSES, TASKS
from unlocked.tracking import collect_tags, flatten, read
from unlocked.tracking.captions import run_name
from unlocked.tracking.identity import config_hash, setting_hash
from unlocked.tracking.keys import COLOR_TAG, DIRECTION_TAG, NAME_TAG, SETTING_TAG
from unlocked.tracking.params import differing
from unlocked.tracking.tags import in_order
from unlocked.user_code import code_digest
from unlocked_models.contract.chain import Chain
from unlocked_models.contract.registry import MODELS

_ALWAYS_SHOWN = ("scheme.name", "optimizer.lr", "train.epochs")  # columns of which every run is to have a value
SPLITS = ("train", "validation", "test")
SHOWN = "over_time"  # a folder of outputs, by step


def run_tags(
    plan: Plan, data: DataSet, imports: Sequence[str] = (), past: Mapping[str, str] | None = None
) -> dict[str, str]:
    """What runs are grouped and filtered by: what a run is, where it ran, with which code.

    `config_hash` is equal for the seeds of one experiment alone (`tracking.identity`). `past`: tags of a run that goes
    on from another one.
    """
    config = plan.config
    device = config.parallel.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    task = plan.make_task()
    own = {
        "scheme": config.scheme.name,
        "model": config.model["name"],
        "dataset": config.data.name,
        "task": plan.task,
        "seed": config.seed,
        "modules": plan.modules,
        "lag": plan.lag,
        "replicas": config.parallel.replicas,
        "engine": plan.engine,
        "device": device,
    }
    beside = {
        "family": MODELS.facts(config.model["name"])["family"],
        "partition": [spec.stop - spec.start for spec in plan.specs],
        "name": config.name,
        "monitor": task.monitor,
        "data_digest": digest(data),
    }
    used: list[Any] = [
        MODELS.get(config.model["name"]),
        DATA.get(config.data.name),
        TASKS.get(plan.task),
        plan.scheme,
        ENGINES.get(plan.engine),
        *(CALLBACKS.get(name) for name, _ in check_callbacks(config.callbacks)),
        *([LOSSES.get(name)] if (name := str(config.objective.get("loss"))) in LOSSES else []),
    ]
    code = code_digest([*imports, *(getattr(thing, "__module__", None) or "" for thing in used)])
    known = collect_tags(device)
    gpu = torch.cuda.get_device_name() if device.startswith("cuda") and torch.cuda.is_available() else None
    beside |= {"code_digest": code} if code is not None else {}
    params = flatten(to_dict(config))
    hashed = {key: str(value) for key, value in {**known, **own, **beside, **(past or {})}.items()}
    of_schemes = {key for entry in config.schemes.values() for key in keys_of(entry or {})}
    ours = {
        "config_hash": config_hash(params, hashed),
        "parameters": sum(plan.parameters),
        **({"gpu": gpu} if gpu is not None else {}),
        NAME_TAG: run_name(config.scheme.name, str(config.seed)),
        COLOR_TAG: scheme_color(config.scheme.name),
        DIRECTION_TAG: "max" if task.higher_is_better else "min",
        SETTING_TAG: setting_hash(params, hashed, of_schemes),
    }
    return in_order({key: str(value) for key, value in {**ours, **hashed}.items()})


def accelerators() -> list[str]:
    """The GPUs that this process may use, by name."""
    return [torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())]


def shown_params(config: Config, always: Collection[str] = ()) -> list[str]:
    """The keys that differ from their default, the model's own from its signature's; those of `always`, and the few
    in which runs are mostly compared."""
    defaults = flatten(asdict(schema()()))
    for key, parameter in inspect.signature(MODELS.get(config.model["name"])).parameters.items():
        if parameter.default is not parameter.empty:
            defaults |= flatten({"model": {key: parameter.default}})
    return differing(flatten(to_dict(config)), defaults, {*always, *_ALWAYS_SHOWN})


def data_facts(config: Config, data: DataSet, digested: str) -> dict[str, Any]:
    """Of the data set, for the dashboard: name, digest, source, sizes and shapes."""
    sizes = {name: len(split) for name in SPLITS if (split := getattr(data, name)) is not None}
    made = DATA.get(config.data.name)
    return {
        "name": config.data.name,
        "digest": digested,
        "source": f"{made.__module__}.{made.__qualname__}",
        "num_rows": sum(sizes.values()),
        **sizes,
        "shape": list(data.in_shape),
        "outputs": data.n_outputs,
    }


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
    from unlocked.drawing import figures, inside
    from unlocked.drawing.style import about, with_svg

    folder, history = run_dir / "figures", read(run_dir)
    folder.mkdir(exist_ok=True)
    with about(run_line(plan)):
        made = [
            figures.learning_curves(history, folder / "learning_curves.png"),
            figures.alignment(history, folder / "alignment.png"),
            figures.sg_loss(history, folder / "sg_loss.png"),
        ]
        if plan.scheme.proposes:
            made += _of_search(run_dir, plan, data, folder)
        task = plan.make_task()
        made += task.figures(data, test_outputs, trained, folder)
        if MODELS.facts(plan.config.model["name"])["pictured"]:
            made += inside.pictures(load_trained(run_dir, plan.config, data, "best", folder).chain, data, folder)
        if plan.nets:
            made += task.figures_of_nets(load_trained(run_dir, plan.config, data, "best", folder))
        if shown := {
            int(path.stem): torch.from_numpy(np.load(path)) for path in sorted((folder / SHOWN).glob("*.npy"))
        }:
            made += task.figures_over_time(shown, data, folder)
    return with_svg([path for path in made if path is not None])


def _of_search(run_dir: Path, plan: Plan, data: DataSet, folder: Path) -> list[Path]:
    """What the scheme draws of its last checkpoint."""
    last = Checkpoints(run_dir).last()
    if last is None:
        return []
    _, (state, *_) = load_states(last, plan.learners)
    chain = load_trained(run_dir, plan.config, data, "last", folder).chain
    return plan.scheme.figures(plan.config, chain, state["learner"], folder)


def run_line(plan: Plan) -> str:
    """Which run it is, as the second line of its figures says it."""
    config, modules = plan.config, plan.modules
    cut = f"{modules} module{'s' * (modules != 1)}" + f", lag {plan.lag}" * (modules > 1)
    words = [f"{config.model['name']} on {config.data.name}", config.scheme.name, f"seed {config.seed}", cut]
    return "  ·  ".join([*([config.name] if config.name != config.model["name"] else []), *words])
