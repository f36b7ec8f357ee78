"""Replicas: R workers per module, each on its share of every minibatch, learn what one does on all of it."""

from __future__ import annotations

import pytest
import torch

from unlocked.config import load_config
from unlocked.engine.group import InProcessGroup
from unlocked.engine.plan import load_data, make_plan
from unlocked.errors import ConfigError

STEPS = 25
BASE = ["model.hidden=[24,20,16]", "model.norm=none", "data.batch_size=32", "parallel.partition=null",
        "parallel.threads=1", "parallel.timeout=60", "optimizer.name=sgd", "optimizer.momentum=0.9", "optimizer.lr=0.1",
        "optimizer.clip_norm=1.0", "scheme.sg.hidden=[]", "scheme.sg.lr=0.01"]


@pytest.mark.ray
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("stages", "scheme"), [(1, "backprop"), (2, "backprop"), (2, "dni"), (2, "dfa")])
def test_two_replicas_learn_what_one_learns_on_the_whole_minibatch(warm, stages, scheme):
    def config(*overrides):
        return load_config("quickstart", [*BASE, f"scheme.name={scheme}", f"parallel.stages={stages}", *overrides])

    data = load_data(config())
    one_plan = make_plan(config("parallel.launcher=inprocess"), data)
    two_plan = make_plan(config("parallel.replicas=2"), data)
    one, two = InProcessGroup(one_plan, data), warm(two_plan, data)
    try:
        (expected,), (found,) = one.run([(0, STEPS)], STEPS), two.run([(0, STEPS)], STEPS)
        states, outputs = two.states(STEPS), two.outputs("test")
    finally:
        two.close()
    # not to the last bit: a mean over 32 is not summed in the order of two means over 16
    torch.testing.assert_close(torch.tensor(found[-1].series["loss"]), torch.tensor(expected[-1].series["loss"]),
                               rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(outputs, one.outputs("test"), rtol=1e-4, atol=1e-4)
    for stage, wanted in enumerate(one.states(STEPS)):
        first, second = states[2 * stage:2 * stage + 2]
        for name, weight in wanted["weights"].items():
            torch.testing.assert_close(first["weights"][name], weight, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(first["weights"][name], second["weights"][name], rtol=0, atol=0)


@pytest.mark.parametrize(("overrides", "words"), [
    (["parallel.replicas=3"], "does not divide data.batch_size"),
    (["parallel.replicas=2", "parallel.launcher=inprocess"], "needs workers"),
])
def test_replicas_that_cannot_work_are_refused(overrides, words):
    with pytest.raises(ConfigError, match=f"parallel.replicas: .*{words}"):
        load_config("quickstart", [*BASE, *overrides])
