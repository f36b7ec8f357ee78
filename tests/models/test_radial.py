"""Radial basis functions against their equations, and centres that are found in the training data."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from unlocked.errors import ConfigError
from unlocked.loop.found import found_in
from unlocked.loop.train import train
from unlocked_models import build
from unlocked_models.radial import RadialBasis

PHI = {
    "gaussian": lambda a: torch.exp(-(a**2)),
    "multiquadric": lambda a: torch.sqrt(1 + a**2),
    "ricker": lambda a: (1 - a**2) * torch.exp(-(a**2) / 2),
}


@pytest.mark.parametrize("basis", PHI)
def test_units_follow_their_equation_and_have_its_slope(basis):
    torch.manual_seed(0)
    layer, x = RadialBasis(6, 4, basis, "normal").double(), torch.randn(5, 2, 3).double()
    with torch.no_grad():
        layer.log_width.add_(torch.randn(4))
    a = (x.flatten(1)[:, None] - layer.centres).norm(dim=2) / layer.log_width.exp()
    torch.testing.assert_close(layer(x), PHI[basis](a), rtol=0, atol=1e-12)
    x[0] = layer.centres[0].detach().view(2, 3)  # at a centre the slope of |x - c| is none, that of phi is 0
    x.requires_grad_()
    assert torch.autograd.gradcheck(layer, (x[1:].detach().requires_grad_(),))
    layer(x).sum().backward()
    assert x.grad.isfinite().all()


def test_centres_of_clusters_are_found_and_widths_reach_their_neighbours():
    torch.manual_seed(0)
    means = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    x = (means[:, None] + 0.01 * torch.randn(3, 50, 2)).flatten(0, 1)
    layer = RadialBasis(2, 3, "gaussian", "kmeans")
    layer.begin_from(x, 0)
    found = layer.centres.detach()
    order = [int((found - mean).norm(dim=1).argmin()) for mean in means]
    torch.testing.assert_close(found[order], means, rtol=0, atol=0.01)
    expected = torch.tensor([(9 + 16) / 2, (9 + 25) / 2, (16 + 25) / 2]).sqrt()
    torch.testing.assert_close(layer.log_width.detach().exp()[order], expected, rtol=0.01, atol=0)


def test_centres_may_be_examples():
    x = torch.randn(20, 3)
    layer = RadialBasis(3, 5, "gaussian", "examples")
    layer.begin_from(x, 1)
    assert all(any(torch.equal(c, row) for row in x) for c in layer.centres.detach())


def test_a_block_is_given_the_examples_as_they_reach_it(lab, monkeypatch):
    from unlocked.loop import found

    data = lab.data()
    below, above = nn.Sequential(nn.Flatten(), nn.Linear(64, 6)), RadialBasis(6, 4, "gaussian", "examples")
    monkeypatch.setattr(found, "build_blocks", lambda *given: [below, above])
    plan = replace(lab.plan(data, model={"name": "rbf", "units": 4}), finding=[1])
    weights = found_in(plan, data)
    reached = below(data.train.x).detach()
    assert all(((reached - c).abs().amax(1) < 1e-6).any() for c in weights["1.centres"])


def test_a_run_begins_with_centres_by_k_means_and_goes_on_with_them(small):
    config = small("model={name: rbf, units: 20}", "parallel.modules=1", "scheme.name=backprop", "train.epochs=1")
    summary = train(config)
    begun = load_file(f"{summary['run_dir']}/initial.safetensors")
    layer = build("rbf", (1, 8, 8), 10, units=20)[0]
    assert begun["0.centres"].shape == layer.centres.shape
    assert (begun["0.centres"] > -1e-6).all()  # pixels, where drawn ones are of both signs


def test_more_centres_than_examples_are_refused(lab):
    data = lab.data()
    with pytest.raises(ConfigError, match=r"^model.units: 5000 centres are more than the \d+ training examples"):
        found_in(lab.plan(data, model={"name": "rbf", "units": 5000}), data)
