"""What a learner holds beside the blocks of its module, registered once.

Checkpoints, learning-rate schedules, checks for numbers that are not finite and counts of parameters follow from it.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from unlocked.errors import RunFailed, reason
from unlocked_models.contract.batch import Batch, Ragged

T = TypeVar("T")
_BATCH, _RAGGED = "unlocked.batch", "unlocked.ragged"  # keys of what stands for one in a checkpoint


class _Held(NamedTuple):
    thing: Any
    save: Callable[[], Any] | None
    load: Callable[[Any], None] | None


class Holder:
    """Base of what has a state: a learner, and parts of one, which may hold others.

    >>> class Teacher(Holder):
    ...     def __init__(self):
    ...         self.model = self.holds("model", nn.Linear(2, 1))
    ...         self.optimizer = self.holds("optimizer", torch.optim.Adam(self.model.parameters(), lr=0.1))
    ...         self.kept = self.holds("kept", deque())
    >>> teacher, again = Teacher(), Teacher()
    >>> teacher.kept.append((0, torch.ones(2)))
    >>> again.load_state(teacher.state())
    >>> again.kept, len(again.optimizers()), len(again.inner_modules())
    (deque([(0, tensor([1., 1.]))]), 1, 1)
    """

    def holds(
        self, name: str, thing: T, save: Callable[[], Any] | None = None, load: Callable[[Any], None] | None = None
    ) -> T:
        """Registers what belongs to the state under `name`, by which checkpoints know it, and gives it back.

        A module, an optimiser, a queue (`deque`) of tensors, minibatches and plain values, or another `Holder`. `save`
        and `load` are for what needs more: they give its state, of tensors and plain values, and take it back; things
        are loaded in the order in which they were registered.
        """
        known = (nn.Module, torch.optim.Optimizer, deque, Holder)
        if (save is None or load is None) and not isinstance(thing, known):
            raise TypeError(
                f"{type(self).__name__}: holds({name!r}, ...) takes a module, an optimizer, a deque or a Holder, not "
                f"{type(thing).__name__}; anything else needs `save` and `load`"
            )
        self._registered[name] = _Held(thing, save, load)
        return thing

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """All that are held: a schedule scales the rates of each."""
        found: list[torch.optim.Optimizer] = []
        for _, thing in self.held():
            if isinstance(thing, torch.optim.Optimizer):
                found.append(thing)
            elif isinstance(thing, Holder):
                found += thing.optimizers()
        return found

    def inner_modules(self) -> list[nn.Module]:
        """All that are held, for checks and accounting."""
        found: list[nn.Module] = []
        for _, thing in self.held():
            if isinstance(thing, nn.Module):
                found.append(thing)
            elif isinstance(thing, Holder):
                found += thing.inner_modules()
        return found

    def state(self) -> dict[str, Any]:
        """Of all that is held, as tensors and plain values."""
        return {name: self._saved(name, thing) for name, thing in self.held()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        for name, thing in self.held():
            if name not in state:
                raise RunFailed(
                    f"the checkpoint has no {name!r} of {type(self).__name__}: another scheme's, or version's"
                )
            given, load = state[name], self._registered[name].load
            if load is not None:
                load(given)
            elif isinstance(thing, nn.Module | torch.optim.Optimizer):
                thing.load_state_dict(given)
            elif isinstance(thing, Holder):
                thing.load_state(given)
            else:
                thing.clear()
                thing.extend(map(_restored, given))

    def _saved(self, name: str, thing: Any) -> Any:
        save = self._registered[name].save
        if save is not None:
            return save()
        if isinstance(thing, nn.Module):
            return thing.state_dict()
        if isinstance(thing, torch.optim.Optimizer):
            return _given_back(thing)
        if isinstance(thing, Holder):
            return thing.state()
        return [_plain(entry, f"{type(self).__name__}: {name}") for entry in thing]

    def held(self) -> list[tuple[str, Any]]:
        """By name; the attribute of that name counts if there is one, which may have been replaced."""
        return [(name, getattr(self, name, held.thing)) for name, held in self._registered.items()]

    @property
    def _registered(self) -> dict[str, _Held]:
        found: dict[str, _Held] = self.__dict__.setdefault("_holds", {})
        return found


def _given_back(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Its state; raises `RunFailed` for what no file gives back without running code: the run could never go on."""
    state = optimizer.state_dict()
    file = io.BytesIO()
    try:
        torch.save(_without_tensors(state), file)
        file.seek(0)
        torch.load(file, weights_only=True)
    except Exception as error:  # pickling and unpickling errors of any kind
        raise RunFailed(
            f"optimizer.name: the state of {type(optimizer).__name__} holds more than tensors, numbers, texts, lists "
            f"and dicts, which a checkpoint gives back without running code: {reason(error)}"
        ) from None
    return state


def _without_tensors(value: Any) -> Any:
    if isinstance(value, Tensor):
        return None
    if type(value) in (list, tuple):
        return type(value)(map(_without_tensors, value))
    if type(value) is dict:
        return {key: _without_tensors(entry) for key, entry in value.items()}
    return value


def _plain(value: Any, owner: str) -> Any:
    """As a checkpoint holds it, which loads no code."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, Batch):
        return {_BATCH: value.state()}
    if isinstance(value, Ragged):
        return {_RAGGED: (value.values, value.offsets)}
    if type(value) in (tuple, list, deque):
        entries = [_plain(entry, owner) for entry in value]
        return tuple(entries) if isinstance(value, tuple) else entries
    if type(value) is dict:
        return {key: _plain(entry, owner) for key, entry in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise RunFailed(
        f"{owner} holds a {type(value).__name__}, which no checkpoint takes; keep tensors, minibatches, numbers, "
        f"texts, and tuples, lists and dicts of them, or give holds(...) `save` and `load`"
    )


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        if _BATCH in value:
            return Batch.of_state(value[_BATCH])
        if _RAGGED in value:
            return Ragged(*value[_RAGGED])
        return {key: _restored(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(map(_restored, value))
    return value
