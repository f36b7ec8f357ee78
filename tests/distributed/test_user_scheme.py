"""A scheme with options in a file of a user's own: by --import, over workers, resumed, in a study."""

import json
import sys

import pytest

from unlocked.cli.main import main
from unlocked.schemes import SCHEMES

# Random target projection, with a model of its own beside the blocks: a mean of the past outputs, taken from h first.
SCHEME = '''
from dataclasses import dataclass, field

import torch
from torch import nn
from unlocked import ModuleLearner, group, key, register_scheme
from unlocked.schema.keys import OptimizerConfig
from unlocked.schemes import Beside, options_of
from unlocked.seeding import derive_seed


@dataclass
class Centre:
    """What is taken from h before it is projected."""

    lr: float = key(0.05, "of the mean; 0 is refused", above=0)


@dataclass
class ProjectOptions:
    sharpness: float = key(1.0, "of the projected target", above=0, high=10)
    sign: str = key("plus", "of the projection", choices=("plus", "minus"))
    centre: Centre = group(Centre)


class Mean(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(shape))

    def forward(self, h):
        return h - self.mean


@register_scheme("project")
class Project(ModuleLearner):
    Options = ProjectOptions
    why_no_lag = "nothing is sent back"
    needs_labels = True
    series_words = {**ModuleLearner.series_words, "centre/loss": "the distance to the mean"}
    centre = None

    def __init__(self, spec, chain, task, config, lag=0):
        super().__init__(spec, chain, task, config, lag)
        generator = torch.Generator().manual_seed(derive_seed(config.seed, "project", spec.stop))
        size = torch.Size(spec.out_shape).numel()
        B = (torch.rand(spec.n_outputs, size, generator=generator) - 0.5) * self.options.sharpness / size**0.5
        self.B = (B if self.options.sign == "plus" else -B).to(self.device, self.dtype)

    @classmethod
    def beside(cls, config, spec, task):
        rate = options_of(cls, config).centre.lr
        return {} if spec.is_last else {"centre": Beside(Mean(spec.out_shape), OptimizerConfig("sgd", rate))}

    def step(self, t, h_in, batch, ports):
        self.seed_step(t)
        if self.spec.is_last:
            return self.learn_from_loss(h_in, batch, ports)
        h, _ = self.run_chain(h_in, batch)
        ports.up(h.detach())
        distance = self.centre(h.detach()).square().mean()
        self.record("centre/loss", distance)
        distance.backward()
        self.apply(self.centre_optimizer)
        y = self.task.context(batch, self.spec.example, h)
        h.backward((y @ self.B).view_as(h) / len(h))
        self.update()
'''
SMALL = [
    "quickstart",
    "parallel.modules=2",
    "parallel.threads=1",
    "parallel.engine=inprocess",
    "optimizer.schedule=constant",
    "parallel.timeout=60",
    "parallel.partition=null",
    "model.hidden=[12,10]",
    "train.probe_every=0",
    "tracking.uri=off",
    "tracking.figures=false",
    "scheme.name=project",
    "--import",
    "project_scheme.py",
]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """The command line in a folder with the scheme's file: exit code, output and what it says."""
    monkeypatch.setattr(SCHEMES, "_entries", dict(SCHEMES._entries))
    monkeypatch.setattr(SCHEMES, "_facts", dict(SCHEMES._facts))
    (tmp_path / "project_scheme.py").write_text(SCHEME)
    monkeypatch.chdir(tmp_path)

    def run(*words):
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    yield run
    sys.modules.pop("project_scheme", None)


def trained(run, *words):
    code, out, err = run("train", *SMALL, "train.epochs=2", "--json", "--quiet", *words)
    assert code == 0, err
    return json.loads(out.strip().splitlines()[-1])


def test_its_options_are_checked_shown_and_trained_with(run):
    _, out, _ = run("train", *SMALL, "scheme.centre.lr=0.5", "--print-config")
    assert "centre: {lr: 0.5}" in out
    code, _, err = run("train", *SMALL, "scheme.centre.lr=0")
    assert (code, err.strip()) == (2, "unlocked: scheme.centre.lr: must be greater than 0, got 0.0")
    code, _, err = run("train", *SMALL, "scheme.shrapness=2")
    assert code == 2
    assert "scheme.shrapness: unknown key; did you mean 'sharpness'?" in err
    code, out, _ = run("train", *SMALL, "--dry-run")
    assert code == 0
    assert "centre params" in out
    soft, sharp = trained(run), trained(run, "scheme.sharpness=8")
    assert soft["metrics"]["centre/loss/module_0"] > 0
    assert soft["metrics"]["train/loss"] != sharp["metrics"]["train/loss"]


def test_the_page_of_keys_shows_its_options(run, capsys):
    main(["keys", "scheme", "--import", "project_scheme.py"])
    page = " ".join(capsys.readouterr().out.split())
    assert "scheme.sharpness: 1.0 # float project: of the projected target; greater than 0 and at most 10" in page
    assert "scheme.centre.lr: " in page


@pytest.mark.timeout(120)
@pytest.mark.parametrize("engine", ["inprocess", pytest.param("ray", marks=pytest.mark.ray)])
def test_it_resumes_as_if_it_had_never_stopped_and_needs_no_import_for_it(run, engine, request):
    if engine == "ray":
        request.getfixturevalue("cluster")
    whole = trained(run, "train.epochs=4", "scheme.sharpness=2", f"parallel.engine={engine}")
    begun = trained(run, "train.epochs=2", "scheme.sharpness=2", "parallel.engine=inprocess", "name=begun")
    code, out, err = run("train", "--resume", begun["run_dir"], "train.epochs=4", "--json", "--quiet")
    assert code == 0, err
    longer = json.loads(out.strip().splitlines()[-1])
    for metric in ("train/loss", "test/accuracy", "centre/loss/module_0"):
        assert longer["metrics"][metric] == pytest.approx(whole["metrics"][metric], rel=1e-6), metric


def test_its_options_are_dimensions_of_a_study_beside_another_scheme(run):
    space = (
        "sweep.space.scheme.name=[project,backprop]",
        "sweep.space.scheme.sharpness={choice: [1.0, 4.0], when: {scheme.name: project}}",
        "sweep.metric=test/accuracy",
        "train.epochs=1",
    )
    words = [word for word in SMALL if word != "scheme.name=project"]
    code, out, err = run("sweep", *words, *space, "--json")
    assert code == 0, err
    summary = json.loads(out.strip().splitlines()[-1])
    assert summary["trials"] == 3


def test_its_options_stay_out_of_the_record_of_other_schemes(run):
    """A preset that sets them trains under backprop where the file is not imported only if they are left out."""
    _, out, _ = run("train", *SMALL, "scheme.name=backprop", "--print-config")
    assert "sharpness" not in out
    _, out, _ = run("train", *SMALL, "scheme.name=backprop", "scheme.sharpness=2", "--print-config")
    assert "sharpness: 2.0" in out
