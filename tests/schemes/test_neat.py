"""NEAT against the paper by hand: innovation numbers, crossover, distance, species, growth; and XOR."""

import math

import numpy as np
import pytest
import torch

from unlocked.config import load_config
from unlocked.errors import ConfigError
from unlocked.schemes import SCHEMES, Trial
from unlocked.schemes.evolution.graph import Gene, Graph, GraphSpace, Innovations, crossover, distance
from unlocked.schemes.evolution.neat import NEAT
from unlocked_models.contract.chain import Chain, build

GROWN = {"name": "grown", "hidden": 4}


def graph(*genes, hidden=None):
    """Of (number, source, target, weight[, enabled])."""
    return Graph({number: Gene(*gene) for number, *gene in genes}, hidden or {})


def always(value):
    class Fixed:
        def random(self):
            return value

    return Fixed()


# Figure 4 of the paper: two parents, matching genes 1 to 5, disjoint 6, 7, 8, excess 9 and 10
ONE = graph(
    (1, 1, 4, 0.1),
    (2, 2, 4, 0.2, False),
    (3, 3, 4, 0.3),
    (4, 2, 5, 0.4),
    (5, 5, 4, 0.5),
    (8, 1, 5, 0.8),
    hidden={5: "steep"},
)
OTHER = graph(
    *((1, 1, 4, 1.1), (2, 2, 4, 1.2, False), (3, 3, 4, 1.3), (4, 2, 5, 1.4), (5, 5, 4, 1.5, False)),
    *((6, 5, 6, 1.6), (7, 6, 4, 1.7), (9, 3, 5, 1.9), (10, 1, 6, 2.0)),
    hidden={5: "steep", 6: "steep"},
)


def test_a_child_has_matching_genes_of_either_and_all_others_of_the_fitter():
    child = crossover(OTHER, ONE, always(0.3))  # the fitter one's, as 0.3 < 0.5; genes that are off stay so
    assert sorted(child.genes) == [1, 2, 3, 4, 5, 6, 7, 9, 10]
    assert [child.genes[i].weight for i in (1, 2, 5, 9)] == [1.1, 1.2, 1.5, 1.9]
    assert [i for i, gene in child.genes.items() if not gene.enabled] == [2, 5]
    assert child.hidden == OTHER.hidden
    child = crossover(ONE, OTHER, always(0.8))  # the other one's; genes that were off in a parent are on again
    assert sorted(child.genes) == [1, 2, 3, 4, 5, 8]
    assert [child.genes[i].weight for i in (1, 5, 8)] == [1.1, 1.5, 0.8]
    assert all(gene.enabled for gene in child.genes.values())


def test_the_distance_is_that_of_equation_1():
    assert distance(ONE, OTHER, 1.0, 0.0, 0.0) == 2  # excess: 9, 10
    assert distance(ONE, OTHER, 0.0, 1.0, 0.0) == 3  # disjoint: 6, 7, 8
    assert distance(ONE, OTHER, 0.0, 0.0, 1.0) == pytest.approx(1.0)  # mean difference of the five
    assert distance(ONE, OTHER, 1.0, 2.0, 0.4) == distance(OTHER, ONE, 1.0, 2.0, 0.4) == pytest.approx(8.4)
    large = graph(*((i, 0, 2, 0.0) for i in range(40)))
    assert distance(large, graph((0, 0, 2, 0.0)), 1.0, 1.0, 1.0) == pytest.approx(39 / 40)


def test_the_same_innovation_has_the_same_number_in_all_genomes():
    known = Innovations(4)
    assert [known.link(0, 3), known.link(1, 3), known.link(0, 3)] == [0, 1, 0]
    assert [known.unit(0, []), known.unit(1, []), known.unit(0, [])] == [4, 5, 4]
    assert known.unit(0, [4]) == 6  # this genome has split it before


def strategy(n_in=2, n_out=1, **options):
    chain = Chain(build("grown", (n_in,), n_out, hidden=3))
    return NEAT(GraphSpace(chain), **options), chain


def test_a_new_unit_splits_a_connection_and_at_first_changes_little():
    neat, _ = strategy()
    random = np.random.default_rng(0)
    child = neat._first(random)
    before = dict(child.genes)
    neat._grow_node(child, random)
    (unit,) = child.hidden
    (split,) = [i for i, gene in child.genes.items() if not gene.enabled]
    into, out = (
        next(g for g in child.genes.values() if unit == end(g)) for end in (lambda g: g.target, lambda g: g.source)
    )
    assert (into.source, into.weight) == (before[split].source, 1.0)
    assert (out.target, out.weight) == (before[split].target, before[split].weight)
    for _ in range(9):
        neat._grow_node(child, random)
    assert len(child.hidden) == 3  # as many as the model has room for


def test_no_connection_makes_a_loop():
    neat, chain = strategy(n_in=2, n_out=2)
    random = np.random.default_rng(1)
    child = neat._first(random)
    for _ in range(60):
        neat._grow_node(child, random)
        neat._grow_link(child, random)
    order = child.ordered()
    assert sorted(order) == sorted(child.hidden)
    assert all(
        order.index(g.source) < order.index(g.target)
        for g in child.genes.values()
        if g.source in child.hidden and g.target in child.hidden
    )
    neat.space.write(child, chain)
    net = chain[0]
    assert not torch.tril(net.links).any()
    assert net.links.sum() == sum(gene.enabled for gene in child.genes.values())


def test_a_written_genome_computes_what_its_genes_say():
    neat, chain = strategy()
    # inputs 0, 1, constant 2, output 3, hidden 4 (gaussian) and 5 (sine), where 5 sees 4
    genome = graph(
        *((0, 0, 3, 0.5), (1, 1, 3, 9.0, False), (2, 2, 3, -0.25), (3, 0, 4, 1.5), (4, 1, 4, -1.0)),
        *((5, 4, 5, 0.7), (6, 5, 3, 2.0)),
        hidden={5: "sine", 4: "gaussian"},
    )
    neat.space.write(genome, chain)
    x = torch.tensor([[0.3, -0.8], [1.0, 0.2]])
    four = torch.exp(-((1.5 * x[:, 0] - x[:, 1]) ** 2))
    expected = 0.5 * x[:, 0] - 0.25 + 2.0 * torch.sin(math.pi * 0.7 * four)
    torch.testing.assert_close(chain(x)[:, 0], expected)


def test_species_share_out_the_next_generation_and_stale_ones_get_nothing():
    neat, _ = strategy(population=20, threshold=0.5, weights=1.0, patience=2)
    near, far = (graph((0, 0, 3, w), (1, 1, 3, w), (2, 2, 3, w)) for w in (0.0, 5.0))
    people, losses = [near] * 10 + [far] * 10, [1.0] * 10 + [0.0] * 10
    for generation in range(4):
        neat._speciate(people, losses, np.random.default_rng(generation))
        assert [len(one.members) for one in neat.species] == [10, 10]
        shares = neat._offspring(losses)
        assert sum(shares) == 20
        assert shares[1] > 10
    assert shares == [0, 20]  # nothing got better, but the second species has the best


def test_weights_painted_by_a_cppn_are_those_of_its_places():
    chain = Chain(build("hyperneat", (2,), 1, layers=[3], threshold=0.1, reach=2.0))
    space = GraphSpace(chain)
    assert (space.n_in, space.n_out) == (4, 2)
    # outputs 5 (weights) and 6 (biases): w = tanh(x1 + x2), b = tanh(0.5 y2)
    genome = graph((0, 0, 5, 1.0), (1, 2, 5, 1.0), (2, 3, 6, 0.5))
    space.write(genome, chain)
    block = chain[0]
    for j, x2 in enumerate((-1.0, 0.0, 1.0)):
        for i, x1 in enumerate((-1.0, 1.0)):
            w = math.tanh(x1 + x2)
            expected = math.copysign(max(abs(w) - 0.1, 0) / 0.9 * 2.0, w)
            assert float(block.weight_0[j, i]) == pytest.approx(expected, abs=1e-6)
    assert float(block.bias_1[0]) == pytest.approx((math.tanh(0.5) - 0.1) / 0.9 * 2.0, abs=1e-6)
    assert torch.equal(block.bias_0, torch.zeros(3))


@pytest.mark.parametrize("model", [GROWN, {"name": "hyperneat", "layers": [3], "hidden": 3}])
def test_a_resumed_search_is_where_it_was(lab, model):
    scheme = {"name": "evolution", "strategy": {"name": "neat", "population": 12, "add_node": 0.4, "add_link": 0.5}}
    data = lab.data(shape=(3,), n=16, classes=2)
    whole, first, second = (lab.start(data, model=model, scheme=scheme) for _ in range(3))
    lab.train(whole, 0, 6)
    lab.train(first, 0, 3, 3)
    second.load_states(first.states(3))
    lab.train(second, 3, 6)
    lab.assert_equal(lab.weights(second), lab.weights(whole))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["scheme.strategy.units=[steeep]"],
            "scheme.strategy.units: unknown kind of unit 'steeep'; did you mean 'steep'",
        ),
        (["scheme.strategy.mutate=2"], "scheme.strategy.mutate: must be from 0 to 1, got 2"),
        (["scheme.strategy.threshold=0"], "scheme.strategy.threshold: must be above 0, got 0"),
        (["scheme.strategy.excess=-1"], "scheme.strategy.excess: must be at least 0 and finite, got -1"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(words, said):
    with pytest.raises(ConfigError) as failure:
        load_config("evolved/xor_neat", words)
    assert str(failure.value).startswith(said)


def test_wiring_that_is_searched_is_for_neat_and_neat_for_it_alone(lab):
    with pytest.raises(ConfigError, match="cannot train mlp, which has layers of one wiring, which neat would"):
        lab.plan(model={"name": "mlp", "hidden": [2]}, scheme={"name": "evolution", "strategy": {"name": "neat"}})
    with pytest.raises(ConfigError, match="its wiring is what evolves; take strategy neat"):
        lab.plan(model=GROWN, scheme={"name": "evolution", "strategy": {"name": "cma_es"}})
    for scheme in set(SCHEMES) - {"evolution"}:
        assert "evolved" in SCHEMES.get(scheme).refuses or SCHEMES.get(scheme).refuses["evolved"], scheme


def test_a_generation_is_told_in_full():
    neat, _ = strategy(population=30)
    random = np.random.default_rng(0)
    for generation in range(5):
        people = neat.ask(np.random.default_rng([0, generation]))
        neat.found = (people[0], 0.0)
        assert len(people) == 30
        neat.tell(people, [Trial(float(loss)) for loss in random.random(30)], np.random.default_rng([1, generation]))
        assert neat.numbers()["species"] == len(neat.species) >= 1
