"""What Boltzmann machines show: what they dream of, what their hidden units look for, what they draw of a class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unlocked.drawing import pictures
from unlocked_models.boltzmann import RBM, BoltzmannBlock, LabelRBM
from unlocked_models.contract.chain import Chain

PER_ROW = 10
MOST_FIELDS = 50  # hidden units whose weights are drawn
AFTER = (0, 1, 10, 100, 1000)  # steps of Gibbs sampling that are drawn


def machines(chain: Chain) -> list[BoltzmannBlock]:
    return [block for block in chain if isinstance(block, BoltzmannBlock)]


def down(below: Sequence[BoltzmannBlock], v: Tensor) -> Tensor:
    """The input of the lowest machine whose units, up to those of the top one, have these means; `v` of the top."""
    for block in reversed(below):
        assert isinstance(block, RBM)  # others have nothing above them
        v = block.down(v)
    return v


def samples(chain: Chain, shape: tuple[int, ...], path: Path, rows: int, steps: int, seed: int) -> Path:
    """Means of the input after `steps` of Gibbs sampling in the top machine, which begin at noise."""
    *below, top = machines(chain)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        state = top.noise(rows * PER_ROW, generator)
        for _ in range(steps):
            state = top.gibbs(state, generator)
        made = _shown(below, top, state, shape)
    return _draw([made[i : i + PER_ROW] for i in range(0, len(made), PER_ROW)], path, f"Samples after {steps} steps")


def walks(chain: Chain, shape: tuple[int, ...], path: Path, seed: int) -> Path:
    """How samples come to be: the same chains, from noise on, a row for every number of steps."""
    *below, top = machines(chain)
    generator = torch.Generator().manual_seed(seed)
    rows, done = [], 0
    with torch.no_grad():
        state = top.noise(PER_ROW, generator)
        for steps in AFTER:
            for _ in range(steps - done):
                state = top.gibbs(state, generator)
            done = steps
            rows.append(_shown(below, top, state, shape))
    return _draw(rows, path, "Samples over steps of Gibbs sampling", [str(steps) for steps in AFTER])


def of_classes(
    chain: Chain, shape: tuple[int, ...], names: Sequence[str], path: Path, columns: int, steps: int, seed: int
) -> Path:
    """Means of the input after `steps` of Gibbs sampling with the label clamped, a row for every class."""
    made = drawn_given(chain, torch.arange(len(names)).repeat_interleave(columns), steps, seed)
    images = list(made.view(-1, *shape).double().numpy())
    rows = [images[i : i + columns] for i in range(0, len(images), columns)]
    return _draw(rows, path, f"Drawn given the class, {steps} steps", names)


def drawn_given(chain: Chain, labels: Tensor, steps: int, seed: int) -> Tensor:
    """Means of the input, `(batch, inputs)`, of examples drawn given their labels `(batch,)`."""
    *below, top = machines(chain)
    assert isinstance(top, LabelRBM)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        state = top.noise(len(labels), generator)
        for _ in range(steps):
            state = top.gibbs_given(labels, state, generator)
        return _given_state(below, top, state)


def fields(chain: Chain, shape: tuple[int, ...], path: Path) -> Path:
    """The weights between the data and hidden units of the lowest machine; without any, between the data's units."""
    first, *_ = machines(chain)
    weights = first.filters().detach().double()
    W = weights[:MOST_FIELDS, : torch.Size(shape).numel()].reshape(-1, *shape).numpy()
    most = float(abs(W).max())
    each = [list(W[i : i + PER_ROW]) for i in range(0, len(W), PER_ROW)]
    title = "Weights of hidden units" if first.hidden_units() else "Couplings of every unit with the others"
    return pictures.examples(each, path, title, (-most, most))


def _shown(
    below: Sequence[BoltzmannBlock], top: BoltzmannBlock, state: Tensor, shape: tuple[int, ...]
) -> list[np.ndarray]:
    return list(_given_state(below, top, state).view(-1, *shape).double().numpy())


def _given_state(below: Sequence[BoltzmannBlock], top: BoltzmannBlock, state: Tensor) -> Tensor:
    means = top.mean(state)
    means = means[:, : top.inputs] if isinstance(top, LabelRBM) else means
    first = below[0] if below else top
    return first.shown(down(below, means))


def _draw(rows: Sequence[Sequence[np.ndarray]], path: Path, title: str, names: Sequence[str] = ()) -> Path:
    return pictures.examples(rows, path, title, (0.0, 1.0), row_names=names)
