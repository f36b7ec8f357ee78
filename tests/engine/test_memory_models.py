"""Networks with a memory under every scheme, in modules, with a curriculum and synthetic gradients through time."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from unlocked import load_config, train
from unlocked.plan.blocks import build_blocks
from unlocked.tasks import load
from unlocked_models import Batch, Chain

SMALL = [
    "model={controller: lstm, hidden: 16, rows: 8, columns: 6, embedding: 6, carry: true}",
    "tracking.uri=off",
    "train.steps=12",
]
TAPE = {"level": 2, "window": 2, "episodes": 96, "symbols": 2}
COPIES = {"memory/copy": True, "memory/lstm": False}
NTM = {"name": "ntm", "hidden": 6, "rows": 5, "columns": 3, "embedding": 4, "writes": 2, "carry": True}


@pytest.mark.parametrize("scheme", ["backprop", "dfa", "cdni", "dni", "local", "frozen"])
def test_a_turing_machine_trains_under_every_scheme(scheme, tmp_path):
    options = "data.options={level: 1, window: 2, symbols: 2, last: 2, test_level: 2, mixed: false, episodes: 96}"
    config = load_config(
        "memory/copy",
        [
            *SMALL,
            options,
            f"scheme.name={scheme}",
            f"tracking.runs={tmp_path}",
            "train.evaluate_steps=6",
            "train.curriculum=9",
            "scheme.time.synthetic=true",
            "optimizer.lr=0.01",
            f"tracking.figures={str(scheme == 'dfa').lower()}",
        ],
    )
    summary = train(config)
    metrics = summary["metrics"]
    assert metrics["curriculum/level"] == 2  # where data.options.last ends it, however easy it is
    assert metrics["train/loss"] < 3.3  # log of 23 tokens is 3.1
    assert (tmp_path / summary["run"] / "figures" / "memory.png").exists() == (scheme == "dfa")


@pytest.mark.parametrize("modules", [1, 2])
def test_modules_of_a_machine_are_plain_autograd_window_by_window(lab, modules):
    data = load("copy", **TAPE)
    group = lab.start(
        data,
        model=NTM,
        parallel={"modules": modules},
        data={"name": "copy", "batch_size": 8},
        optimizer={"name": "sgd", "lr": 0.1, "momentum": 0.0},
    )
    plan, batches = group.modules[0].plan, group.modules[0].batches
    network = Chain(build_blocks(plan.config, plan.example)).double()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for t in range(4):
        batch = Batch(batches.x(t), batches.y(t))
        carried = network[0].carried
        network[0].carried = None if t % data.stretch == 0 else carried.detach()
        nats = cross_entropy(network(batch.x, batch).flatten(0, 1), batch.y.flatten(), ignore_index=0, reduction="sum")
        loss = nats / (batch.y != 0).sum().clamp(min=1)
        assert lab.train(group, t, t + 1) == pytest.approx([loss.item()], rel=1e-12)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    lab.assert_close(lab.parameters(group), dict(network.named_parameters()), 1e-12)


def test_a_resumed_machine_has_the_memory_it_had_in_the_middle_of_an_episode(lab):
    data = load("copy", **{**TAPE, "level": 4})
    options = {
        "model": NTM,
        "parallel": {"modules": 2},
        "scheme": {"name": "dfa", "lag": 2, "time": {"synthetic": True, "hidden": [6]}},
        "data": {"name": "copy", "batch_size": 8},
        "optimizer": {"name": "adam", "lr": 0.01, "momentum": None},
    }
    whole, half, rest = (lab.start(data, **options) for _ in range(3))
    lab.train(whole, 0, 11)
    lab.train(half, 0, 6, checkpoint_at=6)
    rest.load_states(half.states(6))
    lab.train(rest, 6, 11)
    lab.assert_equal(lab.weights(rest), lab.weights(whole))


@pytest.mark.parametrize("preset", COPIES)
def test_a_turing_machine_copies_twice_the_length_it_was_trained_on_and_an_lstm_does_not(
    preset, seed_to_learn, tmp_path
):
    options = ["train.steps=900", "tracking.figures=false", f"seed={seed_to_learn}"]
    summary = train(load_config(preset, [*options, "tracking.uri=off", f"tracking.runs={tmp_path}"]))
    accuracy = summary["metrics"]["test/accuracy"]
    assert accuracy > 0.95 if COPIES[preset] else accuracy < 0.25  # chance is 0.125
