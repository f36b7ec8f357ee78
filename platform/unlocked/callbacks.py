"""Callbacks by name: what follows a run, may log what it measures, and may end it.

    @register_callback("best_so_far")
    class BestSoFar(Callback):
        def on_epoch_end(self, run, epoch, metrics):
            run.log({"best_so_far": ...})

    callbacks: [best_so_far, {name: stop_at, metric: val/accuracy, value: 0.95}]

They run in the process that drives the training, in their order, whatever the engine: workers know nothing of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from unlocked import metrics as names
from unlocked.blame import knowing_of_ctrl_c, place, said
from unlocked.entries import check_entry
from unlocked.errors import ConfigError
from unlocked.options import as_annotated, check_options, entry_of
from unlocked_models.contract.registry import Registry, unknown

if TYPE_CHECKING:
    from unlocked.loop.callbacks import Training


class Callback:
    """Base of all callbacks; each method does nothing until a subclass gives it. The keywords of `__init__` are its
    options in a configuration; it is made whenever a configuration is checked, so files are opened in `on_train_begin`.

    `run` is the run as it now stands (`unlocked.Training`): `run.step`, `run.log({...})`, `run.stop("why")`,
    `run.network()`.
    """

    def on_train_begin(self, run: Training) -> None:
        """Before the first step, and again whenever a run goes on (`run.step` says from where)."""

    def on_step_end(self, run: Training, step: int, values: Mapping[str, float]) -> None:
        """After each step, counted from 1, with what the learners recorded in it: `train/loss`, `sg/loss/module_0`.

        Called for the steps of a segment (`train.log_every`) when it ends, since nothing leaves the device before. With
        `on_step_end`, workers wait at the end of each segment; a run whose callbacks have none pays nothing.
        """

    def on_evaluate(self, run: Training, split: str, metrics: Mapping[str, float]) -> None:
        """After an evaluation of `validation`, and of `test` at the end, with its metrics by name: `accuracy`."""

    def on_epoch_end(self, run: Training, epoch: int, metrics: Mapping[str, float]) -> None:
        """After each epoch, counted from 1, with the latest value of every metric: `val/accuracy`, `train/loss`."""

    def on_train_end(self, run: Training) -> None:
        """After the test split; not of a run that is interrupted, which goes on later."""

    def state_dict(self) -> dict[str, Any]:
        """What a run that goes on needs to know of those before: tensors and plain values. In every checkpoint."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Gets back what `state_dict` gave; called before `on_train_begin` if there is a state."""


CALLBACKS: Registry[type[Callback]] = Registry("callback")
C = TypeVar("C", bound=type[Callback])


def register_callback(name: str) -> Callable[[C], C]:
    """Register a callback, a subclass of `Callback`; `TypeError`, one line, for anything else."""

    def add(entry: C) -> C:
        check_entry("callback", name, entry, Callback)
        known = {method for method in dir(Callback) if method.startswith("on_")}
        strange = sorted(method for method in dir(entry) if method.startswith("on_") and method not in known)
        if strange:
            raise TypeError(f"callback {name!r}: {unknown('event', strange[0], sorted(known))}")
        CALLBACKS.register(name)(entry)
        return entry

    return add


def check_callbacks(entries: Sequence[Any]) -> list[tuple[str, dict[str, Any]]]:
    """Names and options of `callbacks`; raises `ConfigError`, one line, for an entry that is none."""
    found = []
    for i, entry in enumerate(entries):
        name, options = entry_of(f"callbacks[{i}]", entry, "stop_at", "value: 0.95")
        if name not in CALLBACKS:
            raise ConfigError(f"callbacks[{i}]: {unknown('callback', name, CALLBACKS.names())}")
        check_options(f"callbacks[{i}]", name, CALLBACKS.get(name), options, skip=0)
        found.append((name, as_annotated(CALLBACKS.get(name), options)))
    return found


def follows(entries: Sequence[Any], event: str) -> bool:
    """Whether any of the checked entries has a method of that name, such as `on_step_end`."""
    kinds = [CALLBACKS.get(name) for name, _ in check_callbacks(entries)]
    return any(getattr(kind, event) is not getattr(Callback, event) for kind in kinds)


def make_callbacks(entries: Sequence[Any]) -> list[tuple[str, Callback]]:
    """Each with its name; raises `ConfigError`, one line, for one that refuses its options."""
    made = []
    for i, (name, options) in enumerate(check_callbacks(entries)):
        try:
            with knowing_of_ctrl_c() as is_ctrl_c:
                made.append((name, CALLBACKS.get(name)(**options)))
        except BaseException as error:  # a user's code raises whatever it likes
            if is_ctrl_c(error):
                raise
            at = place(error)
            raise ConfigError(f"callbacks[{i}]: {name} failed{f' at {at}' if at else ''}: {said(error)}") from error
    return made


def with_float_options(entries: Sequence[Any]) -> list[Any]:
    """Checked entries, with whole numbers as floats where the callback is annotated so."""
    named = zip(entries, check_callbacks(entries), strict=True)
    return [{"name": name, **options} if isinstance(entry, Mapping) else name for entry, (name, options) in named]


@register_callback("stop_at")
class StopAt(Callback):
    """Ends the run at the end of the first epoch in which a metric is as good as `value`: a time to quality."""

    def __init__(self, value: float, metric: str = "val/accuracy"):
        self.value, self.metric = value, metric

    def on_epoch_end(self, run: Training, epoch: int, metrics: Mapping[str, float]) -> None:
        found = metrics.get(self.metric)
        if found is None:  # not measured yet, such as before the first evaluation
            return
        if found >= self.value if names.higher_is_better(self.metric) else found <= self.value:
            run.stop(f"{self.metric} is {found:.4g} after epoch {epoch}")

    def on_train_end(self, run: Training) -> None:
        if self.metric not in run.metrics:
            run.note(f"callbacks: stop_at: {unknown('metric', self.metric, sorted(run.metrics))}")
