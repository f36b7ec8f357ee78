"""Noise, rotation, mixup and standardised targets, each against its equation."""

import math

import numpy as np
import pytest
import torch

from unlocked import RawData, load_config, register_data, train
from unlocked.data import DATA
from unlocked.data.transforms.disturbed import Mixup, Noise, Rotate, turned
from unlocked.errors import DataError
from unlocked.tasks import load
from unlocked.testing.transforms import TransformContract
from unlocked_models import Batch, Example


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def test_noise_has_its_deviation():
    x = torch.zeros(200, 50, dtype=torch.float64)
    seen = Noise(0.3)(Batch(x, torch.zeros(200)), drawn()).x
    assert (seen.mean().item(), seen.std().item()) == pytest.approx((0, 0.3), abs=0.01)


@pytest.mark.parametrize(("degrees", "quarters"), [(90, 1), (180, 2), (-90, 3)])
def test_a_quarter_turn_moves_pixels_exactly(degrees, quarters):
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(turned(x, torch.full((2,), degrees, dtype=torch.float64)), x.rot90(quarters, (2, 3)))


def test_images_turn_by_up_to_the_angle():
    x = torch.zeros(1, 1, 41, 41, dtype=torch.float64).expand(300, -1, -1, -1).clone()
    x[:, 0, 20, 30:33] = 1  # to the right of the centre
    out = Rotate(30.0)(Batch(x, torch.zeros(300)), drawn()).x[:, 0]
    at = torch.arange(41, dtype=torch.float64) - 20
    mass = out.sum((1, 2))
    angles = torch.atan2(-(out.sum(2) @ at) / mass, (out.sum(1) @ at) / mass) * 180 / math.pi
    assert angles.abs().max() <= 31
    assert angles.std().item() == pytest.approx(60 / math.sqrt(12), rel=0.1)  # uniform


def test_mixup_is_equation_1_of_the_paper():
    mix = Mixup(0.4)
    assert mix.refuse(Example((6,), 3)) is None
    x, y = torch.randn(8, 6, dtype=torch.float64), torch.arange(8) % 3
    out = mix(Batch(x, y), drawn(3))
    generator = drawn(3)
    share = np.random.default_rng(int(torch.randint(2**31, (), generator=generator))).beta(0.4, 0.4)
    other = torch.randperm(8, generator=generator)
    torch.testing.assert_close(out.x, share * x + (1 - share) * x[other])
    for i in range(8):
        expected = torch.zeros(3, dtype=torch.float64)
        expected[y[i]] += share
        expected[y[other[i]]] += 1 - share
        torch.testing.assert_close(out.y[i], expected)
    shares = [np.random.default_rng(i).beta(0.4, 0.4) for i in range(2000)]
    assert np.var(shares) == pytest.approx(1 / (4 * (2 * 0.4 + 1)), rel=0.05)


class TestNoiseContract(TransformContract):
    transform = "noise"


class TestMixupContract(TransformContract):
    transform = "mixup"


@pytest.mark.parametrize("scheme", ["cdni", "dfa", "local"])
def test_schemes_learn_mixed_classes(tmp_path, scheme):
    overrides = ["data.transforms=[mixup, {name: rotate, angle: 5}]", f"scheme.name={scheme}", "train.epochs=4"]
    overrides += [f"tracking.runs={tmp_path}", "tracking.uri=off", "tracking.figures=false"]
    parallel = "parallel={modules: 2, partition: null, engine: inprocess}"
    model = "model={name: cnn, channels: [8], hidden: [32]}"
    found = train(load_config("quickstart", [*overrides, parallel, model, "optimizer.lr=0.01"]))
    assert found["metrics"]["test/accuracy"] > 0.5


@pytest.fixture
def heights(monkeypatch):
    for kept in ("_entries", "_facts"):
        monkeypatch.setattr(DATA, kept, dict(getattr(DATA, kept)))
    x = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)

    @register_data("toolbox_heights", task="regression")
    def heights(source):
        return RawData(x, 1000 + 50 * x[:, :2])


def test_standardised_targets_are_reported_in_their_own_units(heights, tmp_path):
    data = load("toolbox_heights", transforms=["standardise"], validation=0.2)
    (transform,) = data.transforms
    y = data.train.y.double()
    torch.testing.assert_close(transform.mean, y.mean(0))
    torch.testing.assert_close(transform.deviation, y.std(0, correction=0))
    raw = load("toolbox_heights", validation=0.2)
    torch.testing.assert_close(transform.undone(data.test.y), raw.test.y, rtol=1e-5, atol=1e-3)
    config = load_config(
        "quickstart",
        [
            "data={name: toolbox_heights, transforms: [standardise], batch_size: 8}",
            "model={name: mlp, hidden: []}",
            "task=null",
            "metrics=[mse]",
            "scheme.name=backprop",
            "parallel={modules: 1, partition: null}",
            "optimizer={name: adam, lr: 0.03, schedule: constant}",
            f"tracking={{runs: {tmp_path}, uri: off, figures: false}}",
        ],
    )
    found = train(config)["metrics"]
    assert found["test/loss"] < 0.05  # of targets of deviation 1
    assert found["test/rmse"] == pytest.approx(50 * found["test/loss"] ** 0.5, rel=0.2)
    assert found["test/mse"] == pytest.approx(found["test/rmse"] ** 2, rel=1e-6)


def test_what_cannot_be_mixed_or_standardised_is_refused():
    with pytest.raises(DataError, match=r"^data.transforms: standardise needs targets that are real values$"):
        load("digits", transforms=["standardise"])
    with pytest.raises(DataError, match=r"^data.transforms\[0\]: mixup: alpha must be greater than 0"):
        load("digits", transforms=[{"name": "mixup", "alpha": 0.0}])
