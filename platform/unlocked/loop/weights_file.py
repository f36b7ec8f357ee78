"""Weights that a run begins with from a plain safetensors file (`transfer.file`), of any torch model.

A tensor goes to the weight that has its name and shape; `transfer.names` says how names are called here: of one tensor,
of all that begin with a prefix (`{backbone.fc: "2.0"}`, `{module: ""}`), or null for what is left out. What was taken
and what was not is told. The file is tensors and nothing else: nothing in it is unpickled or run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from unlocked.config import Config
from unlocked.errors import ConfigError, reason
from unlocked.plan.blocks import named_weights
from unlocked.plan.plan import Plan
from unlocked.security.names import without_controls as plain

Shape = tuple[int, ...]
MOST_NAMES = 6  # in a line
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")


@dataclass(frozen=True)
class Match:
    """Which tensor of the file (its name there) each weight (its name here) is taken from, and what is not taken: names
    in the file with the reason, names here."""

    taken: dict[str, str]
    left: dict[str, str]
    drawn: list[str]


def with_file(plan: Plan) -> Config:
    """The configuration with the whole path, and with how many blocks are frozen. Raises `ConfigError`, one line, if
    the file cannot be read, or nothing of it, or less than `transfer.blocks` asks for, fits."""
    config, transfer = plan.config, plan.config.transfer
    found, whole = _matched(plan), str(Path(transfer.file or "").absolute())
    n, given = len(plan.parameters), _given_blocks(plan, found)
    if plan.nets:
        return replace(config, transfer=replace(transfer, file=whole))
    if transfer.blocks is not None:
        if transfer.blocks > n:
            raise ConfigError(f"transfer.blocks: {transfer.blocks} is more than the {n} blocks of {_model(plan)}")
        if given < transfer.blocks:
            raise ConfigError(
                f"transfer.blocks: {transfer.blocks}, but block {given} of {_model(plan)} is not whole in "
                f"{plain(transfer.file or '')}: {_some(_of_block(found.drawn, given))} not found there"
            )
    elif transfer.freeze and not given:
        raise ConfigError(
            f"transfer.freeze: true, but block 0 of {_model(plan)} is not whole in {plain(transfer.file or '')}: "
            f"{_some(_of_block(found.drawn, 0))} not found there"
        )
    blocks = transfer.blocks or (min(given, n - 1) if transfer.freeze else None)
    if transfer.freeze and blocks == n:
        raise ConfigError(f"transfer.freeze: true with all {n} blocks of {_model(plan)} leaves nothing to learn")
    return replace(config, transfer=replace(transfer, file=whole, blocks=blocks))


def weights_of_file(plan: Plan) -> tuple[dict[str, Tensor], str]:
    """The weights of the whole net or nets, and a line about them."""
    transfer, mine, found = plan.config.transfer, named_weights(plan), _matched(plan)
    with _open(transfer.file or "") as file:
        for here, there in found.taken.items():
            value = file.get_tensor(there)
            if value.is_floating_point() and not value.isfinite().all():
                raise ConfigError(
                    f"transfer.file: {plain(transfer.file or '')}: {plain(there)} holds values that are not finite"
                )
            mine[here].copy_(value)  # in place: a tied weight is that of two names
    line = f"begins with {len(found.taken)} tensors of {transfer.file}"
    if transfer.freeze:
        line += f", {transfer.blocks} block{'s' * (transfer.blocks != 1)} frozen"
    if found.left:
        line += "; not taken: " + _some([f"{name} ({why})" for name, why in found.left.items()])
    if found.drawn:
        line += f"; drawn anew: {_some(found.drawn)}"
    return {key: value.clone() for key, value in mine.items()}, plain(line)


def _matched(plan: Plan) -> Match:
    transfer = plan.config.transfer
    source = plain(transfer.file or "")
    with _open(transfer.file or "") as file:
        theirs = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  (no mapping)
    weights = named_weights(plan)
    mine = {name: tuple(value.shape) for name, value in weights.items()}
    called = _called(transfer.names, list(theirs), source)
    within = None if plan.nets else transfer.blocks
    taken: dict[str, str] = {}
    left: dict[str, str] = {}
    for there, here in called.items():
        if here is None:
            left[there] = "null in transfer.names"
        elif here not in mine:
            left[there] = f"no {here} here"
        elif mine[here] != theirs[there]:
            if there in transfer.names:
                raise ConfigError(
                    f"transfer.names: {plain(there)} of {source} has shape {theirs[there]}, {here} of {_model(plan)} "
                    f"{mine[here]}"
                )
            left[there] = f"shape {theirs[there]}, {here} has {mine[here]}"
        elif within is not None and int(here.partition(".")[0]) >= within:
            left[there] = f"beyond transfer.blocks {within}"
        elif here in taken:
            raise ConfigError(f"transfer.names: {plain(taken[here])} and {plain(there)} would both become {here}")
        else:
            taken[here] = there
    if not taken:
        fits = [name for name, shape in theirs.items() if shape in mine.values()]
        hint = "map names by transfer.names={theirs: ours}" if fits else "no shape in it is one of this model"
        raise ConfigError(
            f"transfer.file: nothing of {source} fits {_model(plan)}: it holds {_some(_with_shapes(theirs))}; here are "
            f"{_some(_with_shapes(mine))}; {hint}"
        )
    filled = {weights[name].data_ptr() for name in taken if weights[name].numel()}
    drawn = [name for name, value in weights.items() if name not in taken and value.data_ptr() not in filled]
    return Match(taken, left, [name for name in drawn if not name.endswith("num_batches_tracked")])


def _called(names: Mapping[str, Any], theirs: Sequence[str], source: str) -> dict[str, str | None]:
    """By its name in the file, that of each tensor here, by the longest entry of `names` that it begins with; None:
    left out."""
    called: dict[str, str | None] = {}
    used: set[str] = set()
    for name in theirs:
        fitting = [old for old in names if name == old or name.startswith(f"{old}.")]
        if not fitting:
            called[name] = name
            continue
        old = max(fitting, key=len)
        used.add(old)
        new = names[old]
        called[name] = None if new is None else f"{new}{name[len(old) :]}".removeprefix(".")
    unused = [old for old in names if old not in used]
    if unused:
        raise ConfigError(
            f"transfer.names: {source} has no tensor {plain(unused[0])}, nor one that begins with it and a point; it "
            f"has {_some(theirs)}"
        )
    return called


def _given_blocks(plan: Plan, found: Match) -> int:
    """From the input up, blocks all of whose weights are in the file."""
    if plan.nets:
        return 0
    lacking = [int(name.partition(".")[0]) for name in found.drawn]
    return min(lacking, default=len(plan.parameters))


@contextmanager
def _open(name: str) -> Iterator[Any]:
    path = Path(name).expanduser()
    if not path.is_file():
        raise ConfigError(f"transfer.file: {plain(name)} is no file")
    if path.suffix.lower() in PICKLES:
        raise ConfigError(
            f"transfer.file: {plain(name)} may be a pickle, which could run anything and is not opened; write it as "
            "safetensors: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
        )
    try:
        file = safe_open(path, "pt")
    except Exception as error:  # safetensors raises its own Rust-side types
        raise ConfigError(
            f"transfer.file: {plain(name)} cannot be read as safetensors: {plain(reason(error))}"
        ) from None
    with file:
        yield file


def _model(plan: Plan) -> str:
    return str(plan.config.model["name"])


def _of_block(names: Sequence[str], block: int) -> list[str]:
    return [name for name in names if name.partition(".")[0] == str(block)]


def _with_shapes(shapes: Mapping[str, Shape]) -> list[str]:
    return [f"{name} {shape}" for name, shape in shapes.items()]


def _some(names: Sequence[str]) -> str:
    """The first of them, in one line."""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return plain(", ".join(names[:MOST_NAMES]) + more)
