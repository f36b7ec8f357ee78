"""unlocked: train any deep network under backpropagation or a decoupled scheme, and compare them fairly.

from unlocked import load_config, train
summary = train(load_config("quickstart", ["scheme.name=dfa"]))
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unlocked.callbacks import Callback, register_callback
    from unlocked.comparing.rows import compare
    from unlocked.config import Config, load_config
    from unlocked.data import PerExample, RawData, Transform, register_data, register_transform
    from unlocked.engine.group import Group, WorkerFailed
    from unlocked.engines import Engine, register_engine
    from unlocked.loop.callbacks import Training
    from unlocked.loop.notebook import Progress
    from unlocked.loop.train import resume, train
    from unlocked.optim import register_optimizer
    from unlocked.runs.opened import load, predict
    from unlocked.runs.result import Run
    from unlocked.schema.facts import group, key
    from unlocked.schemes import ModuleLearner, register_scheme
    from unlocked.studies import sweep
    from unlocked.tasks import Task, register_loss, register_metric, register_task
    from unlocked_models import register_model

__version__ = "0.1.0"

_HOMES = {
    "Callback": "unlocked.callbacks",
    "register_callback": "unlocked.callbacks",
    "Training": "unlocked.loop.callbacks",
    "Config": "unlocked.config",
    "load_config": "unlocked.config",
    "train": "unlocked.loop.train",
    "resume": "unlocked.loop.train",
    "Progress": "unlocked.loop.notebook",
    "Run": "unlocked.runs.result",
    "compare": "unlocked.comparing.rows",
    "load": "unlocked.runs.opened",
    "predict": "unlocked.runs.opened",
    "sweep": "unlocked.studies",
    "RawData": "unlocked.data",
    "register_data": "unlocked.data",
    "Engine": "unlocked.engines",
    "register_engine": "unlocked.engines",
    "Group": "unlocked.engine.group",
    "WorkerFailed": "unlocked.engine.group",
    "register_optimizer": "unlocked.optim",
    "Transform": "unlocked.data",
    "PerExample": "unlocked.data",
    "register_transform": "unlocked.data",
    "ModuleLearner": "unlocked.schemes",
    "register_scheme": "unlocked.schemes",
    "Task": "unlocked.tasks",
    "register_task": "unlocked.tasks",
    "register_loss": "unlocked.tasks",
    "register_metric": "unlocked.tasks",
    "group": "unlocked.schema.facts",
    "key": "unlocked.schema.facts",
    "register_model": "unlocked_models",
}
__all__ = [
    "Callback",
    "Config",
    "Engine",
    "Group",
    "ModuleLearner",
    "PerExample",
    "Progress",
    "RawData",
    "Run",
    "Task",
    "Training",
    "Transform",
    "WorkerFailed",
    "compare",
    "group",
    "key",
    "load",
    "load_config",
    "predict",
    "register_callback",
    "register_data",
    "register_engine",
    "register_loss",
    "register_metric",
    "register_model",
    "register_optimizer",
    "register_scheme",
    "register_task",
    "register_transform",
    "resume",
    "sweep",
    "train",
]


def __getattr__(name: str) -> Any:
    """Public names are imported on first use: `import unlocked` itself costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'unlocked' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
