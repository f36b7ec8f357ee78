"""Two views drawn from each other: metrics of both ways, and nets that would give a view back as it is."""

import pytest
import torch
from torch import nn

from unlocked.errors import ConfigError
from unlocked.loop.train import train
from unlocked.plan.plan import load_data
from unlocked.tasks.cross_reconstruction import CrossReconstruction
from unlocked_models import Chain

NET = ["task=cross_reconstruction", "model={name: two_way, hidden: [6], code: 4, inner: []}", "scheme.name=backprop"]


@pytest.mark.parametrize("first", [0, 1, 3])
def test_the_error_of_each_view_is_its_own(first):
    generator = torch.Generator().manual_seed(0)
    x, drawn = (torch.randn(5, 2, 4, generator=generator).double() for _ in range(2))
    task, cut = CrossReconstruction(first), first or 2
    found = task.metrics(task.keep(drawn, x), x)
    error = (drawn - x).square()
    assert found["first_mse"] == pytest.approx(float(error[..., :cut].mean()), rel=1e-12)
    assert found["second_mse"] == pytest.approx(float(error[..., cut:].mean()), rel=1e-12)
    assert found["mse"] == pytest.approx(float(error.mean()), rel=1e-12)
    assert found["loss"] == pytest.approx(float(task.loss(drawn, x)), rel=1e-12)


def test_the_class_of_a_drawn_view_is_that_of_a_classifier_of_real_ones(small):
    class Swapped(nn.Module):  # gives each view as it is, and those of two classes in each other's place
        def forward(self, x):
            return x if self.wanted is None else x[self.wanted]

    data = load_data(small(*NET))
    net = Swapped()
    net.wanted, net.scale = None, nn.Parameter(torch.ones(1))
    task, found = CrossReconstruction(), []
    for wanted in (None, torch.randperm(len(data.test), generator=torch.Generator().manual_seed(0))):
        net.wanted = wanted
        found.append(task.final_metrics(Chain([net]), data, "test"))
    assert all(value > 0.75 for value in found[0].values())
    assert all(value < 0.25 for value in found[1].values())
    assert set(found[0]) == {"first_class", "second_class"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["model={name: autoencoder}"],
            r"^model.name: autoencoder does not draw views from each other: .*; two_way does$",
        ),
        (["model.first=3"], r"^model.name: two_way cuts its input at 3 of 8 features, so set objective.first=3$"),
        (["objective.first=3"], r"^model.name: two_way cuts its input at 4 of 8 features, so set objective.first=4$"),
        (["objective.first=-1"], r"^objective.first: must be at least 0, got -1$"),
    ],
)
def test_nets_that_would_see_the_view_that_they_draw_are_refused(small, options, said):
    with pytest.raises(ConfigError, match=said):
        train(small(*NET, *options))
