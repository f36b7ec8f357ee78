"""What a bag of kinds of syntax says of a function's package: `python docs/families/trees_baseline.py`.

Logistic regression on how often each kind of node is in a tree, whatever its place; the penalty is chosen on the
validation split. The accuracy on the validation and the test split, in percent.
"""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression

from unlocked.data import Split
from unlocked.tasks import load

INVERSE_PENALTIES = (0.01, 0.1, 1, 10)


def counted(split: Split) -> tuple[np.ndarray, np.ndarray]:
    return np.sqrt(split.x.sum(1).double().numpy()), split.y.numpy()


if __name__ == "__main__":
    data = load("function_trees", validation=0.15, seed=0)
    known, held, asked = counted(data.train), counted(data.validation), counted(data.test)
    fitted = [LogisticRegression(C=each, max_iter=2000).fit(*known) for each in INVERSE_PENALTIES]
    best = max(fitted, key=lambda one: one.score(*held))
    print(f"validation {100 * best.score(*held):.1f} %, test {100 * best.score(*asked):.1f} %")
    most = np.bincount(known[1]).argmax()
    print(f"the most frequent package: {100 * (asked[1] == most).mean():.1f} %")
