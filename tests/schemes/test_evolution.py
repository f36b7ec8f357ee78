"""Evolution: generations are repeatable and resumable, equal wherever candidates are tried, and solve XOR."""

import math
import re
import statistics
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from unlocked.config import load_config
from unlocked.errors import ConfigError, RunFailed
from unlocked.schemes import STRATEGIES, Trial
from unlocked.schemes.evolution.cma_es import CMAES
from unlocked.schemes.evolution.neuroevolution import CNE, CoSyNE, moving
from unlocked.schemes.evolution.snes import SNES
from unlocked.schemes.evolution.strategy import VectorSpace
from unlocked_models.contract.chain import Chain

SMALL = {"name": "mlp", "hidden": [3]}


def started(lab, strategy, **options):
    data = lab.data(shape=(4,), n=24)
    return lab.start(data, model=SMALL, scheme={"name": "evolution", "strategy": {"name": strategy}, **options})


VECTORS = ["cma_es", "cne", "cosyne", "novelty", "nsga2", "snes"]


def searched(lab, preset, seed):
    """The learner after all generations of a preset."""
    return lab.whole(f"evolved/{preset}", f"seed={seed}")[0].modules[0].learner


@pytest.mark.parametrize("name", sorted({*VECTORS} - {"novelty"}))  # which does not want to
def test_a_search_gets_better_and_the_chain_holds_its_best(lab, name):
    data = lab.data(shape=(4,), n=8)  # one minibatch, the same at every step
    tree = {"model": SMALL, "scheme": {"name": "evolution", "strategy": {"name": name}}}
    group = lab.start(data, **tree, train={"epochs": 30})
    (stats,) = group.run([(0, 30)], 30)
    best = stats[0].series["population/best"]
    assert all(after <= before for before, after in pairwise(best))
    assert best[-1] < best[0]
    learner = group.modules[0].learner
    batch = group.modules[0].minibatch(30)
    with torch.no_grad():
        assert float(learner.task.loss(learner.chain(batch.x), batch.y)) == pytest.approx(best[-1], abs=1e-12)


@pytest.mark.parametrize("name", VECTORS)
def test_a_resumed_search_tells_its_table_again_and_is_where_it_was(lab, name):
    whole, first, second = (started(lab, name) for _ in range(3))
    lab.train(whole, 0, 8)
    lab.train(first, 0, 4, 4)
    second.load_states(first.states(4))
    lab.train(second, 4, 8)
    lab.assert_equal(lab.weights(second), lab.weights(whole))


@pytest.mark.parametrize("name", VECTORS)
def test_it_does_not_matter_where_candidates_are_tried(lab, name):
    here, apart, other = (started(lab, name) for _ in range(3))

    def elsewhere(t, candidates):
        worker = other.modules[0]
        batch = worker.minibatch(t)
        return [worker.learner.tried(t, candidate, batch.x, batch) for candidate in candidates[::-1]][::-1]

    apart.modules[0].learner.trying = elsewhere
    lab.train(here, 0, 5)
    lab.train(apart, 0, 5)
    lab.assert_equal(lab.weights(apart), lab.weights(here))


def test_a_search_begins_at_the_weights_that_the_run_begins_with(lab):
    group = started(lab, "cma_es")
    weights = {key: torch.full_like(value, 0.25) for key, value in lab.weights(group).items()}
    group.load_weights(weights)
    assert np.all(group.modules[0].learner.strategy.centre == 0.25)


def test_it_rests_at_its_target(lab):
    group = started(lab, "cma_es", target=100.0)
    (stats,) = group.run([(0, 5)], 5)
    assert len(set(stats[0].series["population/evaluations"])) == 1


def test_a_candidate_without_a_finite_loss_is_the_worst(lab):
    group = started(lab, "cma_es")
    learner = group.modules[0].learner
    batch = group.modules[0].minibatch(0)
    broken = np.full_like(learner.strategy.space.begin, math.nan)
    assert learner.tried(0, broken, batch.x, batch).loss == math.inf


@pytest.mark.parametrize("key", ["modules", "replicas"])
def test_a_candidate_is_the_whole_net(lab, key):
    with pytest.raises(ConfigError, match=rf"^parallel.{key}: 2, but a candidate is the whole net"):
        lab.plan(model=SMALL, scheme={"name": "evolution"}, parallel={key: 2, "engine": "auto"})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["scheme.strategy.name=cma"], "scheme.strategy.name: unknown strategy 'cma'; did you mean 'cma_es'?"),
        (["scheme.strategy.sigm=1"], "scheme.strategy.sigm: unknown option of cma_es 'sigm'; did you mean 'sigma'?"),
        (["scheme.strategy.population=1"], "scheme.strategy.population: must be at least 2, got 1"),
        (["scheme.strategy.sigma=-1"], "scheme.strategy.sigma: must be above 0, got -1"),
        (["scheme.strategy.population=1000000000"], "scheme.strategy.population: must be at most 100000, got 1e+09"),
        (["scheme.strategy.sigma=.inf"], "scheme.strategy.sigma: must be at most 1e+06, got inf"),
        (["scheme.strategy={name: cne, spread: 0}"], "scheme.strategy.spread: must be above 0, got 0"),
        (
            ["scheme.name=backprop", "parallel.engine=population"],
            "parallel.engine: population shares out candidates, and backprop proposes none; set scheme.name=evolution",
        ),
    ],
)
def test_what_cannot_be_is_said_in_one_line(words, said):
    with pytest.raises(ConfigError) as failure:
        load_config("evolved/xor_cma_es", words)
    assert str(failure.value).startswith(said)


def test_cma_es_takes_nets_whose_covariance_there_can_be(lab):
    model = {"name": "mlp", "hidden": [2000]}
    with pytest.raises(
        ConfigError, match=r"cannot train mlp, which has 20,005 weights, and cma_es holds the covariance of all pairs"
    ):
        lab.plan(lab.data(shape=(4,)), model=model, scheme={"name": "evolution"})


def test_a_search_that_leaves_all_numbers_says_so():
    cma = CMAES(VectorSpace(Chain([]), np.zeros(2)), population=4)
    with pytest.raises(RunFailed, match="the search has left all numbers"):
        cma.tell([np.full(2, 1e33)] * 4, [Trial(1.0)] * 4, np.random.default_rng(0))


def test_every_strategy_says_what_it_is():
    assert all(STRATEGIES.get(name).__doc__ for name in STRATEGIES)


# the strategies, by hand


def test_snes_follows_the_natural_gradient_of_algorithm_2():
    space = VectorSpace(Chain([]), np.array([1.0, -2.0]))
    snes = SNES(space, population=4, sigma=0.5, rate=0.3)
    candidates = snes.ask(np.random.default_rng(0))
    s = (np.array(candidates) - [1.0, -2.0]) / 0.5
    losses = [3.0, 1.0, 2.0, 4.0]
    raw = [math.log(3) - math.log(k) for k in (1, 2)] + [0.0, 0.0]
    u = np.array(raw) / sum(raw) - 0.25
    best_first = s[[1, 2, 0, 3]]
    snes.tell(candidates, [Trial(loss) for loss in losses], np.random.default_rng(1))
    mean = np.array([1.0, -2.0]) + 0.5 * (u[:, None] * best_first).sum(0)
    sigma = 0.5 * np.exp(0.15 * (u[:, None] * (best_first**2 - 1)).sum(0))
    np.testing.assert_allclose(snes.centre, mean, rtol=1e-12)
    np.testing.assert_allclose(snes._sigma, sigma, rtol=1e-12)


def test_cosyne_moves_weights_within_their_own_population_and_keeps_the_best():
    space = VectorSpace(Chain([]), np.zeros(3))
    cosyne = CoSyNE(space, population=8, parents=0.25)
    candidates = [np.array([i, 10.0 + i, 20.0 + i]) for i in range(8)]
    cosyne.tell(candidates, [Trial(float(i)) for i in range(8)], np.random.default_rng(0))
    people = np.array(cosyne.ask(np.random.default_rng(1)))
    assert np.array_equal(people[0], candidates[0])
    for i in range(3):  # all but the two that children replaced are still there, in the population of their weight
        assert {*range(10 * i, 10 * i + 6)} <= {*people[:, i].tolist()}
    assert any(not np.array_equal(person - person[0], [0.0, 10.0, 20.0]) for person in people)


def test_cosyne_moves_with_the_probability_of_equation_3():
    np.testing.assert_allclose(moving([0.0, 1.0, 3.0, 4.0, math.inf], n=2), [0, 1 - 0.75**0.5, 1 - 0.25**0.5, 1, 1])
    assert moving([2.0, 2.0], n=5).tolist() == [0.0, 1.0]


def test_a_child_of_cne_has_weights_of_its_parents_where_no_mutation_is():
    space = VectorSpace(Chain([]), np.zeros(50))
    cne = CNE(space, population=4, rate=0.2)
    child = cne._child(np.full(50, 1.0), np.full(50, 2.0), np.random.default_rng(0))
    same = np.isin(child, (1.0, 2.0)).mean()
    assert 0.6 < same < 1.0
    best = [np.full(50, float(i)) for i in range(4)]
    cne.tell(best, [Trial(loss) for loss in (3.0, 1.0, 2.0, 0.0)], np.random.default_rng(0))
    assert [person[0] for person in cne.ask(np.random.default_rng(0))[:2]] == [3.0, 1.0]


# exclusive or


@pytest.mark.slow("ten searches")
def test_cma_es_solves_xor_in_few_evaluations(lab):
    """The bar is a median of 400 over ten seeds; nets of two hidden units have local minima at 1/8 and 1/6."""
    used = []
    for seed in range(10):
        learner = searched(lab, "xor_cma_es", seed)
        used.append(learner.evaluations if learner.strategy.found[1] <= 0.01 else math.inf)
    assert statistics.median(used) <= 400


@pytest.mark.slow("ten searches")
def test_neat_solves_xor_from_nine_of_ten_seeds_within_25000_evaluations(lab):
    found = [searched(lab, "xor_neat", seed) for seed in range(10)]
    assert sum(learner.strategy.found[1] <= 0.01 and learner.evaluations <= 25_000 for learner in found) >= 9


def test_the_strategy_of_the_page_gets_better(lab):
    page = (Path(__file__).parents[2] / "docs/families/evolved.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.S)
    try:
        exec(compile(example, "page", "exec"), {"__name__": "page"})
        group = started(lab, "hill_climbing")
        (stats,) = group.run([(0, 12)], 12)
        best = stats[0].series["population/best"]
        assert best[-1] < best[0]
    finally:
        for kept in (STRATEGIES._entries, STRATEGIES._facts):
            kept.pop("hill_climbing", None)
