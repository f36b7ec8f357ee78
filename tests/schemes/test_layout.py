"""Layouts of boundaries: how h stands to the targets, told from shapes."""

import doctest

import pytest
import torch

from unlocked.schemes import layout
from unlocked.schemes.layout import Layout


def test_its_examples_hold():
    assert doctest.testmod(layout).failed == 0


@pytest.mark.parametrize(
    ("shape", "other", "apart", "kind", "relation", "features", "others"),
    [
        ((32,), (10,), False, "vector", "pooled", 32, 10),
        ((32,), (7, 10), False, "vector", "pooled", 32, 70),
        ((7, 32), (7, 10), False, "positions", "same", 32, 10),
        ((9, 32), (7, 10), False, "positions", "end", 32, 10),
        ((5, 32), (7, 10), False, "positions", "apart", 32, 10),
        ((7, 32), (7, 10), True, "positions", "apart", 32, 10),
        ((7, 32), (10,), False, "positions", "pooled", 32, 10),
        ((16, 4, 4), (1, 8, 8), False, "maps", "same", 16, 1),
        ((16, 4, 4), (10,), False, "maps", "pooled", 16, 10),
        ((2, 3, 4, 5), (10,), False, "vector", "pooled", 120, 10),
    ],
)
def test_kind_and_relation_follow_from_the_shapes(shape, other, apart, kind, relation, features, others):
    found = Layout(shape, other, apart)
    assert (found.kind, found.relation) == (kind, relation)
    assert (found.features, found.other_features) == (features, others)
    assert found.by_place == (relation in ("same", "end"))


def test_places_are_pooled_to_one_vector_per_example_without_padding():
    h = torch.randn(2, 5, 3)
    assert torch.equal(Layout((5, 3)).pool(h), h.mean(1))
    found = Layout((5, 3)).pool(h, torch.tensor([2, 5]))
    torch.testing.assert_close(found, torch.stack([h[0, :2].mean(0), h[1].mean(0)]))
    maps = torch.randn(2, 4, 3, 3)
    torch.testing.assert_close(Layout((4, 3, 3)).pool(maps), maps.flatten(2).mean(2))
    vector = torch.randn(2, 6)
    assert Layout((6,)).pool(vector) is vector or torch.equal(Layout((6,)).pool(vector), vector)
