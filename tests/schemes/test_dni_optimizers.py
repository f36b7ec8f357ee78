"""The configured optimiser under dni: rates of M and I, weight decay, clipping; and what is drawn per module."""

import pytest
import torch

MLP = {"name": "mlp", "hidden": [16, 14, 12], "norm": "none"}


def settings(modules=2, partition=None, dropout=0.0, scheme=None, **optimizer):
    return {
        "model": {**MLP, "dropout": dropout},
        "parallel": {"modules": modules, "partition": partition},
        "scheme": {"name": "cdni", "lag": 0, "sg": {"hidden": [10], "lr": 0.02}, **(scheme or {})},
        "optimizer": {"name": "adam", "lr": 0.01, "momentum": None, **optimizer},
    }


def test_schedules_and_warm_up_scale_the_rates_of_m_and_of_i_too(lab):
    group = lab.start(
        **settings(3, scheme={"synthetic_inputs": True, "inputs": {"lr": 0.03}}, schedule="linear", warmup=4)
    )
    learner = group.modules[1].learner
    rates = []
    for t in (0, 3, 4, 14):
        group.modules[1]._set_lr(t)
        rates.append(
            [o.param_groups[0]["lr"] for o in (learner.optimizer, learner.sg_optimizer, learner.inputs_optimizer)]
        )
    for t, found in zip((1 / 5, 4 / 5, 1, 1 - 10 / 20), rates, strict=True):
        assert found == pytest.approx([0.01 * t, 0.02 * t, 0.03 * t])


@pytest.mark.parametrize(
    ("optimizer", "moves"),
    [
        ({}, False),
        ({"weight_decay": 0.1}, True),
        ({"name": "adamw"}, True),
        ({"name": "adamw", "weight_decay": 0.0}, False),
        ({"name": "sgd", "momentum": 0.9, "weight_decay": 0.1}, True),
    ],
)
def test_the_first_update_below_the_last_module_is_zero_but_for_weight_decay(lab, optimizer, moves):
    group = lab.start(**settings(**optimizer))
    before = lab.parameters(group)
    lab.train(group, 0, 1)
    below = {
        name
        for name in lab.differ(before, lab.parameters(group))
        if int(name.partition(".")[0]) < group.modules[1].learner.spec.start
    }
    assert bool(below) is moves


def test_clipping_is_of_each_module_by_its_own_norm(lab):
    """The same gradients, cut elsewhere, are clipped otherwise: no norm of the whole network is known to anybody."""
    clipped = []
    for modules in (1, 2):
        group = lab.start(
            **settings(
                modules, scheme={"name": "backprop", "lag": "auto"}, name="sgd", lr=1.0, momentum=0.0, clip_norm=0.01
            )
        )
        before = lab.parameters(group)
        lab.train(group, 0, 1)
        after = lab.parameters(group)
        moved = torch.cat([(after[name] - before[name]).flatten() for name in before]).norm().item()
        clipped.append(moved)
    assert clipped == pytest.approx([0.01, 0.01 * 2**0.5], rel=1e-3)


def test_dropout_masks_are_drawn_per_module_so_another_cut_draws_others(lab):
    """Without dropout backprop is the same network in whichever cut."""

    def losses(cut, dropout):
        modules = len(cut)
        return lab.train(lab.start(**settings(modules, cut, dropout, scheme={"name": "backprop", "lag": "auto"})), 0, 4)

    assert losses([1, 3], 0.0) == pytest.approx(losses([2, 2], 0.0), abs=1e-12)
    assert losses([1, 3], 0.3)[0] != pytest.approx(losses([2, 2], 0.3)[0], abs=1e-3)
