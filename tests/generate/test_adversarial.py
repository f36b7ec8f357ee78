"""A GAN from the command line to its pictures: metrics, figures, evaluation, resumption, generation."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from unlocked.config import load_config
from unlocked.data import DataSet, Split
from unlocked.drawing.latent_space import from_faint_to_bold, looks_at_class, of_classes
from unlocked.errors import ConfigError
from unlocked.generate import generate
from unlocked.loop.train import resume, train
from unlocked.runs.checkpoint import Checkpoints, load_weights
from unlocked.runs.evaluate import evaluate_run
from unlocked.tasks import judge
from unlocked.tasks.judge import FEATURES, Judge, frechet, judge_of, likeness, within

COMMON = [
    "tracking.uri=off",
    "parallel.threads=1",
    "train.epochs=2",
    "train.evaluate_every=1",
    "scheme.name=cdni",
    "model.generator=[16]",
    "model.discriminator=[16]",
    "parallel.modules=2",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judge, "STEPS", 20)
        folder = tmp_path_factory.mktemp("runs")
        return Path(train(load_config("adversarial/gan", [*COMMON, f"tracking.runs={folder}"]))["run_dir"])


@pytest.fixture(autouse=True)
def _short_judge(monkeypatch):
    monkeypatch.setattr(judge, "STEPS", 20)


def test_a_run_leaves_metrics_of_its_phases_and_a_picture(run):
    metrics = json.loads((run / "summary.json").read_text())["metrics"]
    assert {"test/frechet", "test/asked", "test/classes", "test/variance"} <= metrics.keys()
    losses = [metrics[f"train/loss/{phase}"] for phase in ("real", "fake", "generator")]
    assert metrics["train/loss"] == pytest.approx(sum(losses))
    assert {"sg/loss/fake/module_2", "sg/loss/real/module_2", "sg/loss/generator/module_0"} <= metrics.keys()
    for name in ("samples", "interpolation", "arithmetic", "over_time"):
        assert (run / "figures" / f"{name}.png").stat().st_size > 3000


def test_evaluation_repeats_what_the_run_measured(run):
    metrics = json.loads((run / "summary.json").read_text())["metrics"]
    found = evaluate_run(run)["metrics"]
    assert found == {name: pytest.approx(metrics[name], rel=1e-5) for name in found}


def test_weights_are_named_by_their_net(run):
    path = Checkpoints(run).last()
    assert path is not None
    assert {name.partition(".")[0] for name in load_weights(path)} == {"generator", "discriminator"}


def test_pictures_of_asked_classes(run, tmp_path):
    (path,) = generate(run, classes=["3", "7"], n=4, out=str(tmp_path))
    assert path == tmp_path / "samples.png"
    assert generate(run, classes=[3, 7], n=4, out=str(tmp_path)) == [path]  # as a command line reads them
    with pytest.raises(ConfigError, match=r"^classes: unknown class '99'"):
        generate(run, classes=[3, 99])
    with pytest.raises(ConfigError, match=r"^classes: unknown class 'x'"):
        generate(run, classes=["x"])
    with pytest.raises(ConfigError, match=r"^n: must be at least 1"):
        generate(run, n=0)


def test_pictures_of_the_latent_space(run, tmp_path):
    for what in ("interpolation", "arithmetic"):
        assert generate(run, what=what, classes=["7", "3"], out=str(tmp_path)) == [tmp_path / f"{what}.png"]
        assert generate(run, what=what, classes=["7"], out=str(tmp_path)) == [tmp_path / f"{what}.png"]
    with pytest.raises(ConfigError, match=r"^what: unknown figure 'arithmetics'; did you mean 'arithmetic'"):
        generate(run, what="arithmetics")


def test_the_direction_to_bold_images_is_found():
    """Of a generator whose images are as bold as the first number of their latent."""

    def make(z, classes):
        return z[:, :1, None, None].expand(-1, 1, 2, 2) + classes.view(-1, 1, 1, 1)

    found = from_faint_to_bold(make, (3,), 4, torch.Generator().manual_seed(0))
    assert found[0] > 2.5  # a normal variable's highest tenth is 1.75 from 0 in the mean
    assert found[1:].abs().max() < 0.5
    assert looks_at_class(make, (3,))
    assert not looks_at_class(lambda z, classes: z, (3,))
    assert of_classes(make, torch.tensor([3, 1]))(torch.zeros(2, 3), torch.tensor([0, 1]))[:, 0, 0, 0].tolist() == [
        3,
        1,
    ]


def test_a_run_that_was_stopped_ends_where_an_unbroken_one_does(run, tmp_path):
    class Stop:
        asked = False

        def __enter__(self): ...

        def __exit__(self, *_): ...

    from unlocked.errors import RunInterrupted
    from unlocked.loop.train import Silent

    stop = Stop()

    class AfterOneEpoch(Silent):
        def epoch(self, epoch, values):
            stop.asked = epoch == 1

    with pytest.raises(RunInterrupted):
        train(
            load_config("adversarial/gan", [*COMMON, f"tracking.runs={tmp_path}"]), reporter=AfterOneEpoch(), stop=stop
        )
    (broken,) = tmp_path.glob("gan-*")
    resume(broken)
    one, other = (load_weights(Checkpoints(each).last()) for each in (run, broken))
    assert all(torch.equal(x, other[name]) for name, x in one.items())


def test_the_frechet_distance_is_that_of_gaussians():
    torch.manual_seed(0)
    x = torch.randn(4000, 3, dtype=torch.float64)
    assert frechet(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet(x, x + 2.0) == pytest.approx(12, abs=1e-9)
    assert frechet(x, 3.0 * x) == pytest.approx(
        4 * float(torch.cov(x.t()).trace() + x.mean(0).square().sum()), rel=1e-9
    )


def test_the_frechet_distance_is_that_of_torchmetrics():
    torchmetrics = pytest.importorskip("torchmetrics.image.fid")
    torch.manual_seed(0)
    body = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, FEATURES), torch.nn.ReLU()).requires_grad_(
        False
    )
    body.num_features = FEATURES
    real, made = torch.rand(200, 3, 8, 8), torch.rand(150, 3, 8, 8) ** 2
    oracle = torchmetrics.FrechetInceptionDistance(body, normalize=True, input_img_size=(3, 8, 8))
    oracle.update(real, real=True)
    oracle.update(made, real=False)
    own = frechet(body(made).double(), body(real).double())
    assert own == pytest.approx(float(oracle.compute()), rel=1e-5)
    assert own > 0.01
    assert frechet(body(real).double(), body(real).double()) == pytest.approx(0, abs=1e-9)


def test_one_image_for_each_class_has_no_variance():
    torch.manual_seed(0)
    y = torch.arange(40) % 4
    x = torch.randn(40, 1, 8, 8)
    data = DataSet("made", "classification", (1, 8, 8), 4, list("abcd"), Split(x, y), None, Split(x, y))
    found = likeness(judge_of(data), x[y], x, y)
    assert found["variance"] == 0
    assert likeness(judge_of(data), x, x, y)["variance"] == 1
    assert within(torch.tensor([[0.0], [2.0], [5.0]]), torch.tensor([0, 0, 1])) == 2.0
    assert judge_of(data) is judge_of(data)
    alike = likeness(judge_of(data), x, x[:1].expand_as(x), y)  # real images without any variance
    assert math.isnan(alike["variance"])
    alone = likeness(judge_of(data), x[:1], x[:1], y[:1])
    assert (alone["frechet"], math.isnan(alone["variance"])) == (pytest.approx(0), True)


def test_images_of_one_pixel_have_a_judge():
    assert Judge((1, 1, 1), 2)(torch.zeros(3, 1, 1, 1)).shape == (3, 2)
