"""The complete unlock: modules run on I_k(x) and learn it from the activations that arrive later."""

import io

import pytest
import torch

from unlocked.errors import ConfigError
from unlocked.plan.describe import describe
from unlocked.schemes.inputs import InputModelConfig, SyntheticInput

MODEL = {"name": "mlp", "hidden": [16, 14, 12], "norm": "batch", "dropout": 0.2}


def settings(scheme="cdni", lag=0, modules=2, **more):
    return {
        "model": MODEL,
        "parallel": {"modules": modules},
        "optimizer": {"name": "adam", "lr": 0.01, "momentum": None},
        "scheme": {
            "name": scheme,
            "lag": lag,
            "sg": {"hidden": [10]},
            "synthetic_inputs": True,
            "inputs": {"hidden": [9]},
        },
        **more,
    }


def test_a_module_runs_on_the_guess_and_not_on_what_the_module_below_sends(lab):
    group = lab.start(**settings())
    above, seen = group.modules[1].learner, []
    run_chain = above.run_chain
    above.run_chain = lambda h, batch, after=None: (seen.append(h.detach().clone()), run_chain(h, batch, after))[1]
    x = group.modules[0].batches.x(0).double()
    with torch.no_grad():
        guess = above.inputs(x)
    lab.train(group, 0, 1)
    torch.testing.assert_close(seen[0], guess, rtol=0, atol=0)


def test_the_input_model_learns_by_the_squared_distance_to_the_activations_that_arrive(lab):
    group = lab.start(**settings())
    learner = group.modules[1].learner
    x, h = torch.randn(8, 1, 8, 8, dtype=torch.float64), torch.randn(8, 16, dtype=torch.float64)
    expected = torch.autograd.grad((learner.inputs(x) - h).square().sum(1).mean(), list(learner.inputs.parameters()))
    found = []
    learner.inputs_optimizer.step = lambda: found.extend(p.grad.clone() for p in learner.inputs.parameters())
    learner.absorb_input(0, h, x)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_the_guess_never_depends_on_the_label(lab):
    group = lab.start(**settings())
    learner, x = group.modules[1].learner, torch.randn(4, 1, 8, 8, dtype=torch.float64)
    assert learner.inputs(x).shape == (4, 16)
    assert sum(p.shape[1] for p in learner.inputs.parameters() if p.dim() == 2) == 64 + 9  # pixels and hidden: no label


@pytest.mark.parametrize("lag", [0, 1, 4])
def test_activations_are_learned_from_lag_minibatches_late(lab, lag):
    group = lab.start(**settings(lag=lag, modules=3))
    absorbed = {}
    sent = {}
    batches = group.modules[0].batches
    for k, module in enumerate(group.modules[1:], 1):

        def up(h, below=group.modules[k - 1], k=k, send=group.modules[k - 1].up):
            sent[k, below._t] = h.clone()
            send(h)

        def note(t, h, x, module=module, k=k, absorb=module.learner.absorb_input):
            absorbed.setdefault(k, []).append((module._t, t))
            assert torch.equal(x, batches.x(t).double())  # of minibatch t, not of the one that runs now
            assert torch.equal(h, sent[k, t])
            absorb(t, h, x)

        group.modules[k - 1].up, module.learner.absorb_input = up, note
    lab.train(group, 0, 8)
    assert absorbed == {k: [(t, t - lag) for t in range(lag, 8)] for k in (1, 2)}


@pytest.mark.parametrize(("scheme", "lag", "modules"), [("cdni", 0, 2), ("dni", 3, 3)])
def test_a_resumed_run_equals_the_unbroken_one_bit_for_bit(lab, scheme, lag, modules):
    unbroken, broken, resumed = (lab.start(**settings(scheme, lag, modules)) for _ in range(3))
    expected = lab.train(unbroken, 0, 16)
    before = lab.train(broken, 0, 7, checkpoint_at=7)
    file = io.BytesIO()
    torch.save(broken.states(7), file)
    file.seek(0)
    resumed.load_states(torch.load(file, weights_only=True))
    assert before + lab.train(resumed, 7, 16) == expected
    lab.assert_equal(lab.weights(resumed), lab.weights(unbroken))


def test_a_guess_of_a_feature_map_has_its_resolution():
    model = SyntheticInput(InputModelConfig(hidden=[6]), (3, 16, 16), (8, 4, 4))
    assert model(torch.randn(2, 3, 16, 16)).shape == (2, 8, 4, 4)


def test_a_guess_of_a_sequence_looks_at_each_position_alone():
    guess = SyntheticInput(InputModelConfig(hidden=[]), (6, 3), (6, 4))
    x = torch.randn(2, 6, 3)
    moved = x.clone()
    moved[:, 2] += 1
    changed = (guess(x) != guess(moved)).any(-1)
    assert guess(x).shape == (2, 6, 4)
    assert changed[:, 2].all()
    assert changed.sum() == 2


def test_schemes_without_synthetic_gradients_refuse_synthetic_inputs(lab):
    with pytest.raises(ConfigError, match=r"scheme\.synthetic_inputs: true needs cdni or dni, not dfa"):
        lab.start(**settings("dfa"))


def test_a_dry_run_counts_what_every_module_really_trains(lab):
    group = lab.start(**settings(modules=3))
    rows = describe(group.modules[0].plan)
    for row, module in zip(rows, group.modules, strict=True):
        learner = module.learner
        held = [
            sum(p.numel() for p in model.parameters()) if model is not None else 0
            for model in (learner.chain, learner.sg, learner.inputs)
        ]
        assert [row["parameters"], *(row["beside"].get(name, 0) for name in ("sg", "inputs"))] == held
        kept = 8 * learner.spec.out_shape[0] * (module.plan.lag + 1)
        assert row["memory_bytes"] == 8 * (4 * sum(held) + kept)  # float64; all by Adam: weight, gradient, two moments
    assert ["inputs" in row["beside"] for row in rows] == [False, True, True]
