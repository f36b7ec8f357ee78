"""Cutting a chain: the optimum against every possible cut, and costs that can be counted by hand."""

from itertools import combinations, pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from unlocked.chain import block_costs, partition
from unlocked.chain.partition import WRITING
from unlocked.plan.make import make_plan


def all_cuts(n, modules):
    for inner in combinations(range(1, n), modules - 1):
        edges = [0, *inner, n]
        yield [b - a for a, b in pairwise(edges)]


def module_costs(costs, sizes, extra=None):
    out, start = [], 0
    for k, size in enumerate(sizes):
        stop = start + size
        last = k == len(sizes) - 1
        out.append(sum(costs[start:stop]) + (extra[stop - 1] if extra and not last else 0))
        start = stop
    return out


whole = st.integers(0, 20)  # whole numbers: sums are exact, so ties are ties


@given(st.lists(st.tuples(whole, whole), min_size=1, max_size=8), st.integers(1, 8), st.booleans())
def test_no_cut_has_a_faster_slowest_module_nor_then_a_smaller_sum_of_squares(blocks, modules, with_extra):
    modules = min(modules, len(blocks))
    costs, extra = [c for c, _ in blocks], [e for _, e in blocks] if with_extra else None

    def measure(sizes):
        found = module_costs(costs, sizes, extra)
        return max(found), sum(c * c for c in found)

    sizes = partition(costs, modules, extra)
    assert len(sizes) == modules
    assert sum(sizes) == len(costs)
    assert min(sizes) >= 1
    assert measure(sizes) == min(map(measure, all_cuts(len(costs), modules)))


def test_the_best_cut_of_the_first_blocks_need_not_begin_the_best_cut_of_all():
    # the first four alone are best as 6 | 6 | 1; below a 9 only evenness counts: 4 | 2 | 7 | 9
    assert partition([4, 2, 6, 1], 3) == [2, 1, 1]
    assert partition([4, 2, 6, 1, 9], 4) == [1, 1, 2, 1]


def test_what_a_module_pays_for_ending_there_moves_the_cut():
    assert partition([4, 4, 4, 4], 2) == [2, 2]
    assert partition([4, 4, 4, 4], 2, extra=[0, 100, 0, 0]) == [1, 3]
    assert partition([4, 4, 4, 4], 2, extra=[0, 0, 0, 100]) == [2, 2]  # the last pays nothing


@pytest.mark.parametrize(("n", "modules"), [(3, 4), (3, 0), (0, 1)])
def test_a_chain_that_cannot_be_cut_so_is_refused(n, modules):
    with pytest.raises(ValueError, match=f"{n} blocks cannot be cut into {modules} modules"):
        partition([1.0] * n, modules)


def test_a_linear_layer_costs_its_multiplications_additions_and_outputs():
    forward = [2 * 64 * 32 + WRITING * 32, 2 * 32 * 10 + WRITING * 10]  # multiply and add, and write each output
    costs = block_costs([nn.Linear(64, 32), nn.Linear(32, 10)], (64,))
    assert costs == [2 * forward[0], 3 * forward[1]]  # the first needs no gradient of its input


def test_a_convolution_costs_its_multiplications_at_every_pixel():
    (cost,) = block_costs([nn.Conv2d(2, 3, 3, padding=1)], (2, 8, 8))
    assert cost == 2 * (2 * 9 * 2 * 3 * 64 + WRITING * 3 * 64)


def test_every_operator_counts_for_what_it_writes_and_views_for_nothing():
    (cost,) = block_costs([nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Tanh(), nn.Unflatten(1, (2, 8, 8)))], (2, 8, 8))
    assert cost == 2 * 2 * WRITING * 2 * 64


def test_costs_are_the_same_without_memory_and_leave_the_blocks_as_they_are():
    blocks = [nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6)), nn.Linear(6, 2)]
    state = {k: v.clone() for k, v in blocks[0].state_dict().items()}
    real = block_costs(blocks, (4,))
    assert all(torch.equal(v, state[k]) for k, v in blocks[0].state_dict().items())
    assert blocks[0].training
    with torch.device("meta"):
        assert block_costs([nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6)), nn.Linear(6, 2)], (4,)) == real


def test_the_digits_network_is_cut_where_it_should_be(lab):
    config = lab.config(model={"name": "mlp", "hidden": [32] * 4}, parallel={"modules": 4})
    plan = make_plan(config, lab.data((1, 8, 8), classes=10))
    assert [spec.stop - spec.start for spec in plan.specs] == [1, 1, 1, 2]
    assert [spec.in_shape for spec in plan.specs] == [(1, 8, 8), (32,), (32,), (32,)]
    assert [spec.out_shape for spec in plan.specs] == [(32,), (32,), (32,), (10,)]
