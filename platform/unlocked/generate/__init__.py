"""What trained networks make: pictures, samples, texts, translations. `unlocked generate RUN`."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from unlocked.config import from_tree
from unlocked.errors import ConfigError
from unlocked.options import fits, type_name
from unlocked.runs.folder import read_config
from unlocked_models.contract.registry import unknown

# Task -> the function of its runs, imported when it is asked for. Called as `function(run_dir[, inputs], **options)`;
# its keywords, with their annotations and defaults, are the command's options. It returns paths of what it wrote, or
# texts.
GENERATORS: dict[str, str] = {
    "language_modelling": "unlocked.generate.text:generate_text",
    "reconstruction": "unlocked.generate.autoencoders:draw",
    "reconstruction_bernoulli": "unlocked.generate.autoencoders:draw",
    "translation": "unlocked.generate.translate:translate",
}


def generate(run_dir: str | Path, inputs: Sequence[str] = (), **options: Any) -> list[Path | str]:
    """What the network of a run makes: files that were written, or texts, one for each input.

    Raises `ConfigError`, one line, for a task of which nothing is generated, and for inputs and options that its
    function does not take.

    >>> generate("runs/vae-backprop-s0-...", what=["samples"])  # doctest: +SKIP
    [PosixPath('runs/vae-backprop-s0-.../generated/samples.png')]
    """
    task, function = generator_of(Path(run_dir))
    takes, keywords = _parameters(function)
    for name, value in options.items():
        if name not in keywords:
            raise ConfigError(f"{name}: {unknown(f'option of {task}', name, list(keywords))}")
        if not fits(value, keywords[name].annotation):
            raise ConfigError(f"{name}: {value!r} is not of type {type_name(keywords[name].annotation)}")
    given: list[Any] = []
    if takes is None and inputs:
        raise ConfigError(f"--input: a run of {task} reads nothing but its own data")
    if takes is not None and takes.annotation is str:
        if len(inputs) > 1 or (not inputs and takes.default is takes.empty):
            raise ConfigError(f"--input: a run of {task} reads one text, {len(inputs)} given")
        given = list(inputs)
    elif takes is not None:
        if not inputs and takes.default is takes.empty:
            raise ConfigError(f"--input: a run of {task} needs at least one text")
        given = [list(inputs)] if inputs else []
    made = function(Path(run_dir), *given, **options)
    return [made] if isinstance(made, (str, Path)) else list(made)


def generator_of(run_dir: Path) -> tuple[str, Callable[..., Any]]:
    """The task of a run, and its function."""
    from unlocked.data import DATA

    config = from_tree(read_config(run_dir))
    task = config.task or DATA.facts(config.data.name)["task"]
    if task not in GENERATORS:
        raise ConfigError(f"{run_dir}: a run of {task} generates nothing (those of {', '.join(sorted(GENERATORS))} do)")
    module, _, name = GENERATORS[task].partition(":")
    return task, getattr(importlib.import_module(module), name)


def _parameters(function: Callable[..., Any]) -> tuple[inspect.Parameter | None, dict[str, inspect.Parameter]]:
    """The parameter for inputs, None where there is none, and the keywords, both without the run folder."""
    _, *rest = inspect.signature(function, eval_str=True).parameters.values()
    inputs = rest[0] if rest and rest[0].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD else None
    return inputs, {p.name: p for p in rest if p is not inputs}
