"""A trained net as one file that runs without this package: ONNX, or a program of `torch.export`.

The file takes raw inputs, as `unlocked predict` does: what the training split's statistics do to them is part of it. Of
sequences that say how long they are it takes a second input, `lengths (n,)`. It gives what the net gives, before any
softmax. Any number of inputs goes at once. Whatever was written is run again, and
held against the plain net.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from unlocked.data.new.reading import Reading
from unlocked.errors import ConfigError, RunFailed, reason
from unlocked.files import written_whole
from unlocked.runs.opened import SHORT, Opened
from unlocked_models.contract.batch import LENGTHS, Batch
from unlocked_models.contract.chain import Chain, carrying, decoder_start
from unlocked_models.contract.registry import unknown

FORMATS = {"torch": ".pt2", "onnx": ".onnx"}
NEEDS = {"onnx": ("onnx", "onnxscript", "onnxruntime")}
INSTALL = "pip install 'unlocked[export]'"
TOLERANCE = 1e-4  # of outputs, beside the largest


class WithStatistics(nn.Module):
    """From raw inputs `(n, *shape)`, and the lengths of sequences that have some, to the net's outputs."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, net: Chain, reading: Reading | None):
        super().__init__()
        self.net = net
        self.scale = 255.0 if reading is not None and reading.dtype == "uint8" else 1.0
        self.y_shape = () if reading is None else reading.example.y_shape
        self.lengths = reading is not None and reading.example.has_lengths
        self.takes_batch = net.takes_batch()
        dtype = next((p.dtype for p in net.parameters()), torch.float32)
        mean, deviation = ([], []) if reading is None else (reading.mean, reading.deviation)
        self.normalises = bool(mean)
        axis = 1 if reading is not None and len(reading.shape) == 3 else -1
        for name, values in (("mean", mean), ("deviation", deviation)):
            tensor = torch.tensor(values, dtype=dtype)
            self.register_buffer(name, tensor.reshape(-1, 1, 1) if axis == 1 else tensor)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        h = x / self.scale if self.scale != 1.0 else x
        if self.normalises:
            h = (h - self.mean) / self.deviation
        if lengths is not None:
            there = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
            h = torch.where(there.reshape(*there.shape, *[1] * (h.dim() - 2)), h, torch.zeros_like(h))
        if not self.takes_batch:
            out: Tensor = self.net(h)
            return out
        extras = {} if lengths is None else {LENGTHS: lengths}
        batch = Batch(h, torch.zeros(x.shape[0], *self.y_shape, dtype=torch.int64), extras=extras)
        answer: Tensor = self.net(h, batch)
        return answer


def export(opened: Opened, kind: str, path: Path, net: str | None = None) -> float:
    """Writes the file; how far its outputs lie from the plain net's, at most.

    Raises `ConfigError` for a net that is no function of one tensor, or without what the format needs; `RunFailed` if
    torch cannot write it, or the file answers otherwise than the net.
    """
    if kind not in FORMATS:
        raise ConfigError(f"--format: {unknown('format', kind, list(FORMATS))}")
    lacking = [name for name in NEEDS.get(kind, ()) if importlib.util.find_spec(name) is None]
    if lacking:
        raise ConfigError(f"--format: {kind} needs {' and '.join(lacking)}, which are not installed: {INSTALL}")
    chain = opened.net(net)
    _refuse(opened, chain)
    if next((p.dtype for p in chain.parameters()), torch.float32) in SHORT:  # which few runtimes read
        chain.float()
    alone = net is None
    whole = WithStatistics(chain, opened.reading if alone else None).eval()
    inputs = _examples(opened, net)
    for layer in carrying(chain):
        layer.carried = None  # type: ignore[assignment]
    with torch.no_grad():
        wanted = whole(*inputs.values())
    try:
        with _quiet():
            many = torch.export.Dim("n", min=1)
            shapes = {name: {0: many} for name in inputs}
            program = torch.export.export(whole, tuple(inputs.values()), dynamic_shapes=shapes)
            content = _bytes_of(program, kind)
    except Exception as error:  # the exporters raise all kinds
        raise RunFailed(f"{opened.run}: torch cannot export this net as {kind}: {reason(error)[:300]}") from None
    try:
        with written_whole(path) as part:
            part.write_bytes(content)
    except OSError as error:
        raise RunFailed(f"{path}: cannot be written: {error.strerror}") from None
    off = 0.0
    for n in (len(wanted), 1):  # of another size than it was written with
        given = _run(path, kind, {name: each[:n] for name, each in inputs.items()})
        off = max(off, float((given - wanted[:n]).abs().max()))
    if not off <= TOLERANCE * max(1.0, float(wanted.abs().max())):
        raise RunFailed(f"{path}: its outputs are {off:.2g} away from those of the net; it is not to be used")
    return off


def _refuse(opened: Opened, chain: Chain) -> None:
    beside = [extra.name for extra in opened.reading.extras if extra.name != LENGTHS]
    if decoder_start(chain) is not None:
        raise ConfigError(f"{opened.run}: an encoder-decoder reads what it has written: no function of one tensor")
    if opened.reads_targets(chain):
        raise ConfigError(f"{opened.run}: its blocks read the target beside their input: no function of one tensor")
    if chain.takes_batch() and beside:
        raise ConfigError(
            f"{opened.run}: its blocks read {', '.join(beside)} beside their input; they are no function of one tensor"
        )


def _examples(opened: Opened, net: str | None) -> dict[str, Tensor]:
    """Inputs to write and to check it with, by name."""
    x, found = _example(opened, net), {}
    if net is None and opened.reading.example.has_lengths:
        found[LENGTHS] = torch.arange(len(x)) % x.shape[1] + 1
    return {"x": x, **found}


def _example(opened: Opened, net: str | None) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    chain, reading = opened.net(net), opened.reading
    dtype = next((p.dtype for p in chain.parameters()), torch.float32)
    if net is not None:
        return torch.randn(3, *opened.trained.shapes[net], generator=generator, dtype=dtype)
    shape = (3, *(reading.shape if reading.changed_by is None else reading.example.in_shape))
    if reading.symbols is not None:
        return torch.randint(1, len(reading.symbols), shape, generator=generator)
    x = reading.lowest + (reading.highest - reading.lowest) * torch.rand(shape, generator=generator, dtype=dtype)
    return x.round() if reading.dtype == "uint8" else x


def _bytes_of(program: torch.export.ExportedProgram, kind: str) -> bytes:
    held = io.BytesIO()
    if kind == "torch":
        torch.export.save(program, held)
        return held.getvalue()
    written = torch.onnx.export(program, dynamo=True, verbose=False)
    assert written is not None
    content: bytes = written.model_proto.SerializeToString()
    return content


def _run(path: Path, kind: str, inputs: dict[str, Tensor]) -> Tensor:
    """What the file answers, by itself."""
    if kind == "torch":
        with torch.no_grad():
            out: Tensor = torch.export.load(path).module()(*inputs.values())
        return out
    import onnxruntime

    session = onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    (given,) = session.run(None, {name: each.numpy() for name, each in zip(names, inputs.values(), strict=True)})
    return torch.from_numpy(np.asarray(given))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters print of their progress."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
