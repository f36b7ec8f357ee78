"""Studies: many runs of one configuration over a space of its keys, each a full run; recorded with Optuna."""

from unlocked.studies.driver import sweep
from unlocked.studies.space import Space

__all__ = ["Space", "sweep"]
