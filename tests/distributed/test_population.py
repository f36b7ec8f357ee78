"""Candidates over Ray workers: the numbers of one process, also after a worker was killed in the middle."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from unlocked.config import load_config
from unlocked.engine.group import InProcessGroup
from unlocked.launch.population import PopulationGroup
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180), pytest.mark.usefixtures("cluster")]


def started(group, *words):
    config = load_config("evolved/xor_cma_es", ["scheme.target=null", "tracking.uri=off", *words])
    data = load_data(config)
    return group(make_plan(config, data), data)


def test_two_workers_come_to_the_numbers_of_one_process_and_a_killed_one_is_replaced():
    here = started(InProcessGroup)
    (expected,) = here.run([(0, 6)], 6)
    apart = started(PopulationGroup, "parallel.engine=population", "parallel.evaluators=2")
    try:
        list(apart.run([(0, 3)], 3))
        first = list(apart._pool.pids)
        os.kill(first[0], signal.SIGKILL)
        list(apart.run([(3, 6)], 6))
        assert apart._pool.replaced == 1
        assert apart._pool.pids[0] != first[0]
        assert apart.modules[0].learner.trials == here.modules[0].learner.trials
        for key, value in here.modules[0].weights().items():
            assert torch.equal(apart.modules[0].weights()[key], value)
        states, again = apart.states(6), started(InProcessGroup)
        again.load_states(states)
        assert again.modules[0].learner.evaluations == here.modules[0].learner.evaluations
    finally:
        apart.close()
    assert expected[0].series["population/evaluations"][-1] == 48
