"""What figures of evolution show; those of a whole run are drawn from its last checkpoint, told again."""

import math

import numpy as np
import torch

from unlocked.config import load_config
from unlocked.data.sets.picture import places
from unlocked.drawing import evolved
from unlocked.drawing.inside import pictures
from unlocked.engine.group import InProcessGroup
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.schemes import SCHEMES
from unlocked_models.contract.chain import Chain, build


def ran(preset, *words):
    config = load_config(f"evolved/{preset}", ["tracking.uri=off", *words])
    data = load_data(config)
    group = InProcessGroup(make_plan(config, data), data)
    list(group.run([(0, 3)], 3))
    return config, data, group


def test_a_search_is_drawn_of_all_generations_also_of_those_without_a_finite_loss(tmp_path):
    losses = [[math.inf, math.inf], [0.9, math.inf], [0.2, 0.5], [0.7, 0.3]]
    assert evolved.search(losses, [{"sigma": 0.5}] * 4, tmp_path / "search.png").stat().st_size > 5000
    assert evolved.search([[0.5]], [{}], tmp_path / "one.png").stat().st_size > 5000


def test_neat_draws_its_species_and_the_net(tmp_path):
    config, data, group = ran("xor_neat", "scheme.strategy.population=10", "scheme.strategy.add_node=0.9")
    chain, state = group.modules[0].learner.chain, group.states(3)[0]["learner"]
    drawn = SCHEMES.get("evolution").figures(config, chain, state, tmp_path)
    assert [path.name for path in drawn] == ["search.png", "species.png"]
    (wiring,) = pictures(chain.eval(), data, tmp_path)
    assert wiring.name == "wiring.png"


def test_a_net_that_paints_is_drawn_with_its_picture_at_places_that_were_not_asked_for(tmp_path):
    data = load_data(load_config("evolved/picture"))
    chain = Chain(build("grown", data.in_shape, data.n_outputs, hidden=2)).eval()
    assert torch.equal(data.test.x, torch.from_numpy(places(8)))
    assert [path.name for path in pictures(chain, data, tmp_path)] == ["wiring.png", "painting.png"]


def test_the_net_that_paints_another_is_drawn_by_itself(tmp_path):
    chain = Chain(build("hyperneat", (2,), 1, layers=[3]))
    data = load_data(load_config("evolved/xor_neat"))
    (wiring,) = pictures(chain, data, tmp_path)
    assert wiring.stat().st_size > 5000


def test_nsga2_draws_its_front(tmp_path):
    config, _, group = ran("xor_cma_es", "scheme.strategy={name: nsga2, population: 8}", "scheme.strategy.sigma=0.2")
    learner = group.modules[0].learner
    state = group.states(3)[0]["learner"]
    told = SCHEMES.get("evolution").figures(config, learner.chain, state, tmp_path)
    assert [path.name for path in told] == ["search.png", "front.png"]


def test_a_search_that_is_told_again_has_the_same_front():
    from unlocked.schemes.evolution.learner import searched

    config, _, group = ran("xor_cma_es", "scheme.strategy={name: nsga2, population: 8}", "scheme.strategy.sigma=0.2")
    learner = group.modules[0].learner
    again = searched(config, learner.chain, torch.from_numpy(learner.strategy.space.begin), learner.trials)
    assert np.array_equal(again.front(), learner.strategy.front())
