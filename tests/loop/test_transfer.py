"""Runs that begin with the first blocks of another run, frozen or not."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from unlocked.errors import ConfigError, RunInterrupted
from unlocked.loop import transfer
from unlocked.loop.train import resume, train
from unlocked.loop.trainer import Trainer
from unlocked.runs.checkpoint import Checkpoints

ENCODER = [
    "task=reconstruction",
    "train.epochs=1",
    "scheme.name=backprop",
    "model={name: autoencoder, hidden: [24], code: 16, noise: masking}",
]
CLASSIFIER = ["model={name: mlp, hidden: [24, 16], norm: none}"]


def last(run_dir: str | Path) -> dict[str, torch.Tensor]:
    return load_file(Checkpoints(Path(run_dir)).last() / "model.safetensors")


def best(run_dir: str | Path) -> dict[str, torch.Tensor]:
    checkpoints = Checkpoints(Path(run_dir))
    return load_file((checkpoints.best() or checkpoints.last()) / "model.safetensors")


def initial(run_dir: str | Path) -> dict[str, torch.Tensor]:
    return load_file(Path(run_dir) / "initial.safetensors")


@pytest.fixture
def encoder(small) -> str:
    return train(small(*ENCODER))["run_dir"]


# noise shifts the numbers in the first block's names by one
PAIRS = {"0.1.weight": "0.2.weight", "0.1.bias": "0.2.bias", "1.0.weight": "1.0.weight", "1.0.bias": "1.0.bias"}


@pytest.mark.parametrize("scheme", ["backprop", "cdni", "dfa"])
def test_exactly_the_blocks_that_fit_are_taken_and_frozen_ones_do_not_move(small, encoder, scheme):
    summary = train(small(*CLASSIFIER, f"transfer.run={encoder}", "transfer.freeze=true", f"scheme.name={scheme}"))
    before, after, source = initial(summary["run_dir"]), last(summary["run_dir"]), best(encoder)
    assert all(torch.equal(before[here], source[there]) for here, there in PAIRS.items())
    assert all(torch.equal(after[key], before[key]) for key in PAIRS)
    assert {key for key in after if not torch.equal(after[key], before[key])} == {"2.weight", "2.bias"}


def test_what_is_not_frozen_is_tuned_and_the_head_starts_as_it_would_alone(small, encoder):
    summary = train(small(*CLASSIFIER, f"transfer.run={encoder}", "transfer.blocks=1"))
    before, after, source = initial(summary["run_dir"]), last(summary["run_dir"]), best(encoder)
    assert torch.equal(before["0.1.weight"], source["0.2.weight"])
    assert not torch.equal(before["1.0.weight"], source["1.0.weight"])
    assert all(not torch.equal(after[key], before[key]) for key in after)


def test_running_statistics_of_frozen_blocks_stay(small):
    source = train(small("model={name: mlp, hidden: [24, 16], norm: batch}", "train.epochs=1"))["run_dir"]
    summary = train(
        small("model={name: mlp, hidden: [24, 20], norm: batch}", f"transfer.run={source}", "transfer.freeze=true")
    )
    before, after = initial(summary["run_dir"]), last(summary["run_dir"])
    assert torch.equal(after["0.2.running_mean"], best(source)["0.2.running_mean"])
    assert not torch.equal(after["1.1.running_mean"], before["1.1.running_mean"])


def test_the_run_folder_says_how_many_blocks_and_goes_on_without_the_other_run(small, encoder, monkeypatch, tmp_path):
    config = small(*CLASSIFIER, f"transfer.run={encoder}", "transfer.freeze=true")
    whole = train(config)

    monkeypatch.setattr(Trainer, "run_segments", lambda *_, **__: (_ for _ in ()).throw(RunInterrupted("stop")))
    with pytest.raises(RunInterrupted):
        train(config)
    monkeypatch.undo()
    Path(encoder).rename(tmp_path / "elsewhere")
    (stopped,) = (
        path
        for path in Path(config.tracking.runs).iterdir()
        if not (path / "checkpoints").exists() and path != Path(encoder)
    )
    assert "blocks: 2" in (stopped / "config.yaml").read_text()
    resumed = resume(stopped)
    one, other = last(whole["run_dir"]), last(resumed["run_dir"])
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_one_net_cannot_begin_with_a_run_of_several(small, monkeypatch):
    theirs = {"generator.0.weight": torch.ones(2, 2), "discriminator.0.weight": torch.ones(2, 2)}
    monkeypatch.setattr(transfer, "_source", lambda config: (Path("runs/gan"), theirs))
    with pytest.raises(ConfigError, match=r"transfer.run: runs/gan is a run of the nets generator, discriminator, mlp"):
        train(small(*CLASSIFIER, "transfer.run=runs/gan"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["transfer.blocks=2"], r"transfer\.blocks: 2 needs transfer\.run"),
        (["transfer.freeze=true"], r"transfer\.freeze: True needs transfer\.run"),
        (["transfer.run=nowhere"], r"transfer\.run: nowhere is no run folder with a checkpoint"),
        (
            ["transfer.run=nowhere", "pretrain.epochs=1"],
            r"pretrain\.epochs: 1 would replace the weights of transfer\.run",
        ),
    ],
)
def test_what_cannot_be_begun_with_is_one_line(small, overrides, message):
    with pytest.raises(ConfigError, match=message):
        train(small(*overrides))


@pytest.mark.parametrize(
    ("model", "overrides", "message"),
    [
        (
            "{name: mlp, hidden: [24, 20], norm: none}",
            ["transfer.blocks=2"],
            r"transfer\.blocks: block 1 of \S+ does not fit block 1 of mlp as configured: it holds bias \(16,\), "
            r"weight \(16, 24\), here are bias \(20,\), weight \(20, 24\)",
        ),
        ("{name: mlp, hidden: [20]}", [], r"transfer\.run: block 0 of \S+ does not fit block 0 of mlp"),
        ("{name: mlp, hidden: [24]}", ["transfer.blocks=3"], r"transfer\.blocks: 3 is more than the 2 blocks of mlp"),
        (
            "{name: autoencoder, hidden: [24], code: 16}",
            ["transfer.blocks=4", "transfer.freeze=true", "task=reconstruction"],
            "leaves nothing to learn",
        ),
    ],
)
def test_blocks_that_do_not_fit_are_named(small, encoder, model, overrides, message):
    with pytest.raises(ConfigError, match=message) as caught:
        train(small(f"model={model}", f"transfer.run={encoder}", *overrides))
    assert "\n" not in str(caught.value)


@pytest.mark.slow("starts a Ray of its own")
@pytest.mark.ray
def test_workers_on_ray_begin_with_the_same_weights(small, encoder):
    common = [*CLASSIFIER, f"transfer.run={encoder}", "transfer.freeze=true", "scheme.lag=2", "train.epochs=2"]
    here, there = (
        last(train(small(*common, f"parallel.engine={engine}"))["run_dir"]) for engine in ("inprocess", "ray")
    )
    assert all(torch.equal(here[key], there[key]) for key in here)


GROWING = [
    "task=adversarial",
    "train.epochs=1",
    "scheme.name=backprop",
    "model={name: growing_gan, channels: [6, 4]}",
    "parallel.modules=1",
]


def test_all_nets_of_a_run_are_taken_by_one_of_images_twice_the_size(small):
    source = train(small(*GROWING, "data.options.side=4"))["run_dir"]
    summary = train(small(*GROWING, f"transfer.run={source}"))
    before, after = initial(summary["run_dir"]), last(summary["run_dir"])
    assert all(torch.equal(before[key], x) for key, x in best(source).items())
    assert not torch.equal(after["generator.2.of.1.weight"], before["generator.2.of.1.weight"])
    with pytest.raises(ConfigError, match=r"^transfer\.run: .* does not fit growing_gan as configured: .* here$"):
        train(small(*GROWING, f"transfer.run={source}", "model.latent=5"))
    with pytest.raises(ConfigError, match=r"^transfer\.blocks: of several nets all blocks are taken"):
        train(small(*GROWING, f"transfer.run={source}", "transfer.blocks=1"))
