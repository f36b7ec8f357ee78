"""What graphs give without a network: python docs/families/graph_baselines.py DATA_FOLDER

Of each set whose files are in the folder one line per baseline; settings are chosen on the validation split.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from unlocked.data import DataSet, Split
from unlocked.errors import DataError
from unlocked.tasks import load


def say(data: str, baseline: str, value: float) -> None:
    print(f"{data:<14}{baseline:<52}{value:.3f}", flush=True)


def walk(data: DataSet) -> np.ndarray:
    """D^-1/2 A D^-1/2."""
    n = data.in_shape[0]
    A = np.zeros((n, n))
    source, target = data.train.extras["edge_index"][0].numpy()
    A[target, source] = 1
    d = 1 / np.sqrt(np.maximum(A.sum(1), 1))
    return d[:, None] * A * d


def right(given: np.ndarray, split: Split) -> float:
    wanted = split.y[0].numpy()
    return float((given[wanted >= 0] == wanted[wanted >= 0]).mean())


def propagated(data: DataSet) -> float:
    """Label propagation (Zhou et al. 2004): F <- alpha S F + (1 - alpha) Y, of labels alone."""
    S, y = walk(data), data.train.y[0].numpy()
    labels = np.eye(data.n_outputs)[y] * (y >= 0)[:, None]
    found = []
    for alpha in (0.5, 0.9, 0.99):
        F = labels
        for _ in range(50):
            F = alpha * S @ F + (1 - alpha) * labels
        found.append((right(F.argmax(1), data.validation), right(F.argmax(1), data.test)))
    return max(found)[1]


def logistic(x: np.ndarray, data: DataSet) -> float:
    y, found = data.train.y[0].numpy(), []
    for C in (1, 10, 100, 1000):
        given = LogisticRegression(C=C, max_iter=500).fit(x[y >= 0], y[y >= 0]).predict(x)
        found.append((right(given, data.validation), right(given, data.test)))
    return max(found)[1]


def nodes(name: str, data: DataSet) -> None:
    x, S = data.train.x[0].numpy().astype(np.float64), walk(data)
    say(name, "label propagation", propagated(data))
    say(name, "logistic regression, features of a node alone", logistic(x, data))
    hop = S + np.eye(len(S)) / np.maximum((S > 0).sum(1), 1)[:, None]
    say(name, "logistic regression, features two hops away", logistic(hop @ hop @ x, data))


def counts(split: Split, edges: bool = True) -> np.ndarray:
    """Of a graph, how many nodes and edges have each feature."""
    x = split.x.sum(1).numpy()
    if not edges or "edge_attr" not in split.extras:
        return x
    kinds = split.extras["edge_attr"]
    return np.hstack([x, np.stack([kinds[i].sum(0).numpy() / 2 for i in range(len(split))])])


def forest(train: np.ndarray, data: DataSet, test: np.ndarray) -> float:
    y, wanted = data.train.y.numpy(), data.test.y.numpy()
    return float(
        np.mean([RandomForestClassifier(300, random_state=s).fit(train, y).score(test, wanted) for s in range(3)])
    )


def molecules(root: str) -> None:
    data = load("solubility", root=root)
    elements = slice(0, 10)
    few = [np.hstack([counts(s, False)[:, elements], counts(s)[:, -5:-1]]) for s in (data.train, data.test)]
    say("solubility", "random forest, counts of elements and bonds", forest(few[0], data, few[1]))
    say("solubility", "random forest, counts of all features", forest(counts(data.train), data, counts(data.test)))


def mutag(root: str) -> None:
    found = []
    for fold in range(10):
        data = load("tu_graphs", root=root, fold=fold)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=500))
        found.append(model.fit(counts(data.train, False), data.train.y).score(counts(data.test, False), data.test.y))
    say("MUTAG", "logistic regression, counts of atoms (10 folds)", float(np.mean(found)))


def links(name: str, data: DataSet) -> None:
    A = walk(data) > 0
    common = A.astype(float) / np.maximum(np.log(np.maximum(A.sum(1), 2)), 1e-9) @ A  # Adamic and Adar 2003
    pairs = data.test.y[0].numpy()
    pairs = pairs[pairs[:, 2] >= 0]
    say(name, "AUC, common neighbours by Adamic and Adar", roc_auc_score(pairs[:, 2], common[pairs[:, 0], pairs[:, 1]]))


def main(root: str) -> None:
    warnings.filterwarnings("ignore")
    nodes("communities", load("communities", validation=0.5))
    links("les_miserables", load("links", validation=0.5))
    trees = load("function_trees")
    say("functions", "random forest, counts of kinds", forest(counts(trees.train), trees, counts(trees.test)))
    for name, of in (
        ("cora", lambda: nodes("cora", load("citations", root=root, validation=0.5))),
        ("citeseer", lambda: nodes("citeseer", load("citations", root=root, validation=0.5, graph="citeseer"))),
        ("cora_links", lambda: links("cora links", load("links", root=root, validation=0.5, graph="cora"))),
        ("solubility", lambda: molecules(root)),
        ("mutag", lambda: mutag(root)),
    ):
        try:
            of()
        except DataError as error:
            print(f"{name}: left out: {error}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "data")
