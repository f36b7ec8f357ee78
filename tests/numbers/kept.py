"""Measures and keeps what training comes to: losses and weights of every preset under every scheme.

    python tests/numbers/kept.py                  # every cell measured again; names those that differ
    python tests/numbers/kept.py --write          # writes all of kept.json anew
    python tests/numbers/kept.py --write lstm-dfa # only cells whose name contains one of these words

A cell is a preset, a scheme, a number of modules and a lag: a few steps in one process, in float64 and on one thread.
`kept.json` holds its loss at every step, of each block the sum and the norm of its weights and buffers after them, and
the same of the models that the scheme trains beside a module (M, I). Some cells also hold the metrics of the test split
and the alignment of their gradients after these steps. A cell that the configuration refuses is kept as `"refused"`.

These numbers prove that a refactoring changes none. A change that must move some (initial weights drawn in another
way, say) writes those cells again, with `--write`, in the same commit, which says why. Another processor rounds
differently, so `TOLERANCES` are wider there.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unlocked import load_config

# All that this file knows of the engine's insides is here, up to `trained_beside`.
from unlocked.engine.group import InProcessGroup
from unlocked.errors import ConfigError
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.plan.pretraining import plan_pretraining

MODULES = "parallel.modules"


def run(group: Any, steps: int) -> list[float]:
    """Losses of the first steps; of a machine without one, errors of its reconstructions."""
    (reports,) = group.run([(0, steps)], checkpoint_at=steps)
    series = reports[-1].series
    return series["loss"] if "loss" in series else series["unit_error"]


def begun(plan: Any, data: Any) -> dict[str, Tensor]:
    """Pre-trained weights."""
    segment = plan_pretraining(plan.config, data)
    group = InProcessGroup(segment, data)
    list(group.run([(0, segment.total_steps)], segment.total_steps))
    return weights(group, segment.total_steps)


def weights(group: Any, steps: int) -> dict[str, Tensor]:
    """Of the whole net, `block.name`, with buffers."""
    return {key: value for state in group.states(steps) for key, value in state["weights"].items()}


def trained_beside(group: Any) -> list[dict[str, Tensor]]:
    """Of each module, what its scheme trains beside it."""
    beside = []
    for module in group.modules:
        _, *models = module.learner.inner_modules()
        beside.append(
            {f"{i}.{key}": value for i, model in enumerate(models) for key, value in model.state_dict().items()}
        )
    return beside


def test_metrics(plan: Any, data: Any, group: Any) -> dict[str, float]:
    task = plan.make_task()
    return task.metrics(group.outputs("test"), task.target(data.test))


def alignment(group: Any) -> dict[str, list[float]]:
    """Cosine, cosine per example and ratio of norms, of each module into which a gradient is injected."""
    return {str(module): list(found) for module, found in group.probe().items()}


# ----------------------------------------------------------------------------------------------------------------------

FILE = Path(__file__).with_name("kept.json")
STEPS = 8
ALWAYS = ["train.precision=fp64", "parallel.device=cpu", "parallel.threads=1", "data.batch_size=8"]
# Relative, of losses and of everything after them. Adam makes full steps of gradients that are little more than
# rounding. Measured: AVX2 in place of AVX512 moves losses by 1e-12 and weights by 2e-6; without either, float32 initial
# weights are rounded differently, and losses move by 5e-6, weights by 2e-3.
TOLERANCES = {"same processor": (1e-9, 1e-9), "both vectorised": (1e-9, 1e-5), "other": (1e-5, 1e-2)}
LATE = ("dni", "cdni", "dfa")  # schemes that may consume messages late
SCHEMES = ("backprop", *LATE, "frozen")

BY_SCHEME = ("digits", "mnist1d", "fashion_mlp", "fashion_cnn")  # folders with a preset for each scheme
# Presets whose data is a download get other data of the same kind.
INSTEAD = {"fashion_mlp": "digits", "fashion_cnn": "digits", "seq2seq/verses": "dates"}
PRESETS = [
    "quickstart",
    *(f"recurrent/{name}" for name in ("rnn", "lstm", "gru", "text", "sunspots", "copy")),
    *(f"transformer/{name}" for name in ("encoder", "gpt", "bert", "bert_docstrings", "vit")),
    *(f"seq2seq/{name}" for name in ("rnn", "bahdanau", "luong", "transformer", "verses")),
    *(f"autoencoder/{name}" for name in ("autoencoder", "denoising", "contractive", "sparse", "sparse_coding")),
    *(f"autoencoder/{name}" for name in ("conv_autoencoder", "recurrent_autoencoder", "vae", "cvae", "pretrained")),
    "graph/gcn",
    "embedding/skipgram",
]
ONE_EXAMPLE = ("graph/gcn",)  # is the whole set
# Data sets read from this Python's own library: another Python has other texts.
OF_THIS_PYTHON = ("docstrings", "python_manual", "manual_pairs")
LARGE = ("python_manual",)  # an evaluation takes up to ten seconds


class Cell(NamedTuple):
    preset: str
    scheme: str
    modules: int
    lag: str = "auto"
    variant: str = ""  # what the name says of `more`
    more: tuple[str, ...] = ()  # overrides

    @property
    def measured(self) -> bool:
        """Whether its metrics and alignment are kept too."""
        return self.modules <= 2 and self.lag == "auto" and not self.variant and self.scheme != "frozen"

    @property
    def name(self) -> str:
        """quickstart-cdni-2-auto"""
        return "-".join(filter(None, (self.preset, self.scheme, str(self.modules), self.lag, self.variant)))

    def config(self) -> Any:
        data = INSTEAD.get(self.preset) or INSTEAD.get(self.preset.partition("/")[0])
        given = [f"data.name={data}"] if data else []
        given += ["data.batch_size=1"] if self.preset in ONE_EXAMPLE else []
        chosen = [f"scheme.name={self.scheme}", f"{MODULES}={self.modules}", f"scheme.lag={self.lag}"]
        return load_config(self.preset, [*ALWAYS, *given, *chosen, *self.more])


def _variants() -> Iterable[Cell]:
    inputs = ("scheme.synthetic_inputs=true", "scheme.inputs.hidden=[16]")
    for scheme in ("dni", "cdni"):
        yield Cell("quickstart", scheme, 3, "auto", "inputs", inputs)
        yield Cell("transformer/gpt", scheme, 2, "auto", "inputs", inputs)
    yield Cell("fashion_cnn/dni", "dni", 2, "auto", "inputs", inputs)
    time = ("scheme.time.synthetic=true", "scheme.time.auxiliary=0.1", "scheme.time.context=start")
    for scheme in SCHEMES:
        yield Cell("recurrent/text", scheme, 1 if scheme == "backprop" else 2, "auto", "time", time)
    for granularity in ("block", "module", "layer", "macro", "micro"):
        of = (f"scheme.feedback.granularity={granularity}",)
        yield Cell("transformer/gpt", "dfa", 2, "auto", granularity, of)
        yield Cell("transformer/encoder", "dfa", 2, "auto", granularity, of)
    yield Cell("transformer/gpt", "dfa", 2, "auto", "shared", ("scheme.feedback.shared_layers=true",))
    yield Cell("quickstart", "dfa", 2, "auto", "normal", ("scheme.feedback.distribution=normal",))
    for kind, hidden in (("linear", []), ("mlp", [16]), ("conv", [8])):
        yield Cell(
            "fashion_cnn/cdni", "cdni", 2, "auto", kind, (f"scheme.sg.kind={kind}", f"scheme.sg.hidden={hidden}")
        )
    yield Cell("quickstart", "cdni", 2, "auto", "dropout", ("model.dropout=0.3",))
    yield Cell("fashion_cnn/dni", "dni", 2, "auto", "augment", ("data.transforms=[flip,crop,cutout]",))
    yield Cell("autoencoder/pretrained", "cdni", 2, "auto", "begun", ("pretrain.epochs=1", "data.batch_size=64"))
    yield Cell("quickstart", "local", 3)
    yield Cell("fashion_cnn/cdni", "local", 2, "auto", "predsim", ("scheme.local.kind=predsim",))
    for scheme in ("cd", "pcd"):
        yield Cell("boltzmann/rbm", scheme, 2, "auto", "stack", ("model.hidden=[12,8]",))
    for scheme in ("backprop", "cdni", "dfa"):
        yield Cell("boltzmann/dbn", scheme, 2)
    for preset, scheme in (("dbm", "pcd"), ("machine", "cd"), ("gaussian", "pcd")):
        yield Cell(f"boltzmann/{preset}", scheme, 1)
    yield Cell("graph/gcn", "cdni", 2, "auto", "hops", ("scheme.sg.hops=1", "data.batch_size=1"))
    for name in ("adamw", "rmsprop"):
        yield Cell("quickstart", "cdni", 2, "auto", name, (f"optimizer.name={name}",))
    for scheme in SCHEMES:  # a gradient of another size leaves Adam's steps nearly as they are, but not these
        sgd = ("optimizer.name=sgd", "optimizer.lr=0.1", "scheme.sg.optimizer=sgd", "scheme.sg.lr=0.001")
        for preset in ("quickstart", "transformer/gpt", "recurrent/lstm"):
            yield Cell(preset, scheme, 1 if scheme == "backprop" else 2, "auto", "sgd", sgd)


def cells() -> list[Cell]:
    found: list[Cell] = []
    for scheme in SCHEMES:
        for preset in [*PRESETS, *(f"{group}/{scheme}" for group in BY_SCHEME)]:
            if scheme == "backprop":
                found.append(Cell(preset, scheme, 1))
                continue
            found += [Cell(preset, scheme, modules) for modules in (2, 3)]
            if scheme in LATE:
                found.append(Cell(preset, scheme, 2, "0"))
    return [*found, *_variants()]


def measure(cell: Cell) -> dict[str, Any] | str:
    torch.set_num_threads(1)
    try:
        config = cell.config()
        data = _load(config)
        plan = make_plan(config, data)
        group = InProcessGroup(plan, data)
    except ConfigError:
        return "refused"
    if cell.variant == "begun":
        group.load_weights(begun(plan, data))
    losses = run(group, STEPS)
    blocks: dict[str, dict[str, Tensor]] = {}
    for key, value in weights(group, STEPS).items():
        blocks.setdefault(key.partition(".")[0], {})[key] = value
    found: dict[str, Any] = {
        "losses": losses,
        "blocks": [_sum_and_norm(blocks[key]) for key in sorted(blocks, key=int)],
    }
    found["beside"] = [_sum_and_norm(values) for values in trained_beside(group) if values]
    if cell.measured:
        found["alignment"] = alignment(group)
        if cell.scheme == "cdni" and config.data.name not in LARGE:
            found["test"] = test_metrics(plan, data, group)
    return {kind: values for kind, values in found.items() if values}


_LOADED: dict[str, Any] = {}  # repr(config.data) -> the data set, for all cells that share it


def _load(config: Any) -> Any:
    key = repr(config.data)
    if key not in _LOADED:
        _LOADED[key] = load_data(config)
    return _LOADED[key]


def _sum_and_norm(values: dict[str, Tensor]) -> list[float]:
    real = [value.double().flatten() for _, value in sorted(values.items()) if value.is_floating_point()]
    flat = torch.cat([torch.zeros(1, dtype=torch.float64), *real])
    flat = flat[flat.isfinite()]  # a mask is a buffer too
    return [math.fsum(flat.tolist()), math.sqrt(math.fsum(flat.square().tolist()))]


def processor() -> list[str]:
    """Its instructions, as far as torch uses them, and its name."""
    names = Path("/proc/cpuinfo")
    lines = names.read_text(encoding="utf-8").splitlines() if names.exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    return [torch.backends.cpu.get_cpu_capability(), name]


def tolerances(kept: dict[str, Any]) -> tuple[float, float]:
    """Between this machine's numbers and those `kept`."""
    here, there = processor(), kept["processor"]
    if here == there:
        return TOLERANCES["same processor"]
    vectorised = all(instructions.startswith("AVX") for instructions, _ in (here, there))
    return TOLERANCES["both vectorised" if vectorised else "other"]


def difference(now: Any, kept: Any, tolerances: tuple[float, float]) -> str | None:
    """What tells two measurements of a cell apart; None: nothing."""
    if isinstance(now, str) or isinstance(kept, str):
        return None if now == kept else f"{_outcome(now)}, was kept as {_outcome(kept)}"
    if now.keys() != kept.keys():
        return f"{', '.join(now)} are measured, kept are {', '.join(kept)}"
    for kind in now:
        ours, theirs = _flat(now[kind]), _flat(kept[kind])
        if ours.keys() != theirs.keys():
            return f"{kind}: {len(ours)} numbers, were {len(theirs)}"
        tolerance = tolerances[kind != "losses"]
        for place, value in theirs.items():
            norm = theirs.get(f"{place[: -len('[0]')]}[1]", 0.0)  # beside a sum, in which numbers cancel
            if not abs(ours[place] - value) <= tolerance * max(abs(value), norm):
                return f"{kind}{place} is {ours[place]!r}, was {value!r}"
    return None


def _flat(values: Any, place: str = "") -> dict[str, float]:
    """Numbers by their place: `[1][0]`."""
    if not isinstance(values, (dict, list)):
        return {place: values}
    inside = values.items() if isinstance(values, dict) else enumerate(values)
    return {key: number for i, value in inside for key, number in _flat(value, f"{place}[{i}]").items()}


def _outcome(found: Any) -> str:
    return found if isinstance(found, str) else "trained"


def read() -> dict[str, Any]:
    return json.loads(FILE.read_text(encoding="utf-8"))


def write(kept: dict[str, Any]) -> None:
    """A cell per line, so that a change shows which."""
    ordered = {cell.name: kept["cells"][cell.name] for cell in cells() if cell.name in kept["cells"]}
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(found)}" for name, found in ordered.items())
    head = f'"python": {json.dumps(platform.python_version())}, "processor": {json.dumps(processor())}'
    FILE.write_text(f'{{{head}, "cells": {{\n{lines}\n}}}}\n', encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description="Measures the kept numbers again.")
    parser.add_argument("--write", action="store_true", help="keep them")
    parser.add_argument("names", nargs="*", help="parts of the names of cells; none: all")
    asked = parser.parse_args()
    chosen = [cell for cell in cells() if not asked.names or any(word in cell.name for word in asked.names)]
    kept = read() if FILE.exists() else {"processor": processor(), "cells": {}}
    differ = 0
    for cell in chosen:
        found = measure(cell)
        why = difference(found, kept["cells"][cell.name], tolerances(kept)) if cell.name in kept["cells"] else "new"
        if why is not None:
            differ += 1
            print(f"{cell.name}: {why}")
        kept["cells"][cell.name] = found
    print(f"{len(chosen)} cells, {differ} differ")
    if asked.write:
        write(kept)
    return 0 if asked.write or not differ else 1


if __name__ == "__main__":
    sys.exit(main())
