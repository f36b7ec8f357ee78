"""What the halves of scanned digits give without a network: `python docs/families/halves_baselines.py`.

Each half as drawn from the other: the mean half; that of the nearest neighbour, by the half that is seen; and linear
maps by ridge regression, whose penalty is chosen on the validation split. The mean squared error per pixel of the test
split, times 1000, and the share of drawn halves whose class logistic regression finds, in percent; with all training
pairs, and with 100 of them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestNeighbors

from unlocked.data import Split
from unlocked.tasks import load
from unlocked.tasks.probing import probe

Halves = tuple[np.ndarray, np.ndarray]
PENALTIES = (0.01, 0.1, 1, 10, 100)


def halves(split: Split) -> Halves:
    return split.x[..., :4].flatten(1).double().numpy(), split.x[..., 4:].flatten(1).double().numpy()


def mean(seen: np.ndarray, wanted: np.ndarray, asked: np.ndarray, held: Halves) -> np.ndarray:
    return np.broadcast_to(wanted.mean(0), (len(asked), wanted.shape[1]))


def nearest(seen: np.ndarray, wanted: np.ndarray, asked: np.ndarray, held: Halves) -> np.ndarray:
    return wanted[NearestNeighbors(n_neighbors=1).fit(seen).kneighbors(asked)[1][:, 0]]


def ridge(seen: np.ndarray, wanted: np.ndarray, asked: np.ndarray, held: Halves) -> np.ndarray:
    fitted = [Ridge(penalty).fit(seen, wanted) for penalty in PENALTIES]
    return min(fitted, key=lambda one: ((one.predict(held[0]) - held[1]) ** 2).mean()).predict(asked)


BASELINES: dict[str, Callable[..., np.ndarray]] = {"mean half": mean, "nearest neighbour": nearest, "ridge": ridge}

if __name__ == "__main__":
    everything = load("digits", validation=0.1, seed=0)
    real, y, wanted = halves(everything.train), everything.train.y.numpy(), everything.test.y.numpy()
    held, asked = halves(everything.validation), halves(everything.test)
    print("real halves:", *(f"{100 * probe(real[k], y, asked[k], wanted):.1f} %" for k in (1, 0)))
    for pairs in (None, 100):
        known = halves(load("digits", validation=0.1, seed=0, examples=pairs).train)
        for name, drawn_by in BASELINES.items():
            print(f"{len(known[0])} pairs, {name}:", end=" ")
            for to in (1, 0):  # the right half from the left, then the left from the right
                drawn = drawn_by(known[1 - to], known[to], asked[1 - to], (held[1 - to], held[to]))
                error = ((drawn - asked[to]) ** 2).mean()
                print(f"{1000 * error:.1f} ({100 * probe(real[to], y, drawn, wanted):.1f} %)", end="   ")
            print()
