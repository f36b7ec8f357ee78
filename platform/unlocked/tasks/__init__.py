"""Tasks by name, and data sets as their tasks read them. A file in this folder is registered by lying here."""

from importlib import import_module
from pkgutil import iter_modules

from unlocked.tasks.adversarial import Adversarial
from unlocked.tasks.base import TASKS, Rows, Task, Trained, register_task, task_name
from unlocked.tasks.chosen import METRICS, register_metric
from unlocked.tasks.classification import Classification
from unlocked.tasks.density import Density
from unlocked.tasks.loading import load
from unlocked.tasks.nodes import NodeClassification
from unlocked.tasks.own_loss import LOSSES, make_task, register_loss
from unlocked.tasks.reconstruction import BernoulliReconstruction, Reconstruction
from unlocked.tasks.regression import Regression
from unlocked.tasks.tokens import LanguageModelling, MaskedLanguageModelling
from unlocked.tasks.translation import Translation

__all__ = [
    "LOSSES",
    "METRICS",
    "TASKS",
    "Adversarial",
    "BernoulliReconstruction",
    "Classification",
    "Density",
    "LanguageModelling",
    "MaskedLanguageModelling",
    "NodeClassification",
    "Reconstruction",
    "Regression",
    "Rows",
    "Task",
    "Trained",
    "Translation",
    "load",
    "make_task",
    "register_loss",
    "register_metric",
    "register_task",
    "task_name",
]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
