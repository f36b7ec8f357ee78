"""Tasks: data + objective + metrics."""

from unlocked.tasks.base import TASKS, Rows, Task
from unlocked.tasks.classification import Classification
from unlocked.tasks.reconstruction import BernoulliReconstruction, Reconstruction
from unlocked.tasks.regression import Regression
from unlocked.tasks.tokens import LanguageModelling, MaskedLanguageModelling
from unlocked.tasks.translation import Translation

__all__ = [
    "TASKS",
    "BernoulliReconstruction",
    "Classification",
    "LanguageModelling",
    "MaskedLanguageModelling",
    "Reconstruction",
    "Regression",
    "Rows",
    "Task",
    "Translation",
]
