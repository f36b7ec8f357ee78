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


def test_attention_is_shown_of_nodes_with_neighbours_of_other_classes():
    into = {0: [1, 2, 3, 4], 1: [0, 5], 5: [0, 1, 2], 6: range(17)}  # 0 has many, all alike; 6 has too many
    edges = np.array([[u, v] for v, neighbours in into.items() for u in neighbours]).T
    classes = np.array([0, 0, 0, 0, 0, 1, 1, *[0] * 10])
    assert graphs.telling(edges, classes, 3) == [5, 1, 0]
    classes[5] = -1  # of which it is not known whether they are of other classes
    assert graphs.telling(edges, classes, 3) == [0, 1, 5]
    assert graphs.telling(np.array([[0], [1]]), classes, 3) == [1]


def test_length_of_an_embedding_moves_no_dot(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(graphs, "projected", lambda h: seen.append(h) or (h[:, :2], np.ones(2)))
    h = np.random.default_rng(0).normal(size=(6, 3))
    for scale in (1.0, np.array([[1.0], [50.0], [1.0], [1.0], [1.0], [1.0]])):
        graphs.node_embeddings(h * scale, [0, 1, 0, 1, 0, 1], ["a", "b"], tmp_path / "embeddings.png")
    np.testing.assert_allclose(seen[0], seen[1])
    graphs.node_embeddings(np.zeros((2, 3)), [0, -1], ["a", "b"], tmp_path / "embeddings.png")
    assert (seen[2] == 0).all()
