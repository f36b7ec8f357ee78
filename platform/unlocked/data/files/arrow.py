"""pyarrow, imported by the first who uses it: a run that reads no table does without."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pyarrow
    import pyarrow.compute as pc
    from pyarrow import types as types
else:

    class _Later:
        def __init__(self, name: str):
            self._name = name

        def __getattr__(self, name: str) -> Any:
            return getattr(import_module(self._name), name)

    pyarrow, pc, types = map(_Later, ("pyarrow", "pyarrow.compute", "pyarrow.types"))

__all__ = ["pc", "pyarrow", "types"]
