"""SimCLR under every scheme, in one process and with a module on each worker."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from unlocked.config import load_config
from unlocked.engine.group import InProcessGroup
from unlocked.loop.train import train
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data

SMALL = ["model={name: simclr, channels: [4], hidden: [12], projection: 8}", "data.batch_size=32", "tracking.uri=off"]
SMALL += ["parallel={modules: 3, partition: null}"]
LEARNS = ("backprop", "cdni", "dfa", "local")  # in so few steps; dni and the control hardly move


@pytest.mark.parametrize("scheme", ["backprop", "cdni", "dni", "dfa", "local", "frozen"])
def test_views_of_digits_train_under_every_scheme(scheme):
    config = load_config("selfsupervised/simclr", [*SMALL, f"scheme.name={scheme}", "optimizer.lr=0.01"])
    data = load_data(config)
    group = InProcessGroup(make_plan(config, data), data)
    (reports,) = group.run([(0, 60)], 60)
    losses = reports[-1].series["loss"]
    assert torch.tensor(losses).isfinite().all()
    if scheme in LEARNS:
        assert sum(losses[-10:]) < sum(losses[:10]) - 1


def test_a_run_ends_with_its_views_its_representation_and_probes(tmp_path):
    config = load_config(
        "selfsupervised/simclr", [*SMALL, "data.examples=200", "train.epochs=2", f"tracking.runs={tmp_path}"]
    )
    summary = train(config)
    assert {"test/nearest", "test/probe", "test/probe_few"} <= summary["metrics"].keys()
    figures = {path.name for path in (tmp_path / summary["run"] / "figures").iterdir()}
    assert {"views.png", "embedding.png"} <= figures


def test_a_classifier_takes_the_encoder_over(tmp_path):
    """By `transfer`: the blocks of simclr are those of a cnn, so what they hold becomes the encoder, bit by bit."""
    common = ["data.examples=200", "train.epochs=1", "tracking.figures=false", f"tracking.runs={tmp_path}"]
    run = train(load_config("selfsupervised/simclr", [*SMALL, *common]))["run_dir"]
    net = ["model={name: cnn, channels: [4], hidden: [12]}", "task=classification", "objective={}"]
    given = [*SMALL[1:], *common, *net, "data.transforms=[]", f"transfer.run={run}", "transfer.freeze=true"]
    from safetensors.torch import load_file

    found = train(load_config("selfsupervised/simclr", given))["run_dir"]
    before, after = (load_file(next((tmp_path / r / "checkpoints").rglob("model.safetensors"))) for r in (run, found))
    kept = {key: value for key, value in after.items() if not key.startswith("2.")}
    assert len(kept) >= 4
    for key, value in kept.items():
        first, rest = key.split(".", 1)
        torch.testing.assert_close(value, before[f"{first}.block.{rest}"], rtol=0, atol=0)


@pytest.fixture(scope="module")
def simclr_run(tmp_path_factory):
    """The folder of an encoder that was trained without labels."""
    runs = f"tracking.runs={tmp_path_factory.mktemp('simclr')}"
    few = ["data.examples=200", "train.epochs=1", "tracking.figures=false", runs]
    return Path(train(load_config("selfsupervised/simclr", [*SMALL, *few]))["run_dir"])


@pytest.mark.parametrize("scheme", ["backprop", "cdni", "dni", "dfa", "frozen"])
def test_the_preset_of_few_labels_tunes_an_encoder_under_every_scheme(tmp_path, simclr_run, scheme):
    """The control leaves the encoder's weights as they came; under every other scheme its first block moves."""
    from safetensors.torch import load_file

    given = ["data={name: digits, examples: 60, batch_size: 20}", "model.channels=[4]", "model.hidden=[12]"]
    given += ["parallel.partition=null", "train.epochs=8", "tracking.uri=off", "tracking.figures=false"]
    given += [f"tracking.runs={tmp_path}", f"transfer.run={simclr_run}", f"scheme.name={scheme}"]
    found = Path(train(load_config("selfsupervised/few_labels", given))["run_dir"])
    before, after = (load_file(next(run.rglob("checkpoints/**/model.safetensors"))) for run in (simclr_run, found))
    learned = [key for key in after if key.startswith("0.") and key.endswith(("weight", "bias"))]
    moved = [key for key in learned if not torch.equal(before[key.replace("0.", "0.block.", 1)], after[key])]
    assert learned
    assert bool(moved) == (scheme != "frozen")


VIT = ["model={name: vit, patch: 2, width: 8, depth: 2, heads: 2, feedforward: 2, norm: post, pool: mean}"]
VIT += ["data.batch_size=32", "tracking.uri=off", "parallel={modules: 2, partition: null}"]


@pytest.mark.parametrize("scheme", ["backprop", "cdni", "dni", "dfa", "local", "frozen"])
def test_hidden_patches_train_under_every_scheme_and_go_on_where_a_run_stopped(scheme):
    config = load_config("selfsupervised/masked", [*VIT, f"scheme.name={scheme}", "scheme.lag=auto", "train.epochs=2"])
    data = load_data(config)
    plan = make_plan(config, data)
    unbroken, first, second = (InProcessGroup(plan, data) for _ in range(3))
    (reports,) = unbroken.run([(0, 30)], 30)
    losses = reports[-1].series["loss"]
    assert sum(losses[-5:]) < sum(losses[:5])  # the mean image, which the last module learns under every scheme
    (before,) = first.run([(0, 20)], 20)
    second.load_states(first.states(20))
    (after,) = second.run([(20, 30)], 30)
    assert [*before[-1].series["loss"], *after[-1].series["loss"]] == losses


def test_a_masked_run_ends_with_its_pictures_and_a_classifier_goes_on_with_its_blocks(tmp_path):
    common = ["data.examples=200", "train.epochs=1", f"tracking.runs={tmp_path}"]
    summary = train(load_config("selfsupervised/masked", [*VIT, *common]))
    assert {"test/mse", "test/probe", "test/probe_few"} <= summary["metrics"].keys()
    assert {"completed.png", "embedding.png"} <= {p.name for p in (tmp_path / summary["run"] / "figures").iterdir()}
    given = ["task=classification", "data.transforms=[]", f"transfer.run={summary['run_dir']}", "transfer.freeze=true"]
    found = train(load_config("selfsupervised/masked", [*VIT, *common, *given, "tracking.figures=false"]))
    from safetensors.torch import load_file

    before, after = (
        load_file(next((tmp_path / each["run_dir"] / "checkpoints").rglob("model.safetensors")))
        for each in (summary, found)
    )
    assert torch.equal(before["0.read.1.weight"], after["0.1.weight"])
    kept = [key for key in after if key.startswith(("1.", "2."))]
    assert kept
    assert all(torch.equal(before[key], after[key]) for key in kept)
