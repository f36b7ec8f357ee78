"""Whether two nodes are linked: the loss of pairs, what conditions M, and the links that are held out."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from unlocked.data import DATA, RawData, register_data
from unlocked.errors import DataError
from unlocked.tasks import load
from unlocked.tasks.links import LinkPrediction
from unlocked_models import Batch, Example

PAIRS = torch.tensor([[[0, 1, 1], [2, 3, 0], [0, 3, 1], [1, 2, 0], [0, 0, -1]]])
Z = torch.randn(1, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
EXAMPLE = Example((4, 9), 6, y_shape=(5, 3))


def test_the_loss_is_the_mean_over_pairs_of_the_score_s_cross_entropy():
    task = LinkPrediction()
    given = [float(Z[0, i] @ Z[0, j]) for i, j, label in PAIRS[0].tolist() if label >= 0]
    labels = [1, 0, 1, 0]
    nats = [np.log1p(np.exp(-s if y else s)) for s, y in zip(given, labels, strict=True)]
    assert task.loss(Z, PAIRS) == pytest.approx(np.mean(nats))
    both, pairs = torch.cat([Z, Z.flip(1)]), torch.cat([PAIRS, PAIRS])
    halves = [task.part_loss(both[i : i + 1], pairs[i : i + 1], pairs) for i in range(2)]
    assert float(sum(halves) / 2) == pytest.approx(float(task.loss(both, pairs)))
    assert task.metrics(task.keep(Z, PAIRS), PAIRS) == pytest.approx(
        {
            "loss": np.mean(nats),
            "auc": roc_auc_score(labels, given),
            "average_precision": average_precision_score(labels, given),
        }
    )
    assert task.terms_of(Batch(None, PAIRS), None, EXAMPLE) == 4


def test_what_conditions_m_is_the_sum_of_signs_times_a_code_of_each_node():
    context = LinkPrediction().context(Batch(None, PAIRS), EXAMPLE, Z)
    assert context.shape == (1, *LinkPrediction().context_shape(EXAMPLE))
    alone = [LinkPrediction().context(Batch(None, torch.tensor([[[i, 3, 1]]])), EXAMPLE, Z)[0, 3] for i in range(4)]
    torch.testing.assert_close(
        context[0, 0], alone[1] + LinkPrediction().context(Batch(None, torch.tensor([[[0, 3, 1]]])), EXAMPLE, Z)[0, 0]
    )
    torch.testing.assert_close(context[0, 3], alone[0] - alone[2])


def test_held_out_links_are_seen_by_no_split():
    data = load("links", validation=0.5)
    assert (data.task, data.in_shape, data.n_outputs) == ("link_prediction", (77, 77), 16)
    seen = set(map(tuple, data.train.extras["edge_index"][0].T.tolist()))
    of = {name: getattr(data, name).y[0].tolist() for name in ("train", "validation", "test")}
    links = {name: {(i, j) for i, j, label in pairs if label == 1} for name, pairs in of.items()}
    absent = {name: {(i, j) for i, j, label in pairs if label == 0} for name, pairs in of.items()}
    assert {(i, j) for i, j in seen if i < j} == links["train"]
    assert [len(found) for found in links.values()] == [204, 25, 25]
    assert not links["train"] & links["test"] | links["validation"] & links["test"]
    assert len(absent["test"] | absent["validation"]) == 50
    assert not (absent["test"] | absent["validation"]) & set.union(*links.values())
    for name in ("validation", "test"):
        assert getattr(data, name).extras["edge_index"].equal(data.train.extras["edge_index"])
    assert load("links", draw=1).test.y.ne(data.test.y).any()


def test_pairs_without_a_link_are_drawn_anew_and_the_links_stay():
    data = load("links", graph="karate")
    batch = data.train.batch(torch.tensor([0]))
    (draw,) = data.transforms
    first, other = (draw(batch, torch.Generator().manual_seed(seed)).y[0] for seed in (0, 1))
    linked = set(map(tuple, data.train.extras["edge_index"][0].T.tolist()))
    assert first[first[:, 2] == 1].equal(data.train.y[0][data.train.y[0, :, 2] == 1])
    absent = first[first[:, 2] == 0]
    assert len(absent) == len(first) / 2
    assert all(i != j and (i, j) not in linked for i, j, _ in absent.tolist())
    assert other.ne(first).any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"graph": "karat"}, r"data.options.graph: unknown graph 'karat'; did you mean 'karate'\?"),
        ({"held_out": 0.5}, "data.options.held_out: must be greater than 0 and less than 0.5, got 0.5"),
        ({"embedding": 0}, "data.options.embedding: must be at least 1, got 0"),
        ({"graph": "cora", "root": "/nowhere"}, "data.options.graph: cora.npz is not in /nowhere"),
    ],
)
def test_links_that_cannot_be_are_one_line(options, words):
    with pytest.raises(DataError, match=words):
        load("links", **options)


def test_links_of_a_file_and_of_one_too_small(tmp_path):
    ring = np.array([np.arange(20), (np.arange(20) + 1) % 20])
    np.savez(tmp_path / "ring.npz", edge_index=ring)
    data = load("links", root=tmp_path, file="ring.npz", embedding=4)
    assert (data.in_shape, data.n_outputs, len(data.train.extras["edge_index"][0, 0])) == ((20, 20), 4, 32)
    for share, each in ((0.49, 10), (1e-9, 0)):
        with pytest.raises(DataError, match=rf"data.options.held_out: {share:g} of 20 edges .* are {each} each"):
            load("links", root=tmp_path, file="ring.npz", held_out=share)
    np.savez(tmp_path / "few.npz", edge_index=ring[:, :3])
    with pytest.raises(DataError, match=r"a graph of 3 edges; to hold out 0.1 of them it needs 10"):
        load("links", root=tmp_path, file="few.npz")


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (np.zeros((1, 5, 2), int), r"y_train is int64 of shape \(1, 5, 2\); a graph has features"),
        (np.array([[[0, 4, 1], [0, 1, 0]]]), "y_train has a pair with node 4; nodes are 0 to 3"),
        (np.array([[[0, 2, 1], [0, 1, 1]]]), "y_train needs links, label 1, and pairs without one, label 0"),
    ],
)
def test_targets_that_are_no_pairs_are_one_line(y, words):
    register_data("unpaired", task="link_prediction")(
        lambda source: RawData(np.ones((1, 4, 2)), y, np.ones((1, 4, 2)), y)
    )
    try:
        with pytest.raises(DataError, match=words):
            load("unpaired")
    finally:
        DATA._entries.pop("unpaired")
