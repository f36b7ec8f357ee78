"""What the simulation starts from, measured here: blocks, links, and processes that slow each other."""

from __future__ import annotations

import json
import math
import time
from dataclasses import fields

import numpy as np
import pytest
import torch

from unlocked.bench import what_if
from unlocked.bench.measured import scaling
from unlocked.bench.measured.costs import measure, whole_chain
from unlocked.bench.measured.measure import ForeignCPU, cores, is_spoilt
from unlocked.bench.measured.peer import Peer, contention
from unlocked.bench.simulated.cost_model import Link
from unlocked.cli.main import main
from unlocked.config import from_tree
from unlocked.errors import ConfigError, RunFailed


def made(model, shape, batch=64, sg=None, **parallel):
    return from_tree(
        {
            "name": "made",
            "model": model,
            "scheme": {"name": "cdni", "sg": sg or {"kind": "linear", "rank": 32}},
            "data": {
                "name": "bench_noise",
                "batch_size": batch,
                "validation": 0.0,
                "options": {"shape": shape, "rows": 512},
            },
            "parallel": {"modules": 2, "device": "cpu", **parallel},
        }
    )


def mlp(width, depth, batch=64, **parallel):
    return made({"name": "mlp", "hidden": [width] * depth}, [width], batch, **parallel)


@pytest.fixture(scope="module")
def blocks():
    module, data = whole_chain(mlp(256, 3))
    return measure(module, data, microbatch=8, seconds=1.0)


def test_every_block_has_its_costs(blocks):
    assert len(blocks) == 4
    for field in fields(blocks):
        assert np.isfinite(getattr(blocks, field.name)).all(), field.name
    for name in ("forward", "backward_weight", "update", "bytes_out"):
        assert (getattr(blocks, name) > 0).all(), name
    assert blocks.backward_input[0] == 0.0  # nobody wants the gradient of x
    for name in ("dni_predict", "dni_learn", "cdni_predict", "cdni_learn"):
        assert (getattr(blocks, name)[:-1] > 0).all(), name
    assert (blocks.inputs_learn[1:] > blocks.inputs_predict[1:]).all()
    assert blocks.bytes_out.tolist() == [64 * 256 * 4.0] * 3 + [64 * 10 * 4.0]
    assert blocks.error_bytes == 64 * 10 * 4


def test_what_a_call_costs_whatever_its_rows_is_a_part_of_what_it_costs(blocks):
    for part in ("forward", "backward_input", "backward_weight"):
        call, whole = getattr(blocks, f"{part}_call"), getattr(blocks, part)
        assert ((call >= 0) & (call <= whole)).all(), part
    assert blocks.backward_weight_call[:3].sum() > 0  # 256 x 256 gradients to write, for 8 rows as for 64


def test_equal_blocks_cost_the_same_and_more_work_costs_more(blocks):
    assert blocks.step[1] == pytest.approx(blocks.step[2], rel=0.5)
    assert blocks.step[1] > 1.5 * blocks.step[3]  # the head: 10 columns in place of 256, but as many calls
    assert blocks.backward[1] > blocks.forward[1] / 2


def test_measuring_leaves_the_number_of_threads_as_it_was(blocks):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        module, data = whole_chain(mlp(16, 1))
        measure(module, data, microbatch=64, seconds=0.0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_no_cut_is_made_where_no_synthetic_gradient_fits():
    config = made({"name": "cnn", "channels": [4, 4, 4], "hidden": [8]}, [3, 8, 8], sg={"kind": "conv", "kernel": 1})
    module, data = whole_chain(config)
    found = measure(module, data, microbatch=64, seconds=0.0)
    assert np.isfinite(found.cdni_learn).tolist() == [True, True, True, False, True]  # vectors behind block 3
    sizes, modules = what_if.modules_of(found, 3)
    assert np.isfinite(modules.cdni_learn).all()
    assert 4 not in np.cumsum(sizes)
    _, all_cuts = what_if.modules_of(found, 5)
    done = what_if.simulate(all_cuts, Link(0.0, 0.0, math.inf), 4)
    assert done.left_out.keys() == {"dni", "cdni", "unlock"}


def test_modules_are_cut_as_the_configuration_says_or_balanced(blocks):
    assert what_if.modules_of(blocks, 2, given=[1, 3])[0] == [1, 3]
    assert sum(what_if.modules_of(blocks, 3, given=[1, 3])[0]) == 4
    sizes, modules = what_if.modules_of(blocks, 64, each=2)
    assert sizes == [2] * 64
    assert modules.step.std() == 0.0
    assert min(blocks.step[1:3]) * 2 == pytest.approx(modules.step[0])


@pytest.fixture
def peer():
    other = Peer()
    yield other
    other.close()


def test_a_message_between_two_processes_takes_microseconds_and_more_for_more_bytes(peer):
    link = peer.link(2**18)
    assert 0 <= link.latency < 0.02
    assert 1e-7 < link.overhead < 0.01
    assert 1e8 < link.bandwidth < 1e12
    assert link.copy(4.0 * 2**20) > 2 * link.copy(4.0 * 2**18)


@pytest.mark.skipif(cores() < 2, reason="needs a core for each process")
def test_processes_slow_each_other_by_a_factor(peer):
    module, _ = whole_chain(mlp(256, 2))
    assert 1.0 <= contention(module, [peer], rounds=3, seconds=0.05) < 4.0


def test_a_peer_that_ends_is_an_error_in_words(peer):
    peer._process.kill()
    peer._process.join()
    with pytest.raises(RunFailed, match="has ended"):
        peer.link(16)


# the command ----------------------------------------------------------------------------------------------

TINY = """
name: tiny
data: {name: digits, batch_size: 16, validation: 0.0}
model: {name: mlp, hidden: [16, 16, 16]}
scheme: {name: cdni, sg: {kind: linear}}
parallel: {modules: 2}
"""


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.setattr(what_if, "measure", lambda *given: measure(*given, seconds=0.0))
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return ["bench", "scaling", "--config", str(path)]


def simulated(words, capsys):
    assert main([*words, "--json"]) == 0
    out, said = capsys.readouterr()
    return json.loads(out)["simulated"], " ".join(said.splitlines())


def test_more_modules_than_blocks_are_balanced_and_the_report_says_so(tiny, capsys):
    tree, said = simulated([*tiny, "--simulate", "64", "--latency-us", "5", "--bandwidth-gb", "10"], capsys)
    assert "64 modules, balanced: each 2 x the median block" in said
    assert tree["modules"] == 64
    assert tree["costs"].startswith("balanced")
    assert tree["microbatches"] == 16  # not more than examples
    assert tree["link"] == {"latency_us": pytest.approx(5.0), "sender_us": 0.0, "bandwidth_gb": pytest.approx(10.0)}
    assert tree["contention"] == 1.0
    assert tree["speedup"]["backprop_1_thread"] == 1.0
    assert tree["speedup"]["ideal"] > 32  # reading the inputs is the first module's alone
    assert tree["speedup"]["locked"] < tree["speedup"]["cdni"] / 4  # above 1: all but one of the updates are hidden
    assert len(tree["wait_fraction"]["cdni"]) == 64
    assert tree["run"]["steps"] == 1000
    assert tree["left_out"] == {}


def test_no_more_modules_than_blocks_are_the_blocks_over_this_machines_own_link(tiny, capsys):
    tree, said = simulated([*tiny, "--simulate", "3", "--microbatches", "4", "--steps", "10"], capsys)
    assert "3 modules, the measured blocks" in said
    assert sum(tree["blocks_per_module"]) == 4
    assert tree["microbatches"] == 4
    assert tree["link"]["sender_us"] > 0
    assert tree["run"]["steps"] == 10
    assert tree["run"]["steps_per_second"]["ideal"] == tree["steps_per_second"]["ideal"]  # nothing to fill
    assert tree["run"]["steps_per_second"]["frozen"] < tree["steps_per_second"]["frozen"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--simulate", "1"], "--simulate: must be at least 2, got 1"),
        (["--simulate", "4", "--microbatches", "17"], "--microbatches: 17 is more than the 16 examples"),
        (["--simulate", "4", "--latency-us", "-1"], "--latency-us: must be at least 0, got -1.0"),
        (["--simulate", "4", "--bandwidth-gb", "0"], "--bandwidth-gb: must be at least 1e-09, got 0.0"),
        (["--microbatches", "4"], "--microbatches: belongs to --simulate K"),
        (["--latency-us", "4"], "--latency-us: belongs to --simulate K"),
        (["--simulate", "9", "model.hidden=[8]"], "no inner block to copy"),
    ],
)
def test_what_cannot_be_simulated_is_refused_in_one_line(tiny, words, reason, capsys):
    assert main([*tiny, *words]) == 2
    assert reason in capsys.readouterr().err


def test_a_chain_without_inner_blocks_cannot_grow():
    module, data = whole_chain(mlp(16, 1))
    with pytest.raises(ConfigError, match="no inner block"):
        what_if.modules_of(measure(module, data, microbatch=64, seconds=0.0), 3)


# against workers ------------------------------------------------------------------------------------------


@pytest.fixture
def private_ray():
    yield
    import ray

    ray.shutdown()


@pytest.mark.ray
@pytest.mark.timeout(180)
@pytest.mark.skipif(cores() < 2, reason="needs a core for each worker")
@pytest.mark.slow("measures for a minute")
def test_two_workers_are_as_fast_as_predicted(private_ray, monkeypatch):
    """cdni over locked, within 25 % of what is predicted; a model that lets one of them overlap as the other does, or
    forgets half of the backward pass, is further off: it predicts 1 where 1.5 to 1.9 is true."""
    before = ForeignCPU()
    time.sleep(1.0)
    if is_spoilt(before.end_round()):
        pytest.skip("other programs take the cores")
    config = mlp(512, 5, batch=128)
    monkeypatch.setattr(what_if, "measure", lambda *given: measure(*given, seconds=3.0))
    predicted = what_if.what_if(config, 2, microbatches=4)
    config.parallel.partition = predicted.cut
    measured = scaling.measure(config, rounds=4, steps=40, schemes=["cdni"], schedules=[])
    if sum(map(is_spoilt, measured.foreign)) > 1:
        pytest.skip(f"other programs took the cores: {measured.foreign}")
    cdni, locked = (predicted.simulation.predictions[name] for name in ("cdni", "locked"))
    ratios = {name: result.ratios for name, result in measured.results.items()}
    assert cdni.rate / locked.rate > 1.3
    assert ratios["cdni"]["locked"].median == pytest.approx(cdni.rate / locked.rate, rel=0.25)
    assert ratios["locked"]["backprop_1_thread"].median == pytest.approx(locked.speedup, rel=0.3)
