"""`unlocked list`: what can be named, and the figures that were measured."""

from __future__ import annotations

import argparse
import inspect
import os
import re
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from unlocked.cli.common import add_command, add_import, import_given
from unlocked.cli.listing import Rows, folded, options, show
from unlocked.cli.terminal import print_json

IN_A_PIPE = 200  # columns


def add_list(commands: Any) -> None:
    parser = add_command(
        commands,
        "list",
        list_,
        "list families, models, schemes, strategies, data sets, transforms, tasks, losses, metrics, callbacks, "
        "engines, optimizers, presets, or what was measured",
        "examples:\n  unlocked list models\n"
        "  unlocked list matrix          how well each family trains under each scheme, or why not\n"
        "  unlocked list measured        the same for every preset that was measured\n"
        "  unlocked list data --json\n",
    )
    parser.add_argument("what", choices=sorted(_LISTS), metavar="WHAT", help=", ".join(sorted(_LISTS)))
    parser.add_argument("--json", action="store_true", help="one JSON line instead of a table")
    add_import(parser)


def list_(arguments: argparse.Namespace) -> int:
    import_given(arguments)
    rows = _LISTS[arguments.what]()
    if arguments.json:
        print_json(rows)
        return 0
    from unlocked.cli.matrix import SHOWN
    from unlocked.rich_text import plain_console

    console = plain_console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:  # a pipe has no width to fit into
        console.width = IN_A_PIPE
    per_scheme = SHOWN.get(arguments.what)
    if per_scheme:
        tables, notes = per_scheme(rows)
        _show_by_scheme(tables, console)
        for note in notes:
            console.print("\n".join(folded(note, console.width, "")), soft_wrap=True)
        return 0
    show(rows, console, by_folder=arguments.what == "presets")
    return 0


def _show_by_scheme(tables: dict[str, Rows], console: Any) -> None:
    """A column for each scheme, in as many tables below each other as the width of the console asks for."""
    from rich import box

    from unlocked.rich_text import PlainTable

    for title, rows in tables.items():
        if title:
            console.print(title)
        for columns in _fitting(rows, console.width):
            table = PlainTable(box=box.SIMPLE_HEAD, padding=0)
            for number, heading in enumerate(columns):
                table.add_column(heading, no_wrap=True, justify="right" if number else "left")
            for row in rows:
                if any(row[heading] != "—" for heading in columns[1:]):
                    table.add_row(*(row[heading] for heading in columns))
            console.print(table)


def _fitting(rows: Rows, width: int) -> list[list[str]]:
    """The headings of tables that are no wider than `width`, each of which begins with the first one."""
    first, *others = rows[0] if rows else [""]
    wide = {heading: max(len(text) for text in (heading, *(row[heading] for row in rows))) + 1 for heading in others}
    start = max((len(row[first]) for row in rows), default=0) + 3  # two of the frame
    parts, used = [[first]], start
    for heading in others:
        if used + wide[heading] > width and len(parts[-1]) > 1:
            parts.append([first])
            used = start
        parts[-1].append(heading)
        used += wide[heading]
    return parts


def _families() -> Rows:
    from unlocked_models import MODELS

    families = sorted({MODELS.facts(name)["family"] for name in MODELS})
    return [
        {"family": family, "models": ", ".join(n for n in MODELS if MODELS.facts(n)["family"] == family)}
        for family in families
    ]


def _models() -> Rows:
    from unlocked_models import MODELS
    from unlocked_models.contract.registry import GIVEN

    rows = []
    for name in MODELS:
        given = list(inspect.signature(MODELS.get(name)).parameters.values())[2:]
        shown = options([one for one in given if one.name not in GIVEN])
        rows.append({"model": name, "family": MODELS.facts(name)["family"], "options": shown})
    return rows


def _schemes() -> Rows:
    from dataclasses import fields

    from unlocked.schemes import SCHEMES

    kinds = {name: SCHEMES.get(name) for name in SCHEMES}
    return [
        {
            "scheme": name,
            "feedback": kind.feedback_from or "none",
            "lag": kind.why_no_lag or "any",
            "options": ", ".join(f"scheme.{field.name}" for field in fields(kind.Options)),
            "what": _first_lines(kind) if kind.__doc__ else _first_lines(sys.modules[kind.__module__]),
        }
        for name, kind in kinds.items()
    ]


def _strategies() -> Rows:
    """Of evolution."""
    from unlocked.schemes import STRATEGIES

    rows = []
    for name in STRATEGIES:
        kind = STRATEGIES.get(name)
        shown = options([*inspect.signature(kind.__init__).parameters.values()][2:])
        rows.append({"strategy": name, "what": _first_lines(kind), "scheme.strategy": shown})
    return rows


def _data() -> Rows:
    from unlocked.data import DATA

    return [
        {
            "data": name,
            "task": DATA.facts(name)["task"],
            "what": _first_lines(DATA.get(name)),
            "data.options": options(list(inspect.signature(DATA.get(name)).parameters.values())[1:]),
        }
        for name in DATA
    ]


def _transforms() -> Rows:
    from unlocked.data import TRANSFORMS

    rows = []
    for name in TRANSFORMS:
        kind = TRANSFORMS.get(name)
        shown = options(list(inspect.signature(kind).parameters.values()))
        rows.append({"transform": name, "options": shown, "what": _first_lines(kind)})
    return rows


def _tasks() -> Rows:
    from unlocked.generate import options_of
    from unlocked.tasks import TASKS

    return [
        {
            "task": name,
            "monitor": f"val/{TASKS.get(name).monitor}",
            "what": _first_lines(TASKS.get(name)),
            "objective": options(_options_of_task(TASKS.get(name))),
            "generate": ", ".join(options_of(name)),
        }
        for name in TASKS
    ]


def _options_of_task(task: type) -> list[inspect.Parameter]:
    return [*inspect.signature(task.__init__).parameters.values()][1:]  # type: ignore[misc]


def _losses() -> Rows:
    """By what outputs stand for: those that are here, then those of plug-ins."""
    from unlocked.tasks.losses import ClassLoss, LabelLoss, value_loss
    from unlocked.tasks.own_loss import LOSSES, OURS

    said = {"classes": ClassLoss, "labels": LabelLoss, "values": value_loss}
    rows = [
        {
            "loss": name,
            "of": kind,
            "options": ", ".join(f"objective.{key}" for key in keys if _is_of(key, name)),
            "what": _equation(said[kind].__doc__ or "", name),
        }
        for kind, (names, keys) in OURS.items()
        for name in names
    ]
    return [*rows, *_functions("loss", LOSSES, "objective.")]


def _is_of(option: str, loss: str) -> bool:
    """Options of all losses of their kind, but for those of one or two."""
    only = {"gamma": ("focal",), "delta": ("huber",), "positive_weight": ("binary_cross_entropy",)}
    return loss in only.get(option, (loss,)) and not (
        option == "smoothing" and loss in ("hinge", "max_margin", "perceptron")
    )


def _equation(doc: str, loss: str) -> str:
    """Of its line in a table of a docstring: `focal, hinge    the equation`."""
    lines = (re.match(r" *(\w+(?:, \w+)*)  +(\S.*)", line) for line in doc.splitlines())
    return next((line[2] for line in lines if line and loss in line[1].split(", ")), "")


def _metrics() -> Rows:
    from unlocked.tasks.chosen import METRICS, known_of
    from unlocked.tasks.own_loss import OURS

    rows = [{"metric": name, "of": kind, "options": "", "what": ""} for kind in OURS for name in known_of(kind)]
    return [*rows, *_functions("metric", METRICS)]


def _functions(heading: str, registry: Any, prefix: str = "") -> Rows:
    """Of functions `(output, target, **options)` of a user's own."""
    return [
        {
            heading: name,
            "of": ", ".join(registry.facts(name)["of"]),
            "options": options(list(inspect.signature(registry.get(name)).parameters.values())[2:], prefix),
            "what": _first_lines(registry.get(name)),
        }
        for name in registry
    ]


def _callbacks() -> Rows:
    from unlocked.callbacks import CALLBACKS

    return [
        {
            "callback": name,
            "options": options(list(inspect.signature(CALLBACKS.get(name)).parameters.values())),
            "what": _first_lines(CALLBACKS.get(name)),
        }
        for name in CALLBACKS
    ]


def _engines() -> Rows:
    from unlocked.engines import ENGINES

    kinds = {name: ENGINES.get(name) for name in ENGINES}
    return [
        {
            "engine": name,
            "modules": kind.kind_of_workers if kind.on_workers else "one process",
            "replicas": "any" if kind.replicates else "1",
            "schedules": "all" if kind.pipelines else "locked",
            "what": _first_lines(kind),
        }
        for name, kind in kinds.items()
    ]


def _optimizers() -> Rows:
    from dataclasses import fields

    from unlocked.optim import OPTIMIZERS, options_type, takes
    from unlocked.schema.keys import OptimizerConfig

    keys = [field.name for field in fields(OptimizerConfig) if field.name not in ("name", "lr")]
    own = {name: [field.name for field in fields(options_type(OPTIMIZERS.get(name)))] for name in OPTIMIZERS}
    return [
        {
            "optimizer": name,
            "options": ", ".join(f"optimizer.{key}" for key in [*filter(partial(takes, name), keys), *own[name]]),
        }
        for name in OPTIMIZERS
    ]


def _presets() -> Rows:
    from unlocked.config import load_config, presets

    rows = []
    for name in presets():
        if name.endswith("base"):  # what the others of its folder extend
            continue
        config = load_config(name)
        named = {
            "data": ("data.name", config.data.name),
            "model": ("model.name", config.model["name"]),
            "scheme": ("scheme.name", config.scheme.name),
            "modules": ("parallel.modules", config.parallel.modules),
        }
        changed = _changed(config.sweep.space)
        rows.append(
            {"preset": name}
            | {heading: "several" if {key, "preset"} & changed else of for heading, (key, of) in named.items()}
        )
    return rows


def _changed(space: Any) -> set[str]:
    """The dimensions of a study, and the keys that its choices set."""
    if not isinstance(space, dict):
        return set()
    return set(space).union(*(_changed(value) for value in space.values()))


def _matrix() -> Rows:
    from unlocked.cli.matrix import matrix

    return matrix()


def _measured() -> Rows:
    from unlocked.cli.matrix import measured

    return list(measured())


_LISTS: dict[str, Callable[[], Rows]] = {
    "families": _families,
    "models": _models,
    "schemes": _schemes,
    "strategies": _strategies,
    "data": _data,
    "transforms": _transforms,
    "tasks": _tasks,
    "losses": _losses,
    "metrics": _metrics,
    "callbacks": _callbacks,
    "engines": _engines,
    "optimizers": _optimizers,
    "presets": _presets,
    "matrix": _matrix,
    "measured": _measured,
}


def _first_lines(thing: Any) -> str:
    """Of its own docstring, up to the first that ends a sentence, or a paragraph."""
    said: list[str] = []
    for line in inspect.cleandoc(thing.__doc__ or "").splitlines():
        if not line.strip():
            break
        said.append(line.strip())
        if line.rstrip().endswith("."):
            break
    return " ".join(said)
