"""User code that registers models, data sets, schemes, engines: by --import, or as an installed package's entry point.

A configuration never names code: only these two do.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from unlocked.blame import is_users, knowing_of_ctrl_c
from unlocked.errors import ConfigError, reason

GROUP = "unlocked.plugins"


def import_modules(words: Sequence[str]) -> list[str]:
    """Imports the installed plug-ins, then the given modules: each by its name, or as a file ending in .py.

    Returns the modules' full names, by which a process with this one's import path finds them again.
    Raises `ConfigError`, one line, naming the one that fails, exits or interrupts.
    """
    for entry in entry_points(group=GROUP):
        _import(entry.value.partition(":")[0], f"plug-in {entry.name!r}")
    return [import_module(word, f"--import {word}") for word in words]


def import_module(word: str, source: str) -> str:
    """One module; `source` opens the line of the `ConfigError` if it cannot be imported."""
    if word.endswith(".py") or os.sep in word:
        return _import_file(Path(word).expanduser().absolute(), source)
    if not all(part.isidentifier() for part in word.split(".")):
        raise ConfigError(f"{source}: is neither a module's name nor a file ending in .py")
    _refuse_hidden(word, _import(word, source), source)
    return word


def _refuse_hidden(name: str, module: ModuleType, source: str) -> None:
    """A file of the working directory that has the name of another module would silently not be imported."""
    top = name.partition(".")[0]
    found = _file(sys.modules.get(top, module))
    if found is not None and is_users(str(found)):
        return
    for mine in (Path.cwd() / f"{top}.py", Path.cwd() / top / "__init__.py"):
        if mine.is_file() and (found is None or found.resolve() != mine.resolve()):
            raise ConfigError(
                f"{source}: Python finds another module of this name, {found or 'a part of itself'}, "
                f"before {mine.relative_to(Path.cwd())}; give yours another name"
            )


def folder_of(name: str) -> str | None:
    """The folder in which Python finds an imported module; None for one that is installed."""
    module = sys.modules.get(name.partition(".")[0])
    file = _file(module) if module is not None else None
    if file is None:
        return None
    folder = file.parent.parent if file.name == "__init__.py" else file.parent
    packages = {"site-packages", "dist-packages"} & {*folder.parts}
    return None if packages or folder.is_relative_to(sysconfig.get_path("stdlib")) else str(folder)


def reach(folder: str) -> None:
    """Has this process find modules in `folder`, after all other places."""
    if folder not in sys.path:
        sys.path.append(folder)


def import_path() -> list[str]:
    """Where this process finds modules, for another one to `enter`: the working directory by its name."""
    return [os.getcwd() if entry == "" else entry for entry in sys.path]


def enter(folder: str, path: Sequence[str], names: Sequence[str]) -> None:
    """In a worker: the driver's folder, import path and modules, so that ./data and user code are found as there."""
    with contextlib.suppress(OSError):  # another machine may not have that folder
        os.chdir(folder)
    own = [entry for entry in sys.path if entry not in path]
    last = [folder] if path and path[-1] == folder else []  # as `search_path.find_here_last` left it
    sys.path[:] = [*path[: len(path) - len(last)], *own, *last]
    import_modules(names)


@contextlib.contextmanager
def pickled_whole(names: Sequence[str]) -> Iterator[None]:
    """In the driver: what user modules changed in a class of ours is sent as it is, not by the modules' names.

    A worker loads its class before it can `enter` the folder in which it would find them.
    """
    from ray import cloudpickle

    modules = [sys.modules[name] for name in names if name in sys.modules]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def _import_file(path: Path, source: str) -> str:
    """By the name that the file has in its package, or alone."""
    if path.is_dir():
        path /= "__init__.py"
    if not path.is_file():
        raise ConfigError(f"{source}: no such file (an installed module is given by its name, without .py)")
    folder, parts = path.parent, [] if path.name == "__init__.py" else [path.stem]
    while (folder / "__init__.py").is_file():
        folder, parts = folder.parent, [folder.name, *parts]
    name = ".".join(parts)
    if not all(part.isidentifier() for part in parts):
        raise ConfigError(f"{source}: {name!r} is no name of a module: letters, digits and _ only")
    reach(str(folder))
    module = _import(name, source)
    found = _file(module)
    if found is None or found.resolve() != path.resolve():
        raise ConfigError(
            f"{source}: Python has another module {name!r}, {found or 'a part of itself'}; give the file another name"
        )
    return name


def _import(name: str, source: str) -> ModuleType:
    try:
        with knowing_of_ctrl_c() as is_ctrl_c:
            return importlib.import_module(name)
    except KeyboardInterrupt as error:
        if is_ctrl_c(error):
            raise
        raise ConfigError(f"{source}: raises KeyboardInterrupt when it is imported") from None
    except SystemExit as error:
        raise ConfigError(
            f"{source}: ends the process when it is imported (exit code {error.code}); put what it does "
            "as a program under if __name__ == '__main__'"
        ) from error
    except BaseException as error:  # whatever a user's module raises on import, its name and line help most
        raise ConfigError(f"{source}: {type(error).__name__}: {reason(error)}") from error


def _file(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    if file is not None:
        return Path(file)
    paths = list(getattr(module, "__path__", []))  # a folder without __init__.py
    return Path(paths[0]) / "__init__.py" if paths else None
