"""Links that are missing from a graph: some of its edges are held out, and are to be told from pairs without one.

Every split sees the same nodes and the edges of the training split. Its targets are pairs of nodes `(1, pairs, 3)`, two
nodes and a label: 1 for an edge, 0 for none, -1 for filling.
"""

from __future__ import annotations

import numpy as np

from unlocked.data.arrays import wrong
from unlocked.data.dataset import RawData, register_data
from unlocked.data.files.source import Source
from unlocked.data.graphs.arrays import both_ways
from unlocked.data.graphs.files import read_graph
from unlocked.data.sets.graphs import citation_arrays, word_shares
from unlocked.data.transforms.negative_links import NegativeLinks
from unlocked.errors import DataError
from unlocked.seeding import derive_seed
from unlocked_models.contract.registry import unknown

SHIPPED = {
    "karate": "karate_club_graph",
    "les_miserables": "les_miserables_graph",
    "florentine": "florentine_families_graph",
}
LEAST = 10  # edges of a graph of which some are held out


@register_data("links", task="link_prediction", family="graphs")
def links(
    source: Source,
    graph: str = "les_miserables",
    file: str = "",
    nodes: str = "",
    edges: str = "",
    embedding: int = 16,
    held_out: float = 0.1,
    draw: int = 0,
) -> RawData:
    """Whether two nodes are linked: `held_out` of the edges are the validation and as many the test split.

    `graph`: karate, les_miserables or florentine (they come with networkx; nodes have no features, so each is told by
    its place), cora or citeseer (as of citations), or your own by `file`, or `nodes` and `edges`, as of graph. A
    network gives each node `embedding` numbers; the score of a pair is their dot product. In training as many pairs
    without an edge as there are edges are drawn in every minibatch; `draw` seeds what is held out.
    """
    if embedding < 1:
        raise DataError(f"data.options.embedding: must be at least 1, got {embedding}")
    if not 0 < held_out < 0.5:
        raise DataError(f"data.options.held_out: must be greater than 0 and less than 0.5, got {held_out}")
    x, both = _graph(source, graph, file, nodes, edges)
    once = both[:, both[0] < both[1]]
    many = round(held_out * once.shape[1])
    if once.shape[1] < LEAST:
        raise wrong(source.name, f"a graph of {once.shape[1]} edges; to hold out {held_out:g} of them it needs {LEAST}")
    if not many or 2 * many >= once.shape[1]:
        raise DataError(
            f"data.options.held_out: {held_out:g} of {once.shape[1]} edges for validation and as much for the test are "
            f"{many} each; both need one, and training too"
        )
    rng = np.random.default_rng(derive_seed(draw, "links"))
    order = rng.permutation(once.shape[1])
    parts = once[:, order[2 * many :]], once[:, order[:many]], once[:, order[many : 2 * many]]
    rows = 2 * parts[0].shape[1]
    absent = _absent(both, len(x), 2 * many, rng)
    train = np.full((rows, 3), 0, np.int64)
    train[: rows // 2, :2], train[: rows // 2, 2] = parts[0].T, 1
    y = [train[None]]
    for part, none in ((parts[1], absent[:many]), (parts[2], absent[many:])):
        pairs = np.full((rows, 3), -1, np.int64)
        pairs[: 2 * many, :2] = np.concatenate([part.T, none])
        pairs[: 2 * many, 2] = np.repeat([1, 0], many)
        pairs[2 * many :, :2] = 0
        y.append(pairs[None])
    seen, _ = both_ways(parts[0])
    extras = {"edge_index": seen[None]}
    return RawData(
        x[None],
        y[0],
        x[None],
        y[2],
        x_validation=x[None],
        y_validation=y[1],
        extras_train=extras,
        extras_validation=extras,
        extras_test=extras,
        class_names=[str(i) for i in range(embedding)],
        transforms=[NegativeLinks(seen, len(x))],
    )


def _graph(source: Source, graph: str, file: str, nodes: str, edges: str) -> tuple[np.ndarray, np.ndarray]:
    """`x (nodes, features)`, and edges in both directions."""
    if file or nodes or edges:
        found = read_graph(source, file, nodes, edges, directed=False)
        return found.graph.x, found.graph.edges
    if graph in ("cora", "citeseer"):
        arrays = citation_arrays(source, graph)
        return word_shares(arrays), both_ways(arrays["edge_index"].astype(np.int64))[0]
    if graph not in SHIPPED:
        raise DataError(f"data.options.graph: {unknown('graph', graph, [*SHIPPED, 'cora', 'citeseer'])}")
    import networkx

    whole = networkx.convert_node_labels_to_integers(getattr(networkx, SHIPPED[graph])())
    pairs = np.array(whole.edges, np.int64).T
    return np.eye(len(whole), dtype=np.float32), both_ways(pairs)[0]


def _absent(both: np.ndarray, nodes: int, many: int, rng: np.random.Generator) -> np.ndarray:
    """`(many, 2)` different pairs of nodes, the first below the second, without an edge."""
    linked = set(map(tuple, both.T.tolist()))
    free = nodes * (nodes - 1) // 2 - len(linked) // 2
    if free < many:
        raise DataError(f"data.options.held_out: {many} pairs without an edge are needed, and the graph has {free}")
    found: dict[tuple[int, int], None] = {}
    while len(found) < many:
        for a, b in np.sort(rng.integers(0, nodes, (many, 2)), axis=1).tolist():
            if a != b and (a, b) not in linked and len(found) < many:
                found[a, b] = None
    return np.array(list(found), np.int64).reshape(-1, 2)
