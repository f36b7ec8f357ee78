"""Backpropagation over K modules is plain autograd: every model of the zoo, in float64."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from unlocked.seeding import derive_seed, step_seed
from unlocked_models import MODELS, register_model

ZOO: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {  # the smallest images each allows, few maps
    "mlp": ((1, 8, 8), {"hidden": [16, 14, 12], "norm": "batch"}),
    "rbf": ((1, 8, 8), {"units": 12}),
    "lenet5": ((1, 28, 28), {}),
    "cnn": ((1, 8, 8), {"channels": [4, 6], "hidden": [8]}),
    "alexnet_small": ((1, 8, 8), {"width": 0.05, "hidden": [12, 10]}),
    "vgg_small": ((1, 8, 8), {"width": 0.05}),
    "inception_small": ((1, 8, 8), {"width": 0.05}),
    "resnet_small": ((1, 8, 8), {"width": 0.05}),
    "alexnet": ((1, 63, 63), {"width": 0.02}),
    "vgg": ((1, 32, 32), {"width": 0.02, "depth": 11}),
    "inception": ((1, 79, 79), {"width": 0.02}),
    "resnet": ((1, 32, 32), {"width": 0.02}),
    "rnn": ((6, 3), {"hidden": [5, 4, 3]}),
    "seq2seq": ((5,), {"encoder": 2, "decoder": 2, "width": 6, "embedding": 4}),
    "transformer_seq2seq": ((5,), {"encoder": 1, "decoder": 1, "width": 6, "heads": 2, "inner": 8}),
    "stacked": ((1, 8, 8), {"hidden": [7, 6, 5, 5]}),
    "jordan": ((6, 3), {"width": 4, "hidden": 5}),
    "ntm": ((6, 3), {"hidden": 5, "rows": 4, "columns": 3}),
    "hopfield": ((1, 8, 8), {"width": 8, "heads": 2, "patterns": 5}),
    "moe": ((1, 8, 8), {"width": 8, "experts": 3, "inner": 4, "noise": False}),
    "lstm": ((6, 3), {"hidden": [5, 4, 3], "bidirectional": True}),
    "gru": ((6, 3), {"hidden": [5, 4, 3], "pool": "mean"}),
    "transformer": ((5,), {"width": 8, "heads": 2, "positions": "rotary"}),
    "vit": ((1, 8, 8), {"width": 8, "heads": 2, "depth": 2}),
    "gpt": ((5,), {"width": 8, "heads": 2}),
    "bert": ((5,), {"width": 8, "heads": 2}),
    "autoencoder": ((1, 8, 8), {"hidden": [12, 10], "code": 6, "contractive": 0.1, "sparsity": "l1"}),
    "conv_autoencoder": ((1, 8, 8), {"channels": [3, 4], "code": 6}),
    "recurrent_autoencoder": ((6, 3), {"hidden": [5, 4], "code": 3}),
    "vae": ((1, 8, 8), {"hidden": [12, 10], "code": 3, "warmup": 5}),
    "cvae": ((1, 8, 8), {"hidden": [12, 10], "code": 3}),
    "sparse_coding": ((1, 8, 8), {"atoms": 12, "iterations": 5}),
    "two_way": ((1, 8, 8), {"hidden": [10], "code": 4, "inner": [6]}),
}


@pytest.fixture
def no_dropout(monkeypatch):
    """Its masks, and the noise of a variational code, are drawn per module: K modules draw others than one network."""
    monkeypatch.setattr(nn.Dropout, "forward", lambda self, h: h)
    monkeypatch.setattr(torch, "randn_like", torch.ones_like)


def test_these_tests_cover_the_whole_zoo():
    ours = {name: MODELS.facts(name) for name in MODELS if MODELS.get(name).__module__.startswith("unlocked_models.")}
    # tests/engine/test_graph_models.py, tests/tasks/test_negative_sampling.py, tests/tasks/test_contrastive.py
    elsewhere = ("graph", "embedding", "selfsupervised", "recursive")
    no_error = ("boltzmann", "evolved", "associative")
    assert set(ZOO) == {
        name for name, of in ours.items() if not of["nets"] and of["family"] not in (*no_error, *elsewhere)
    }


@pytest.mark.usefixtures("no_dropout")
@pytest.mark.parametrize("modules", [1, 2, 4])
@pytest.mark.parametrize("name", ZOO)
def test_backprop_through_k_modules_equals_plain_autograd_step_for_step(lab, name, modules):
    shape, options = ZOO[name]
    made = {
        "transformer": lab.sentences,
        "bert": lab.sentences,
        "gpt": partial(lab.stream, 5),
        "seq2seq": lab.pairs,
        "transformer_seq2seq": lab.pairs,
    }
    data = made.get(name, partial(lab.data, shape))(n=18)
    reconstructs = MODELS.facts(name)["family"] == "autoencoder" or name == "two_way"
    if name in ("sparse_coding", "rbf", "jordan", "ntm"):  # of two blocks
        modules = min(modules, 2)
    group = lab.start(
        data,
        model={"name": name, **options},
        parallel={"modules": modules},
        data={"batch_size": 6},
        optimizer={"lr": 0.002 if reconstructs else 0.02},
        task={"two_way": "cross_reconstruction"}.get(name, "reconstruction") if reconstructs else None,
    )
    plan = group.modules[0].plan
    assert plan.workers_per_replica == modules
    for steps in (1, 3):  # the first is the gradient itself, in the weights it moved
        start = 0 if steps == 1 else 1
        losses = lab.train(group, start, steps)
        expected, network = lab.plain(plan, data, steps)
        # 1e-10: rounding of float64, grown by three steps through up to 18 layers
        assert losses == pytest.approx(expected[start:], abs=1e-10)
        lab.assert_close(lab.weights(group), dict(network.state_dict()), 1e-10)


@pytest.mark.parametrize("modules", [1, 3])
def test_backprop_equals_the_plain_loop_under_adam_too(lab, modules):
    data = lab.data()
    group = lab.start(
        data,
        model={"name": "mlp", "hidden": [16, 12], "activation": "tanh"},
        parallel={"modules": modules},
        optimizer={"name": "adam", "lr": 0.01, "momentum": None},
    )
    losses = lab.train(group, 0, 12)
    expected, network = lab.plain(group.modules[0].plan, data, 12)
    assert losses == pytest.approx(expected, abs=1e-10)
    lab.assert_close(lab.weights(group), dict(network.state_dict()), 1e-10)


def test_the_auxiliary_losses_are_part_of_what_is_compared(lab, no_dropout):
    shape, options = ZOO["inception_small"]
    data = lab.data(shape, n=18)
    with_, without = (
        lab.start(data, model={"name": "inception_small", **options, "aux_weight": weight}, parallel={"modules": 2})
        for weight in (0.3, 0.0)
    )
    lab.train(with_, 0, 1)
    lab.train(without, 0, 1)
    # the classifier sits in block 7: everything up to it feels its loss, nothing above does
    moved = {int(key.partition(".")[0]) for key in lab.differ(lab.parameters(with_), lab.parameters(without))}
    assert moved == set(range(8))


def test_one_module_with_dropout_equals_the_plain_loop_on_the_same_draws(lab):
    data = lab.data()
    group = lab.start(data, model={"name": "mlp", "hidden": [16, 12], "dropout": 0.4})
    plan = group.modules[0].plan
    network, batches = lab.network(plan), lab.batches(plan, data)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    expected = []
    for t in range(5):
        torch.manual_seed(step_seed(derive_seed(plan.config.seed, "module", 0), t))
        loss, _ = lab.losses(network, batches.x(t).double(), batches.y(t))
        expected.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert lab.train(group, 0, 5) == pytest.approx(expected, abs=1e-10)


def test_layers_that_work_in_place_can_be_cut_anywhere(lab, monkeypatch):
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))

    @register_model("in_place")
    def in_place(in_shape, n_outputs, inplace: bool = True):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Tanh(), nn.ReLU(inplace), nn.Linear(12, n_outputs))

    results = []
    for inplace, sizes in ((False, [5]), (True, [3, 2])):
        group = lab.start(
            model={"name": "in_place", "inplace": inplace}, parallel={"modules": len(sizes), "partition": sizes}
        )
        lab.train(group, 0, 4)
        results.append(lab.weights(group))
    lab.assert_close(*results, 1e-12)


@pytest.mark.parametrize("scheme", ["dni", "cdni", "frozen"])
def test_one_module_alone_is_backprop_under_every_scheme_that_injects_only_at_cuts(lab, scheme):
    model = {"name": "mlp", "hidden": [16, 12], "norm": "batch", "dropout": 0.2}
    runs = []
    for name in ("backprop", scheme):
        group = lab.start(model=model, scheme={"name": name})
        runs.append((lab.train(group, 0, 8), lab.weights(group)))
    assert runs[0][0] == runs[1][0]
    lab.assert_equal(runs[0][1], runs[1][1])


def test_one_module_alone_under_dfa_is_still_dfa(lab):
    groups = [
        lab.start(model={"name": "mlp", "hidden": [16, 12]}, scheme={"name": name}) for name in ("backprop", "dfa")
    ]
    for group in groups:
        lab.train(group, 0, 1)
    backprop, dfa = (lab.weights(group) for group in groups)
    assert {key.partition(".")[0] for key in lab.differ(backprop, dfa)} == {"0", "1"}
    lab.assert_close(
        {k: v for k, v in backprop.items() if k.startswith("2.")},
        {k: v for k, v in dfa.items() if k.startswith("2.")},
        1e-14,
    )


def test_frozen_moves_the_last_module_alone(lab):
    group = lab.start(
        model={"name": "mlp", "hidden": [16, 14, 12]},
        scheme={"name": "frozen"},
        parallel={"modules": 2, "partition": [2, 2]},
    )
    before = lab.weights(group)
    lab.train(group, 0, 6)
    moved = lab.differ(before, lab.weights(group))
    assert {key.partition(".")[0] for key in moved} == {"2", "3"}
