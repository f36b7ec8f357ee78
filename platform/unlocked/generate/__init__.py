"""What trained networks make: pictures, samples, texts, translations. `unlocked generate RUN`.

The task of a run makes it: `Task.generate`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from unlocked.config import from_tree
from unlocked.config.check import task_of
from unlocked.errors import ConfigError
from unlocked.options import as_written, fits, type_name
from unlocked.plan.plan import load_data
from unlocked.runs.evaluate import load_trained
from unlocked.runs.folder import read_config
from unlocked.tasks import TASKS, make_task
from unlocked_models.contract.registry import unknown


def generate(
    run_dir: str | Path, inputs: Sequence[str] = (), *, weights: str = "best", **options: Any
) -> list[Path | str]:
    """What the network of a run makes: files that were written, or texts, one for each input.

    `weights`: best or last. Raises `ConfigError`, one line, for a task of which nothing is generated, and for inputs
    and options that its method does not take.

    >>> generate("runs/vae-backprop-s0-...", what=["samples"])  # doctest: +SKIP
    [PosixPath('runs/vae-backprop-s0-.../generated/samples.png')]
    """
    run_dir = Path(run_dir)
    config = from_tree(read_config(run_dir))
    task = task_of(config)
    make = make_task(task, config.objective).generate
    if make is None:
        those = ", ".join(name for name in TASKS if TASKS.get(name).generate is not None)
        raise ConfigError(f"{run_dir}: a run of {task} generates nothing (those of {those} do)")
    takes, keywords = _parameters(make)
    for name, value in list(options.items()):
        if name not in keywords:
            raise ConfigError(f"{name}: {unknown(f'option of {task}', name, [*keywords, 'weights'])}")
        options[name] = value = _as_names(value, keywords[name].annotation)
        if not fits(value, keywords[name].annotation):
            raise ConfigError(f"{name}: {value!r} is not of type {type_name(keywords[name].annotation)}")
    if weights not in ("best", "last"):
        raise ConfigError(f"weights: {unknown('choice', weights, ['best', 'last'])}")
    given = _given(task, takes, inputs)
    data = load_data(config)
    made = make(load_trained(run_dir, config, data, weights, run_dir / "generated"), *given, **options)
    return [made] if isinstance(made, (str, Path)) else list(made)


def _as_names(value: Any, hint: Any) -> Any:
    """`classes=[3, 7]`: names that a command line reads as numbers."""
    if hint != list[str] or not isinstance(value, list):
        return value
    return [str(entry) if isinstance(entry, int) and not isinstance(entry, bool) else entry for entry in value]


def options_of(task: str) -> list[str]:
    """Of what runs of a task generate, as `name=default`; those of no file and text are none."""
    make = TASKS.get(task).generate
    return [] if make is None else [f"{p.name}={as_written(p.default)}" for p in _parameters(make, skip=2)[1].values()]


def _given(task: str, takes: inspect.Parameter | None, inputs: Sequence[str]) -> list[Any]:
    """The inputs as the method takes them: none, one text, or a list of texts."""
    if takes is None:
        if inputs:
            raise ConfigError(f"--input: a run of {task} reads nothing but its own data")
        return []
    needed = takes.default is takes.empty
    if takes.annotation is str:
        if len(inputs) > 1 or (not inputs and needed):
            raise ConfigError(f"--input: a run of {task} reads one text, {len(inputs)} given")
        return list(inputs)
    if not inputs and needed:
        raise ConfigError(f"--input: a run of {task} needs at least one text")
    return [list(inputs)] if inputs else []


def _parameters(
    make: Callable[..., Any], skip: int = 1
) -> tuple[inspect.Parameter | None, dict[str, inspect.Parameter]]:
    """The parameter for inputs, None if there is none, and the keywords, without the first `skip`."""
    rest = list(inspect.signature(make, eval_str=True).parameters.values())[skip:]
    inputs = rest[0] if rest and rest[0].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD else None
    return inputs, {p.name: p for p in rest if p is not inputs}
