"""How candidates are shared out among workers, without Ray: pieces, what a dead worker had in hand, and the order."""

from types import SimpleNamespace

import numpy as np
import pytest

from unlocked.engine.group import WorkerFailed
from unlocked.launch import population
from unlocked.launch.population import Pool, pieces_of


class Died(Exception):
    pass


class Refused(Exception):
    pass


class Worker:
    """Tries a piece when it is asked for the answer; `dies_at`: in the how-manieth."""

    def __init__(self, dies_at=None):
        self.given, self.dies_at = [], dies_at
        self.tried = SimpleNamespace(remote=self._remote)

    def _remote(self, t, candidates):
        self.given.append([float(x[0]) for x in candidates])
        return (self, len(self.given) - 1)


@pytest.fixture
def pool(monkeypatch):
    """Of two workers, of which the first answers as soon as it is asked and the second after it."""

    def get(answer, timeout):
        worker, nth = answer
        if worker.dies_at is not None and nth >= worker.dies_at:
            raise Died("killed")
        return [10 * x for x in worker.given[nth]]

    def replace(i):
        made.replaced += 1
        made._workers[i] = Worker(made.next_dies_at)

    made = Pool.__new__(Pool)
    exceptions = SimpleNamespace(RayActorError=Died, GetTimeoutError=Died, RayTaskError=Refused)
    made._ray = SimpleNamespace(get=get, exceptions=exceptions)
    made._plan = SimpleNamespace(config=SimpleNamespace(parallel=SimpleNamespace(max_failures=3, timeout=60.0)))
    made._size, made._workers, made.replaced, made.next_dies_at = 2, [Worker(), Worker()], 0, None
    made._replace = replace
    monkeypatch.setattr(population, "answered", lambda refs: (refs[:1], refs[1:]))
    return made


CANDIDATES = [np.array([float(i), 0.0]) for i in range(13)]
EXPECTED = [10.0 * i for i in range(13)]


@pytest.mark.parametrize(("candidates", "workers"), [(32, 2), (1, 2), (7, 3), (14, 8), (1000, 5)])
def test_pieces_get_smaller_down_to_single_candidates(candidates, workers):
    pieces = pieces_of(candidates, workers)
    assert [i for start, stop in pieces for i in range(start, stop)] == list(range(candidates))
    sizes = [stop - start for start, stop in pieces]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] <= max(1, -(-candidates // (2 * workers)))
    assert sizes[-1] == 1


def test_trials_are_in_the_order_of_the_candidates_whoever_tried_them(pool):
    assert pool.tried(0, CANDIDATES) == EXPECTED
    first, second = ([x for piece in worker.given for x in piece] for worker in pool._workers)
    assert sorted(first + second) == [x / 10 for x in EXPECTED]
    assert len(first) > len(second)  # it was free more often


def test_a_worker_has_the_next_piece_in_hand_unless_that_is_a_single_candidate(pool, monkeypatch):
    asked = []
    monkeypatch.setattr(population, "answered", lambda refs: asked.append(len(refs)) or (refs[:1], refs[1:]))
    pool.tried(0, CANDIDATES)
    assert asked[0] == 4  # two workers, two pieces each
    assert asked[-1] == 1


def test_both_pieces_that_a_dead_worker_had_in_hand_are_tried_again_by_others(pool):
    pool._workers[0].dies_at = 0
    assert pool.tried(0, CANDIDATES) == EXPECTED
    assert pool.replaced == 1


def test_workers_that_die_one_after_the_other_end_the_generation_with_the_reason(pool):
    pool._workers[0].dies_at = pool.next_dies_at = 0
    with pytest.raises(WorkerFailed, match="4 workers died at generation 7, the last: killed"):
        pool.tried(7, CANDIDATES)
