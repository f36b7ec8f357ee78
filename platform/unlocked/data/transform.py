"""Transforms: the way of a minibatch from the data set to the net. Augmentation, masked words, several views, negative
samples, noise and mixup are neighbours here.

A configuration names them in `data.transforms`, in order; a data set may bring its own, which come first. What a
transform draws depends on (seed, purpose, step) alone, so every worker makes the same minibatch by itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import torch
from torch import Generator, Tensor

from unlocked.blame import knowing_of_ctrl_c, place, said
from unlocked.entries import check_entry
from unlocked.errors import DataError, UnlockedError, reason
from unlocked.options import as_annotated, check_options, entry_of
from unlocked_models.contract.batch import Batch, Example, rows_of
from unlocked_models.contract.registry import Registry, unknown


class Transform(ABC):
    """Called as `transform(batch, generator)` on a whole minibatch; gives the batch that passes on.

    It may change inputs and targets and add extras; every example stays in its place. It makes new tensors and leaves
    the given ones as they are. `generator` is one of the CPU: move what it draws to the device of the batch.
    """

    purpose: ClassVar[str] = ""  # of its draws; transforms of one purpose draw one after the other. By default its name
    evaluates: ClassVar[bool] = False  # evaluation splits go through it too, once, by a draw of the data seed
    changes_x_alone: ClassVar[bool] = False  # a module that asks for targets alone need not run it

    @abstractmethod
    def __call__(self, batch: Batch, generator: Generator) -> Batch: ...

    def refuse(self, example: Example) -> str | None:
        """Why it cannot take such examples; None if it can."""
        return None

    def prepare(self, train: Batch) -> None:
        """Sees all training examples once, before the first minibatch: to count words, say."""
        return

    def example(self, example: Example) -> Example:
        """What its examples look like: `example` has the shapes that it gave; `n_outputs` and `masked` may differ."""
        return example


class PerExample(Transform):
    """A transform of each example by itself: a replica draws for the whole minibatch, and applies to its own rows."""

    @abstractmethod
    def draw(self, n: int, batch: Batch, generator: Generator) -> tuple[Tensor, ...]:
        """Random choices for n examples like those of `batch`, each a tensor `(n, ...)`."""

    @abstractmethod
    def apply(self, batch: Batch, *choices: Tensor) -> Batch:
        """Carries them out; they are on the device of the batch."""

    def __call__(self, batch: Batch, generator: Generator) -> Batch:
        return self.of_replica(batch, generator, (0, 1))

    def of_replica(self, batch: Batch, generator: Generator, shard: tuple[int, int]) -> Batch:
        """With `shard = (r, R)`, `batch` has the examples r, r + R, ... of the minibatch."""
        replica, replicas = shard
        choices = self.draw(len(batch.y) * replicas, batch, generator)
        return self.apply(batch, *(choice[replica::replicas].to(batch.y.device) for choice in choices))


TRANSFORMS: Registry[type[Transform]] = Registry("transform")
T = TypeVar("T", bound=type[Transform])


def register_transform(name: str) -> Callable[[T], T]:
    """Register a transform: a subclass of `Transform`, built with its options.

    The options are the keywords of its `__init__`, with their annotations and defaults. In a configuration:
    `data.transforms: [noise]`, or with options `[{name: noise, deviation: 0.2}]`.

    >>> from dataclasses import replace
    >>> @register_transform("noise_doc")
    ... class Noise(Transform):
    ...     def __init__(self, deviation: float = 0.1):
    ...         self.deviation = deviation
    ...     def __call__(self, batch, generator):
    ...         noise = torch.randn(batch.x.shape, generator=generator).to(batch.x)
    ...         return replace(batch, x=batch.x + self.deviation * noise)
    """

    def add(entry: T) -> T:
        check_entry("transform", name, entry, Transform)
        entry.purpose = entry.purpose or name
        TRANSFORMS.register(name)(entry)
        return entry

    return add


def check_transforms(entries: object, error: type[UnlockedError] = DataError) -> list[tuple[str, dict[str, Any]]]:
    """Names and options of `data.transforms`; raises `error`, one line, for an entry that is none."""
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise error(f"data.transforms: {entries!r} is not a list; write [{entries}]")
    found = []
    for i, entry in enumerate(entries):
        key = f"data.transforms[{i}]"
        name, options = entry_of(key, entry, "crop", "size: 4", error)
        if name not in TRANSFORMS:
            raise error(f"{key}: {unknown('transform', name, TRANSFORMS.names())}")
        make = TRANSFORMS.get(name)
        check_options(key, name, make, options, skip=0, error=error)
        found.append((name, as_annotated(make, options)))
    return found


def with_float_options(entries: Sequence[Any]) -> list[Any]:
    """Checked entries, with whole numbers as floats where the transform is annotated so."""
    named = zip(entries, check_transforms(entries), strict=True)
    return [{"name": name, **options} if isinstance(entry, Mapping) else name for entry, (name, options) in named]


def build_transforms(entries: object) -> list[Transform]:
    """Those of a configuration, in order. Raises `DataError`, one line."""
    built = []
    for i, (name, options) in enumerate(check_transforms(entries)):
        try:
            built.append(TRANSFORMS.get(name)(**options))
        except (ValueError, TypeError) as error:
            raise DataError(f"data.transforms[{i}]: {name}: {reason(error)}") from error
    return built


def transformed(
    transforms: Sequence[Transform], batch: Batch, seed_of: Callable[[str], int], shard: tuple[int, int] = (0, 1)
) -> Batch:
    """The batch behind all of them; `seed_of(purpose)` seeds the draws of each purpose.

    With a `shard` it is one replica's part of a minibatch, and they all are `PerExample`.
    """
    generators: dict[str, Generator] = {}
    for transform in transforms:
        purpose = transform.purpose or type(transform).__qualname__
        if purpose not in generators:
            generators[purpose] = Generator().manual_seed(seed_of(purpose))
        if shard == (0, 1):
            batch = transform(batch, generators[purpose])
        else:
            assert isinstance(transform, PerExample)
            batch = transform.of_replica(batch, generators[purpose], shard)
    return batch


def part(batch: Batch, shard: tuple[int, int]) -> Batch:
    """One replica's examples of a whole minibatch."""
    replica, replicas = shard
    if replicas == 1:
        return batch
    rows = torch.arange(replica, len(batch.y), replicas, device=batch.y.device)
    x = None if batch.x is None else batch.x.index_select(0, rows)
    return replace(batch, x=x, y=batch.y.index_select(0, rows), extras=rows_of(batch.extras, rows))


def example_after(
    transforms: Sequence[Transform], some: Batch, example: Example, train: Batch | None = None
) -> Example:
    """What the net sees of examples like `example`, of which `some` are given: by making them. Each transform is
    prepared on all examples `train` first, if they are given.

    Raises `DataError`, one line, for a transform that cannot take them or gives anything but a batch of as many.
    """
    for transform in transforms:
        name = _name(transform)
        why = transform.refuse(example)
        if why is not None:
            raise DataError(f"data.transforms: {name} {why}")
        if train is not None:
            transform.prepare(train)
        after = _run(transform, name, some)
        assert after.x is not None
        real = after.y.is_floating_point()
        example = replace(
            example,
            in_shape=tuple(after.x.shape[1:]),
            vocabulary=None if after.x.is_floating_point() else example.vocabulary,
            y_shape=tuple(after.y.shape[1:]),
            y_real=real,
            extras=(),
        ).with_extras(after.extras)
        example, some = transform.example(example), after
    return example


def _run(transform: Transform, name: str, some: Batch) -> Batch:
    try:
        with knowing_of_ctrl_c() as is_ctrl_c:
            after = transform(some, Generator().manual_seed(0))
    except BaseException as error:
        if is_ctrl_c(error):
            raise
        at = place(error, type(transform))
        raise DataError(f"data.transforms: {name} failed{f' at {at}' if at else ''}: {said(error)}") from error
    if not isinstance(after, Batch) or after.x is None:
        raise DataError(f"data.transforms: {name} gives a {type(after).__name__}; it has to give a Batch with x and y")
    counts = {len(after.x), len(after.y), *(len(extra) for extra in after.extras.values())}
    if counts != {len(some.y)}:
        raise DataError(
            f"data.transforms: {name} gives {max(counts - {len(some.y)})} rows of {len(some.y)} examples; every "
            "example stays in its place (a second view of it is an extra, or another axis)"
        )
    return after


def _name(transform: Transform) -> str:
    kind = type(transform)
    return next((name for name in TRANSFORMS if TRANSFORMS.get(name) is kind), kind.__qualname__)
