"""NSGA-II's fronts and crowding, the hypervolume, and novelty, by hand and against pymoo."""

import numpy as np
import pytest

from unlocked.schemes import Trial
from unlocked.schemes.evolution.novelty import Novelty, novelties
from unlocked.schemes.evolution.nsga2 import NSGA2, crowding, fronts, hypervolume
from unlocked.schemes.evolution.strategy import VectorSpace
from unlocked_models.contract.chain import Chain

POINTS = np.array([[1.0, 5.0], [2.0, 3.0], [4.0, 1.0], [3.0, 4.0], [5.0, 5.0], [2.0, 3.0]])


def test_a_front_is_of_those_that_no_other_dominates():
    assert fronts(POINTS) == [[0, 1, 2, 5], [3], [4]]


def test_crowding_is_the_share_of_the_range_between_the_neighbours():
    found = crowding(np.array([[0.0, 10.0], [1.0, 6.0], [3.0, 4.0], [4.0, 0.0]]))
    assert found.tolist() == [np.inf, 3 / 4 + 6 / 10, 3 / 4 + 6 / 10, np.inf]


def test_the_hypervolume_is_the_area_up_to_the_corner():
    assert hypervolume(POINTS, (6.0, 6.0)) == 5 * 1 + 4 * 2 + 2 * 2
    assert hypervolume(np.array([[1.0, 1.0]]), (0.5, 3.0)) == 0.0


def test_fronts_crowding_and_hypervolume_are_pymoos():
    pytest.importorskip("pymoo")
    from pymoo.indicators.hv import HV
    from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

    points = np.random.default_rng(0).random((60, 2))
    theirs = [sorted(front.tolist()) for front in NonDominatedSorting().do(points)]
    assert fronts(points) == theirs
    first = points[fronts(points)[0]]
    np.testing.assert_allclose(hypervolume(points, (1.1, 1.2)), HV(ref_point=np.array([1.1, 1.2]))(points))
    np.testing.assert_allclose(crowding(first) / 2, calc_crowding_distance(first))  # theirs is a mean


def test_the_better_half_lives_on_and_the_hypervolume_grows():
    nsga = NSGA2(VectorSpace(Chain([]), np.zeros(3)), population=12)
    volumes = []
    for generation in range(12):
        people = nsga.ask(np.random.default_rng([0, generation]))
        losses = [float(((x - 1.0) ** 2).sum()) for x in people]
        nsga.tell(people, [Trial(loss) for loss in losses], np.random.default_rng([1, generation]))
        volumes.append(nsga.numbers()["hypervolume"])
    assert len(nsga._alive) == 12
    assert volumes[-1] > volumes[0]
    front = nsga.front()
    assert (np.diff(front[:, 0]) >= 0).all()
    assert (np.diff(front[:, 1]) <= 0).all()


def test_novelty_is_the_mean_distance_to_the_nearest_among_generation_and_archive():
    did, archive = np.array([[0.0], [1.0], [5.0]]), np.array([[2.0]])
    assert novelties(did, archive, 2).tolist() == [(1 + 2) / 2, (1 + 1) / 2, (3 + 4) / 2]


def test_what_was_not_done_before_has_children():
    novelty = Novelty(VectorSpace(Chain([]), np.zeros(1)), population=4, nearest=1, archive=1, elite=1)
    people = [np.array([float(i)]) for i in range(4)]
    novelty.tell(people, [Trial(0.0, (did,)) for did in (0.0, 0.1, 0.2, 9.0)], np.random.default_rng(0))
    assert novelty.ask(np.random.default_rng(0))[0][0] == 3.0
    novelty.tell(people, [Trial(0.0, (did,)) for did in (0.0, 0.1, 4.0, 9.0)], np.random.default_rng(0))
    assert novelty.ask(np.random.default_rng(0))[0][0] == 2.0  # 9 is in the archive now
    assert novelty.numbers()["archive"] == 2
