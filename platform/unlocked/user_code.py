"""Which code of the user's own a run trained with: a digest of its source, as part of what the run was.

A change in a model of one's own is a change of the experiment that no configuration shows.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

_OURS = ("unlocked", "unlocked_models", "builtins")


def code_digest(names: Iterable[str]) -> str | None:
    """SHA-256 over the source of these modules and of what they import from beside them; 16 hex digits.

    Names of the platform's own modules do not count: its version speaks for them. None if none is left.
    """
    sources: dict[str, Path] = {}
    for name in sorted(set(names)):
        if name.partition(".")[0] not in _OURS and (module := _loaded(name)) is not None:
            _follow(module, sources)
    if not sources:
        return None
    found = hashlib.sha256()
    for name, path in sorted(sources.items()):
        found.update(f"{name} ".encode() + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()[:16]


def _loaded(name: str) -> ModuleType | None:
    return sys.modules.get(name) or sys.modules.get(Path(name).stem)


def _follow(module: ModuleType, sources: dict[str, Path]) -> None:
    """Adds a module's file, and those of its imports that lie in the same folder or below."""
    path = _file(module)
    if path is None or module.__name__ in sources:
        return
    sources[module.__name__] = path
    home = path.parent.parent if path.name == "__init__.py" else path.parent
    for name in _imports(path, module.__package__ or ""):
        other = sys.modules.get(name)
        file = _file(other) if other is not None and name.partition(".")[0] not in _OURS else None
        if other is not None and file is not None and file.is_relative_to(home) and "site-packages" not in file.parts:
            _follow(other, sources)


def _file(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    path = Path(file).resolve() if file else None
    return path if path is not None and path.suffix == ".py" and path.is_file() else None


def _imports(path: Path, package: str) -> list[str]:
    """The names of modules that a file may import, by `import a.b`, `from a import b`, `from . import b`."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return []
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                try:
                    base = importlib.util.resolve_name("." * node.level + base, package)
                except ImportError:
                    continue
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return found
