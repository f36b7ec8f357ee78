"""One of two replicas, each a process: `python zero_pair.py RANK STORE FOLDER CASE...`; no Ray is needed to show ZeRO.

Each case asserts for itself, in both processes at once.
"""

import io
import sys
from collections.abc import Sequence

import pytest
import torch
import torch.distributed as dist
from torch import nn

from unlocked.config import load_config
from unlocked.engine.group import InProcessGroup
from unlocked.engine.module import ModuleRunner
from unlocked.engine.zero import ZeroRunner
from unlocked.errors import ConfigError
from unlocked.launch.worker import Average
from unlocked.plan.blocks import build_net
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data

BASE = [
    "model.hidden=[24,20,16]",
    "model.norm=none",
    "data.batch_size=32",
    "parallel.partition=null",
    "parallel.modules=1",
    "optimizer.name=adam",
    "optimizer.lr=0.003",
    "optimizer.schedule=cosine",
    "optimizer.warmup=5",
    "optimizer.clip_norm=0.5",
    "scheme.name=backprop",
    "scheme.sg.hidden=[]",
    "scheme.sg.lr=0.01",
    "train.epochs=3",
]
ZERO = "parallel.deepspeed.zero_optimization"
SMALL = f"{ZERO}.stage3_param_persistence_threshold=0"  # else weights as few as these are kept whole


def planned(*overrides):
    config = load_config("quickstart", [*BASE, *overrides])
    data = load_data(config)
    return make_plan(config, data), data


def staged(stage: int, *overrides: str):
    return planned(
        "parallel.engine=deepspeed",
        f"parallel.replicas={dist.get_world_size()}",
        f"{ZERO}.stage={stage}",
        *([SMALL] if stage == 3 else []),
        *overrides,
    )


class Replica(InProcessGroup):
    """All modules of this process's replica."""

    runner: type[ModuleRunner] = ZeroRunner

    def _make_modules(self, plan, data, device) -> Sequence[ModuleRunner]:
        blocks, shard = build_net(plan, range(plan.modules)), (dist.get_rank(), dist.get_world_size())
        modules = [self.runner(plan, data, k, device, shard, blocks) for k in range(plan.modules)]
        for module in modules:
            self.tie(module)
        return modules

    def tie(self, module) -> None:
        module.shard(dist.group.WORLD, ALONE[dist.get_rank()])


class Alone(Replica):
    """The only replica, in each process for itself."""

    def _make_modules(self, plan, data, device) -> Sequence[ModuleRunner]:
        blocks = build_net(plan, range(plan.modules))
        modules = [ZeroRunner(plan, data, k, device, (0, 1), blocks) for k in range(plan.modules)]
        for module in modules:
            module.shard(ALONE[dist.get_rank()], ALONE[dist.get_rank()])
        return modules


class Averaging(Replica):
    """As our own replicas are."""

    runner = ModuleRunner

    def tie(self, module) -> None:
        average = Average(dist.group.WORLD, dist.get_world_size())
        module.average_over(average.gradients, average.buffers)


def trained(group, start: int, stop: int):
    list(group.run([(start, stop)], stop))
    return group


def learned(states):
    """All tensors that training moves, by name: weights, models beside them, states of optimisers."""
    found = {}

    def walk(name, value):
        if isinstance(value, torch.Tensor):
            found[name] = value
        elif isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{name}.{key}", inner)
        elif isinstance(value, list | tuple):
            for i, inner in enumerate(value):
                walk(f"{name}.{i}", inner)

    for k, state in enumerate(states):
        walk(str(k), {name: state[name] for name in ("weights", "learner")})
    of_a_replica = (
        "step",
        "carried",
        ".kept.",
        ".waiting.",
        "accumulated",
    )  # the optimiser's counter; and what is its own
    return {name: value for name, value in found.items() if not any(word in name for word in of_a_replica)}


def assert_close(found, expected, tolerance=2e-6):
    assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=tolerance, msg=f"{name}: {{}}".format)


def equal(
    *overrides: str,
    steps: int = 50,
    stages: Sequence[int] = (0, 1, 2, 3),
    tolerance: float = 1e-5,
    zero_alone: Sequence[str] = (),
) -> None:
    """Every stage learns what one process does on the whole minibatch, and what our own replicas do. `zero_alone`: keys
    of ZeRO's."""
    one = trained(InProcessGroup(*planned("parallel.engine=inprocess", *overrides)), 0, steps)
    ours = trained(Averaging(*planned("parallel.engine=ray", "parallel.replicas=2", *overrides)), 0, steps)
    expected, outputs = learned(one.states(steps)), one.outputs("validation")
    assert_close(learned(ours.states(steps)), expected, tolerance)
    for stage in stages:
        zero = trained(Replica(*staged(stage, *overrides, *zero_alone)), 0, steps)
        assert zero.nonfinite() is None
        found = zero.outputs("validation")
        torch.testing.assert_close(found, outputs, rtol=0, atol=10 * tolerance, msg=f"stage {stage}: {{}}".format)
        states = zero.states(steps)
        if dist.get_rank() == 0:
            assert_close(learned(states), expected, tolerance)


def ddp(steps: int = 50) -> None:
    """Stage 0 to 3 learn what torch's DistributedDataParallel does, by an ordinary loop."""
    plan, data = staged(0, "optimizer.schedule=constant", "optimizer.warmup=0")
    runner = ModuleRunner(plan, data, 0, torch.device("cpu"), (dist.get_rank(), 2), build_net(plan, [0]))
    net = nn.parallel.DistributedDataParallel(nn.Sequential(*runner.learner.chain))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.003)
    for t in range(steps):
        nn.functional.cross_entropy(net(runner.batches.x(t)), runner.batches.y(t)).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
    expected = dict(net.module.state_dict())
    for stage in range(4):
        states = trained(Replica(*staged(stage, "optimizer.schedule=constant", "optimizer.warmup=0")), 0, steps).states(
            steps
        )
        if dist.get_rank() == 0:
            assert_close(states[0]["weights"], expected, 1e-4)  # of 0.15: Adam divides rounding by small gradients


def resumed(*overrides: str) -> None:
    """A run of two replicas goes on with one, and one of one with two, as one that was never stopped."""
    expected = learned(trained(InProcessGroup(*planned("parallel.engine=inprocess", *overrides)), 0, 30).states(30))
    for stage in (1, 2, 3):
        for before, after, replicas in ((Replica, Alone, 1), (Alone, Replica, 2)):
            begun = trained(before(*staged(stage, f"parallel.replicas={3 - replicas}", *overrides)), 0, 15)
            buffer = io.BytesIO()
            torch.save(begun.states(15), buffer)
            buffer.seek(0)
            states = torch.load(buffer, weights_only=True)
            group = after(*staged(stage, f"parallel.replicas={replicas}", *overrides))
            group.load_states(states)
            found = learned(trained(group, 15, 30).states(30))
            if dist.get_rank() == 0:
                assert_close(found, expected, 1e-5)


def offload() -> None:
    """The states of the optimiser, then the weights too, in the memory of the host."""
    states, weights = (f"{ZERO}.offload_{what}.device=cpu" for what in ("optimizer", "param"))
    equal(steps=20, stages=(1, 2, 3), zero_alone=[states])
    equal(steps=20, stages=(3,), zero_alone=[states, weights])


def overflow() -> None:
    """With fp16 replicas leave out the same step, even if the gradients of one alone overflowed."""
    for stage in (1, 2, 3):
        group = Replica(*staged(stage, "train.precision=fp16"))
        learner = group.modules[0].learner
        before = {name: w.clone() for name, w in group.modules[0].weights().items()}
        if dist.get_rank() == 0:
            learner.loss_scale.factor = 2.0**40
        trained(group, 0, 1)
        assert_close(group.modules[0].weights(), before, 0.0)
        learner.loss_scale.factor = 2.0**16
        trained(group, 1, 2)
        after = group.modules[0].weights()
        assert any(not torch.equal(after[name], before[name]) for name in before)
        assert all(bool(w.isfinite().all()) for w in after.values())


def budget(mib: float = 0.9) -> None:
    """What one worker may not hold is trained at stage 3, within what is declared."""
    wide = ["model.hidden=[256,256]", f"parallel.memory={mib}"]
    with pytest.raises(ConfigError, match=r"parallel\.memory"):
        planned("parallel.engine=inprocess", *wide)
    one = trained(InProcessGroup(*planned("parallel.engine=inprocess", wide[0])), 0, 10)
    sharing = trained(Replica(*staged(3, *wide)), 0, 10)
    held = sharing.modules[0].bytes()
    assert all(held.values()), held
    assert sum(held.values()) <= mib * 2**20, held
    states = sharing.states(10)
    if dist.get_rank() == 0:
        assert_close(learned(states), learned(one.states(10)), 1e-5)


CASES = {
    "offload": offload,
    "budget": budget,
    "recompute": lambda: equal("train.recompute=true", steps=10),
    "resumed": lambda: resumed("model.hidden=[23,17]"),  # weights that two replicas cannot share evenly
    "backprop": equal,
    "ddp": ddp,
    "modules": lambda: equal("parallel.modules=2", steps=20),
    "accumulate": lambda: equal("train.accumulate=4", steps=20),
    "groups": lambda: equal(
        "optimizer.groups=[{pattern: '*.bias', lr: 0.01}]", "train.average=0.9", steps=20, stages=(1, 2)
    ),
    "bf16": lambda: equal("train.precision=bf16", steps=10, tolerance=2e-3),
    "fp16": lambda: equal("train.precision=fp16", steps=10, stages=(1, 2, 3), tolerance=2e-3),
    "overflow": overflow,
    "dni": lambda: equal("parallel.modules=2", "scheme.name=dni", steps=20),
    "cdni": lambda: equal("parallel.modules=2", "scheme.name=cdni", steps=20),
    "dfa": lambda: equal("parallel.modules=2", "scheme.name=dfa", steps=20),
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    rank, store, folder, *cases = sys.argv[1:]
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=int(rank), world_size=2)
    ALONE = [dist.new_group([r]) for r in range(2)]
    for case in cases:
        CASES[case]()
        print(case, "ok", flush=True)
