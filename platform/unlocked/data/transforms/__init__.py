"""The built-in transforms: a file added here is registered, nothing else needs to name it."""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
