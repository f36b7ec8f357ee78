"""Evolution: strategies by name, and the scheme that trains with them. A file in this folder is registered by lying
here."""

from importlib import import_module
from pkgutil import iter_modules

from unlocked.schemes.evolution.learner import Evolution
from unlocked.schemes.evolution.strategy import STRATEGIES, Genome, Space, Strategy, Trial, register_strategy

__all__ = ["STRATEGIES", "Evolution", "Genome", "Space", "Strategy", "Trial", "register_strategy"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
