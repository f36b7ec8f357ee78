"""Networks on graphs and sets, by the layers of PyTorch Geometric: one example is a whole graph, its positions are the
nodes.

Nodes are `h (batch, nodes, features)`; graphs of several sizes are filled up to one, and `lengths` says how many nodes
each has. Edges are the minibatch's, from one row of `h` to another, an undirected one in both directions; they never
cross a boundary: every module has them from the data (`edges`).

A model gives an output at every node if the data has a target there, else one per graph, by a readout.
"""

from unlocked_models.graph import convolutions, deepsets, message_passing
from unlocked_models.graph.edges import EDGES, Neighbours, as_one, as_one_graph, has_edges

__all__ = [
    "EDGES",
    "Neighbours",
    "as_one",
    "as_one_graph",
    "convolutions",
    "deepsets",
    "has_edges",
    "message_passing",
]
