"""Autoencoders under the schemes: what a cut may not part, what needs no message, and feedback to maps."""

import pytest
import torch
from torch.nn import functional as F

from unlocked.errors import ConfigError
from unlocked.schemes.layout import Layout
from unlocked_models.autoencoder.plain import Corruption


def start(lab, model, shape=(1, 8, 8), **tree):
    tree = {"parallel": {"modules": 2}, "optimizer": {"lr": 0.005}, **tree}
    return lab.start(lab.data(shape), model=model, task="reconstruction", **tree)


@pytest.mark.parametrize("modules", [1, 2])
def test_tied_weights_stay_tied_in_one_module_and_no_cut_parts_them(lab, modules):
    model = {"name": "autoencoder", "hidden": [12], "code": 4, "tied": True}
    if modules == 2:
        with pytest.raises(ConfigError, match=r"modules 0 and 1 share the weight \d\.\d\.weight.* model\.tied=false"):
            start(lab, model)
        return
    group = start(lab, model, parallel={"modules": 1})
    lab.train(group, 0, 5)
    weights = lab.weights(group)
    assert torch.equal(weights["3.0.weight"], weights["0.1.weight"])
    assert torch.equal(weights["2.0.weight"], weights["1.0.weight"])


@pytest.mark.parametrize("scheme", ["backprop", "dni", "cdni", "dfa"])
def test_both_copies_of_a_dictionary_stay_one_without_a_message(lab, scheme):
    group = start(lab, {"name": "sparse_coding", "atoms": 20, "iterations": 10}, scheme={"name": scheme, "lag": 0})
    before = lab.weights(group)
    lab.train(group, 0, 12)
    after = lab.weights(group)
    assert not torch.equal(after["0.dictionary.weight"], before["0.dictionary.weight"])
    # rounding of float64: the two errors are the same sum in another order
    torch.testing.assert_close(after["0.dictionary.weight"], after["1.0.weight"], rtol=0, atol=1e-12)


def test_a_late_copy_of_a_dictionary_follows_nearby(lab):
    group = start(lab, {"name": "sparse_coding", "atoms": 20, "iterations": 10}, scheme={"name": "dfa", "lag": 2})
    begun = lab.weights(group)["0.dictionary.weight"]
    lab.train(group, 0, 30)
    after = lab.weights(group)
    apart = (after["0.dictionary.weight"] - after["1.0.weight"]).norm()
    assert 0 < apart < 0.3 * (after["1.0.weight"] - begun).norm()


@pytest.mark.parametrize("scheme", ["backprop", "cdni", "dfa"])
def test_noise_reaches_training_and_not_evaluation(lab, monkeypatch, scheme):
    seen = []
    forward = Corruption.forward
    monkeypatch.setattr(Corruption, "forward", lambda self, x: seen.append(self.training) or forward(self, x))
    group = start(lab, {"name": "autoencoder", "hidden": [12], "code": 4, "noise": "masking"}, scheme={"name": scheme})
    seen.clear()
    lab.train(group, 0, 2)
    assert seen == [True, True]
    first, second = group.outputs("test"), group.outputs("test")
    assert not any(seen[2:])
    assert torch.equal(first, second)


@pytest.mark.parametrize("scheme", ["backprop", "cdni", "dfa"])
def test_the_warm_up_of_the_kl_term_is_counted_once_a_step_through_a_checkpoint(lab, scheme):
    tree = {"scheme": {"name": scheme}, "train": {"epochs": 4}}
    model = {"name": "vae", "hidden": [12], "code": 3, "warmup": 20}
    whole, first, second = (start(lab, model, **tree) for _ in range(3))
    lab.train(whole, 0, 9)
    lab.train(first, 0, 5, checkpoint_at=5)
    first.probe()
    second.load_states(first.states(5))
    lab.train(second, 5, 9)
    assert int(lab.weights(second)["1.steps"]) == 9
    lab.assert_equal(lab.weights(second), lab.weights(whole))


def test_own_losses_are_recorded_step_by_step_and_not_when_a_checkpoint_repeats_a_pass(lab):
    group = start(lab, {"name": "vae", "hidden": [12], "code": 3}, scheme={"name": "dfa", "lag": 2})
    (stats,) = group.run([(0, 5)], 5)
    assert [len(s.series.get("local/loss", [])) for s in stats] == [5, 0]
    other = start(lab, {"name": "vae", "hidden": [12], "code": 3}, scheme={"name": "dfa", "lag": 2})
    other.load_states(group.states(5))
    (stats,) = other.run([(5, 8)], 8)
    assert len(stats[0].series["local/loss"]) == 3


@pytest.mark.parametrize("penalty", [{"sparsity": "l1"}, {"contractive": 0.1}])
def test_a_penalty_of_a_layer_that_ends_in_a_feedback_point_still_reaches_its_weights(lab, penalty):
    """At layer granularity the graph is cut behind the nonlinearity, which is the block's end."""
    model = {"name": "autoencoder", "hidden": [12], "code": 4, "activation": "sigmoid", "code_activation": "sigmoid"}
    weights = []
    for granularity in ("block", "layer"):
        group = start(lab, model | penalty, scheme={"name": "dfa", "feedback": {"granularity": granularity}, "lag": 0})
        lab.train(group, 0, 3)
        weights.append(lab.weights(group))
    encoders = [{key: value for key, value in each.items() if key[0] in "01"} for each in weights]
    lab.assert_close(*encoders, 1e-12)


# feedback to maps -------------------------------------------------------------------------------------------


def test_a_pixel_of_a_hidden_map_is_given_the_errors_that_it_covers():
    e = torch.arange(2 * 3 * 4 * 6, dtype=torch.float64).view(2, 3, 4, 6)
    found = Layout((5, 2, 3), (3, 4, 6)).at_pixels(e)
    assert found.shape == (2, 6, 3 * 2 * 2)
    for row in range(2):
        for column in range(3):
            patch = e[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            assert torch.equal(found[:, 3 * row + column], patch.flatten(1))


def test_maps_that_do_not_divide_the_output_get_zeros_beyond_its_edge_and_finer_ones_its_pixels():
    e = torch.ones(1, 1, 5, 4)
    assert Layout((3, 2, 2), (1, 5, 4)).at_pixels(e).sum(2).tolist() == [
        [6.0, 6.0, 4.0, 4.0]
    ]  # 3x2 patches, the last row cut
    fine = torch.rand(1, 2, 2, 2)
    found = Layout((3, 4, 4), (2, 2, 2)).at_pixels(fine)
    assert torch.equal(found.transpose(1, 2).view(1, 2, 4, 4), F.interpolate(fine, (4, 4)))


def test_the_feedback_to_a_map_is_the_same_matrix_at_every_pixel(lab):
    group = start(
        lab,
        {"name": "conv_autoencoder", "channels": [3, 4], "code": 5},
        scheme={"name": "dfa", "lag": 0},
        parallel={"modules": 2, "partition": [3, 3]},
    )
    learner = group.modules[0].learner
    assert [tuple(B.shape) for B in learner.feedback] == [(4, 3), (16, 4), (64, 5)]  # outputs (1, 8, 8)
    e = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    e[0, 0, 5, 2] = 2.0  # pixel (2, 1) of the first map, the third of its patch
    points = [torch.zeros(1, *shape, dtype=torch.float64) for shape in ((3, 4, 4), (4, 2, 2), (5,))]
    first, second, code = learner.project(e, points)
    assert torch.equal(first[0, :, 2, 1], 2 * learner.feedback[0][2])
    assert int((first != 0).sum()) == 3
    assert int((second != 0).sum()) == 4
    assert torch.equal(code[0], 2 * learner.feedback[2][5 * 8 + 2])
