"""Figures of graphs."""

import numpy as np

from unlocked.drawing import graphs


def test_nodes_are_projected_on_the_axes_of_most_variance():
    rng = np.random.default_rng(0)
    h = rng.normal(size=(500, 4)) * [0.1, 5.0, 0.1, 2.0]
    places, shares = graphs.projected(h)
    assert abs(np.corrcoef(places[:, 0], h[:, 1])[0, 1]) > 0.99
    assert abs(np.corrcoef(places[:, 1], h[:, 3])[0, 1]) > 0.99
    assert 0.95 < shares.sum() <= 1
    assert graphs.projected(np.ones((3, 1)))[0].shape == (3, 2)  # all alike, of one feature


def test_embeddings_links_and_attention_are_drawn(tmp_path):
    h = np.random.default_rng(0).normal(size=(6, 3))
    assert graphs.node_embeddings(h, [0, 1, -1, 0, 1, 1], ["a$", "b"], tmp_path / "embeddings.png").exists()
    assert graphs.embedded_links(h, [(0, 1)], [(2, 3)], tmp_path / "links.png").exists()
    edges = np.array([[1, 2, 0, 3, 1], [0, 0, 0, 1, 1]])
    weights = np.array([[0.2, 0.4], [0.3, 0.3], [0.5, 0.3], [0.6, 0.6], [0.4, 0.4]])
    assert graphs.attention(edges, weights, [0, 1, -1, 0], ["a", "b"], tmp_path / "attention.png").exists()
