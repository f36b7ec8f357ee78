"""Tasks: data + objective + metrics."""

from unlocked.tasks.base import TASKS, Task
from unlocked.tasks.classification import Classification

__all__ = ["TASKS", "Classification", "Task"]
