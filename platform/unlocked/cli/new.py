"""`unlocked new`: the beginning of something of one's own, in three files that work at once."""

from __future__ import annotations

import argparse
import importlib.util
import keyword
import os
import re
import shlex
from pathlib import Path
from typing import Any

from unlocked.cli.common import add_command
from unlocked.errors import ConfigError

TEMPLATES = Path(__file__).parent / "templates"
KINDS = {  # what each is, in the line of --help
    "model": "blocks in order",
    "data": "a data set of arrays",
    "transform": "of minibatches: augmentation, masking, noise",
    "task": "outputs, targets, loss and metrics",
    "loss": "of one example",
    "metric": "of a whole split",
    "scheme": "which gradient each module gets",
    "callback": "follows a run, logs, ends it",
    "optimizer": "a step on the weights",
}
LONGEST = 40  # characters of a name
_PRESET = """# {what}
#
#   unlocked train {preset} --import {module}
#
# What is not said here is as in `quickstart`; `unlocked keys` explains every key.
extends: quickstart
name: {name}
{body}train: {{epochs: 5}}
parallel: {{engine: inprocess}}  # without it, a worker for each module; the same numbers
"""
_TEST = '''"""`pytest {file}`: {name} keeps what every {kind} of unlocked keeps."""

import {name}  # noqa: F401  (registers it)
{body}'''


def add_new(commands: Any) -> None:
    parser = add_command(
        commands,
        "new",
        new,
        f"begin your own {', '.join(list(KINDS)[:-1])} or {list(KINDS)[-1]}: a file, a preset, a test",
        "kinds:\n" + "".join(f"  {kind:<10} {what}\n" for kind, what in KINDS.items()) + "\n"
        "examples:\n"
        "  unlocked new loss margin                        margin.py, margin.yaml, test_margin.py\n"
        "  unlocked train ./margin.yaml --import ./margin.py\n"
        "  pytest test_margin.py\n"
        "  unlocked new scheme mine --folder ideas         the same in a folder\n",
        at_first="",
    )
    parser.add_argument("kind", choices=list(KINDS), metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("name", metavar="NAME", help="of the module and of what it registers, such as my_loss")
    parser.add_argument("--folder", default=".", help="where the files are written; made if it is not there")


def new(arguments: argparse.Namespace) -> int:
    kind, name, folder = arguments.kind, arguments.name, Path(arguments.folder)
    files = {file: folder / file for file in (f"{name}.py", f"{name}.yaml", f"test_{name}.py")}
    _check_name(name)
    if there := next((path for path in files.values() if os.path.lexists(path)), None):
        raise ConfigError(f"new: {there} is there already and stays as it is; give another name, or --folder")
    _refuse_taken(kind, name, folder)
    _write(folder, dict(zip(files.values(), _texts(kind, name, folder), strict=True)))
    shown = [shlex.quote(str(path)) for path in files.values()]
    print(f"wrote {shown[0]}, {shown[1]} and {shown[2]}; they work as they are:\n")
    print(f"  unlocked train {_as_path(files[f'{name}.yaml'])} --import {_as_path(files[f'{name}.py'])}")
    print(f"  pytest {shown[2]}\n")
    print(f"Then make it yours; docs/own-{kind}.md says what else it may do.")
    return 0


def _check_name(name: str) -> None:
    word = _is_word(name)
    if word or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        why = f"is a word of {word}" if word else "is no name"
        raise ConfigError(f"new: {name!r} {why}; use lower-case letters, digits and _, such as {_near(name)}")
    if len(name) > LONGEST:
        raise ConfigError(f"new: {name!r} has {len(name)} characters; use at most {LONGEST}")
    if name.startswith("test_"):
        raise ConfigError(f"new: {name!r}: pytest would take its file for a test; use {name.removeprefix('test_')!r}")


def _is_word(name: str) -> str:
    """The language that it has a meaning in: a preset with `name: true` names nothing."""
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        return "Python"
    return "YAML" if name in ("true", "false", "null") else ""


def _near(name: str) -> str:
    """
    >>> _near("My-Loss"), _near("class"), _near("match"), _near("3d")
    ('my_loss', 'my_class', 'my_match', 'my_3d')
    """
    found = re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_")[:20] or "idea"
    return f"my_{found}" if _is_word(found) or not found[0].isalpha() else found


def _refuse_taken(kind: str, name: str, folder: Path) -> None:
    """A name that Python or unlocked has for something else."""
    if (found := importlib.util.find_spec(name)) is not None:
        of = found.origin or "a part of itself"
        raise ConfigError(f"new: {name!r} is a module that Python has already, {of}; give another name")
    if name in _registry(kind) or (kind in ("loss", "metric") and name in _names_of_ours(kind)):
        raise ConfigError(f"new: {name!r} is a {_plainly(kind)} already (see `unlocked list`); give another name")


def _registry(kind: str) -> Any:
    from unlocked import callbacks, data, optim, schemes, tasks
    from unlocked_models import MODELS

    return {
        "model": MODELS,
        "data": data.DATA,
        "transform": data.TRANSFORMS,
        "task": tasks.TASKS,
        "loss": tasks.LOSSES,
        "metric": tasks.METRICS,
        "scheme": schemes.SCHEMES,
        "callback": callbacks.CALLBACKS,
        "optimizer": optim.OPTIMIZERS,
    }[kind]


def _names_of_ours(kind: str) -> set[str]:
    from unlocked import metrics
    from unlocked.tasks.chosen import known_of
    from unlocked.tasks.own_loss import OURS

    if kind == "loss":
        return {name for names, _ in OURS.values() for name in names}
    return {name for of in OURS for name in known_of(of)} | metrics.OURS


def _texts(kind: str, name: str, folder: Path) -> list[str]:
    """Of the module, the preset and the test."""
    module, body, test = (
        (TEMPLATES / f"{kind}.{each}.txt").read_text().replace("NAME", name).replace("CLASS", _class_of(name))
        for each in ("py", "yaml", "test")
    )
    where = {"preset": _as_path(folder / f"{name}.yaml"), "module": _as_path(folder / f"{name}.py")}
    preset = _PRESET.format(what=f"A run with the {kind} {name}:", name=name, body=body, **where)
    return [module, preset, _TEST.format(file=f"test_{name}.py", name=name, kind=_plainly(kind), body=test)]


def _class_of(name: str) -> str:
    """
    >>> _class_of("my_loss2")
    'MyLoss2'
    """
    return "".join(part.capitalize() for part in name.split("_"))


def _plainly(kind: str) -> str:
    return {"data": "data set", "optimizer": "optimiser"}.get(kind, kind)


def _as_path(path: Path) -> str:
    """As a command names it: a file, and not a preset or a module."""
    return shlex.quote(str(path) if path.is_absolute() or path.parts[:1] == ("..",) else f"./{path}")


def _write(folder: Path, texts: dict[Path, str]) -> None:
    """All of them, or none."""
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            with path.open("x", encoding="utf-8") as file:
                written.append(path)
                file.write(text)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise ConfigError(f"new: {error.filename or folder} cannot be written: {error.strerror}") from None
