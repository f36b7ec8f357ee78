"""A trained run as what it is to its users: a plain net, and its answers to new inputs.

>>> from unlocked import load, predict
>>> net = load("runs/quickstart-cdni-s0-...")  # doctest: +SKIP
>>> predict("runs/quickstart-cdni-s0-...", "digits.csv")["prediction"]  # doctest: +SKIP
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unlocked.config import Config, from_tree
from unlocked.config.check import task_of
from unlocked.data import DataSet
from unlocked.data.new.inputs import New, read_file
from unlocked.data.new.reading import Reading
from unlocked.errors import ConfigError, DataError
from unlocked.plan.plan import load_data
from unlocked.runs.evaluate import load_trained
from unlocked.runs.folder import read_config
from unlocked.runs.needs import bring, where_it_began
from unlocked.tasks import Task, Trained, make_task
from unlocked.tasks.phases import NET
from unlocked.tasks.predicting import Columns
from unlocked_models.contract.batch import rows_of
from unlocked_models.contract.chain import Chain, carrying
from unlocked_models.contract.registry import unknown

AT_ONCE = 100  # inputs in a pass
WEIGHTS = ("best", "last")
SHORT = (torch.bfloat16, torch.float16)


@dataclass(frozen=True, eq=False)
class Opened:
    """The nets of a run in evaluation mode, and how inputs are read for them."""

    run: Path
    config: Config
    reading: Reading
    trained: Trained

    @property
    def data(self) -> DataSet:
        """Names and shapes alone."""
        return self.trained.data

    @cached_property
    def task(self) -> Task:
        return make_task(task_of(self.config), self.config.objective)

    def net(self, name: str | None = None) -> Chain:
        """Raises `ConfigError` unless `name` is that of one of several nets, or the only one is meant."""
        nets = self.trained.nets
        if name is None and len(nets) == 1:
            return next(iter(nets.values()))
        if name is None:
            raise ConfigError(f"{self.run}: its model has the nets {', '.join(nets)}; name one")
        if name not in nets:
            raise ConfigError(f"{self.run}: {unknown('net', name, list(nets))}")
        return nets[name]

    def reads_targets(self, net: Chain) -> bool:
        """Whether outputs of these blocks change with the targets of the minibatch, which new inputs do not have."""
        if not net.takes_batch():
            return False
        if len(self.trained.nets) > 1:  # inputs of those are made; what they ask the minibatch for is its labels
            return True
        dtype = next((p.dtype for p in net.parameters()), torch.float32)
        batch = self.reading.example.batch(dtype=dtype)
        found = []
        with torch.inference_mode():
            for y in (batch.y, torch.ones_like(batch.y)):
                for layer in carrying(net):
                    layer.carried = None  # type: ignore[assignment]
                assert batch.x is not None
                found.append(net(batch.x, replace(batch, y=y)))
        return not torch.equal(*found)

    def read(self, file: Path) -> New:
        """Raises `ConfigError` if this net's inputs come from no file, `DataError` for a fault in it."""
        self.refuse_without_inputs()
        return read_file(file, self.reading)

    def refuse_without_inputs(self) -> None:
        if NET not in self.trained.nets:
            nets = ", ".join(self.trained.nets)
            raise ConfigError(
                f"{self.run}: its nets ({nets}) make their inputs from noise or from each other, and read no file; "
                "`unlocked generate` shows what they make"
            )
        answers_texts = type(self.task).written is not Task.written
        if self.reading.changed_by is not None and not answers_texts:
            raise ConfigError(
                f"{self.run}: its net sees inputs that {self.reading.changed_by} draws anew from those of the data "
                "set, and its outputs are about them; new inputs alone cannot be asked"
            )

    def outputs(self, new: New) -> Tensor:
        """What the net gives, `(n, ...)`: the numbers that `unlocked evaluate` measures."""
        whole = torch.cat([output for output, _ in self._passes(new)])
        return whole.float() if whole.dtype in SHORT else whole  # numpy knows no bfloat16

    def table(self, new: New, continuation: int = 0) -> Columns:
        """What it says of each input, in the names of its data set, and of texts that many tokens after each. Raises
        `ConfigError` if it says nothing, or goes on with no text."""
        further = self._continued(new, continuation) if continuation else {}
        return {**self._said(new), **further}

    def _continued(self, new: New, tokens: int) -> Columns:
        try:
            texts = None if new.texts is None else self.task.continued(self.trained, new.texts, tokens)
        except ConfigError as error:
            raise DataError(f"{new.what}: {str(error).removeprefix('prompt: ')}") from None
        if texts is None:
            raise ConfigError(f"{self.run}: a run of {task_of(self.config)} goes on with no text")
        return {"continuation": texts}

    def _said(self, new: New) -> Columns:
        if new.texts is not None:
            try:
                written = self.task.written(self.trained, new.texts)
            except ConfigError as error:
                raise DataError(f"{new.what}: {str(error).removeprefix('--input: ')}") from None
            if written is not None:
                return {"prediction": written}
        table: dict[str, list[Any]] = {}
        for output, batch in self._passes(new):
            columns = self.task.predicted(output, batch, self.data)
            if columns is None:
                raise ConfigError(
                    f"{self.run}: outputs of a run of {task_of(self.config)} say nothing of one input by itself; "
                    "--out FILE.npz writes them as they are"
                )
            for name, values in columns.items():
                table.setdefault(name, []).extend(values)
        return table

    def _passes(self, new: New) -> Iterator[tuple[Tensor, Any]]:
        net = self.net()
        if self.reads_targets(net):
            raise ConfigError(f"{self.run}: its net reads the target beside the input, which a new input does not have")
        dtype = next((p.dtype for p in net.parameters()), torch.float32)
        streams = carrying(net)
        for rows in torch.arange(len(new.x)).split(AT_ONCE):
            for layer in streams:
                layer.carried = None  # type: ignore[assignment]
            batch = self.reading.batch(new.x[rows], rows_of(new.extras, rows))
            assert batch.x is not None
            x = batch.x.to(dtype) if batch.x.is_floating_point() else batch.x
            batch = replace(batch, x=x)
            with torch.inference_mode():
                yield net(x, batch), batch


def open_trained(run: str | Path | Mapping[str, Any], weights: str = "best", imports: Sequence[str] = ()) -> Opened:
    """A run folder, or what `train` returned, opened for new inputs; its data set is not needed.

    Modules of the user's with which it was begun are imported, as when it goes on. Raises `ConfigError`, one line.
    """
    place = Path(run["run_dir"] if isinstance(run, Mapping) else os.fspath(run)).absolute()
    if weights not in WEIGHTS:
        raise ConfigError(f"weights: {unknown('choice', weights, list(WEIGHTS))}")
    tree = read_config(place)
    bring(place, imports)
    config = from_tree(tree)
    reading = Reading.read(place) or _of_data(place, config)
    trained = load_trained(place, config, reading.stand_in(), weights, place / "generated")
    return Opened(place, config, reading, trained)


def _of_data(place: Path, config: Config) -> Reading:
    """Of a run that was begun before it was written down."""
    with where_it_began(place):
        return Reading.of(load_data(config))


def load(run: str | Path | Mapping[str, Any], *, net: str | None = None, weights: str = "best") -> nn.Sequential:
    """The trained net of a run as a plain `nn.Sequential`, in evaluation mode, on the CPU.

    Args:
        run: its folder, or what `train` returned.
        net: which, if its model has several (generator, discriminator).
        weights: best, by the validation metric, or last.

    It reads inputs as its data set gives them, normalised; `predict` reads them as they are. Blocks that ask for more
    than the tensor before them (edges of a graph, the decoder's tokens) get it as `net(x, batch)`, an
    `unlocked_models.Batch`. Raises `ConfigError`, one line.
    """
    chain = open_trained(run, weights).net(net)
    return chain if chain.takes_batch() else nn.Sequential(*chain).eval()


def predict(run: str | Path | Mapping[str, Any], inputs: Any, *, weights: str = "best") -> Columns:
    """What the net of a run says of new inputs, as columns by name: `pandas.DataFrame(predict(...))`.

    `inputs`: a file as `unlocked predict` takes it, an array `(n, ...)` of raw inputs, or a list of texts.
    """
    opened = open_trained(run, weights)
    return opened.table(as_new(opened, inputs))


def as_new(opened: Opened, inputs: Any) -> New:
    """Raises `DataError` for what is neither a file, an array, texts, a table nor arrays by name."""
    import numpy as np

    from unlocked.data.new.inputs import TEXT, of_arrays, of_table, of_texts

    what, reading = "inputs", opened.reading
    if isinstance(inputs, (str, Path)):
        return opened.read(Path(inputs))
    opened.refuse_without_inputs()
    if hasattr(inputs, "columns"):  # of pandas
        heads = [str(each) for each in inputs.columns]
        return of_table(heads, inputs.to_numpy().tolist(), reading, what)
    if isinstance(inputs, Mapping):
        if list(inputs) == [TEXT]:
            return of_texts([str(each) for each in inputs[TEXT]], reading, what)
        return of_arrays({str(key): np.asarray(value) for key, value in inputs.items()}, reading, what)
    try:
        array = inputs.numpy() if isinstance(inputs, Tensor) else np.asarray(inputs)
    except ValueError:
        raise DataError(f"{what}: rows have different lengths") from None
    if array.dtype.kind in "UO":
        return of_texts([str(each) for each in array.flatten()], reading, what)
    return of_arrays({"x": array}, reading, what)
