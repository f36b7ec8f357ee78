"""Greedy layer-wise pre-training: blocks learn to give their inputs back before the run begins."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from safetensors.torch import load_file

from unlocked.errors import ConfigError, RunInterrupted
from unlocked.loop.pretraining import inverse, pretrain
from unlocked.loop.train import train
from unlocked.loop.transfer import plan_run
from unlocked.plan.blocks import build_blocks
from unlocked.plan.plan import load_data
from unlocked.tracking import read

NOTES: list[str] = []
MLP = "model={name: mlp, hidden: [24, 16], norm: none}"


def pretrained(config, stopped=lambda: False, folder=None):
    """Weights, and the losses of each block."""
    data = load_data(config)
    losses: dict[str, list[float]] = {}

    def log(epoch: int, values: dict[str, float]) -> None:
        for key, value in values.items():
            assert folder is not None or len(losses.setdefault(key, [])) == epoch - 1
            losses.setdefault(key, []).append(value)

    with TemporaryDirectory() as empty:
        weights = pretrain(plan_run(config, data), data, folder or Path(empty), log, NOTES.append, stopped)
    return weights, losses


def test_every_block_but_the_head_learns_to_give_its_input_back(small):
    config = small(MLP, "pretrain={epochs: 6, noise: none}")
    weights, losses = pretrained(config)
    assert list(losses) == ["pretrain/loss/block_0", "pretrain/loss/block_1"]
    assert all(curve[-1] < 0.7 * curve[0] for curve in losses.values())
    drawn = torch.nn.Sequential(*build_blocks(config, load_data(config).example)).state_dict()
    assert {key for key in weights if not torch.equal(weights[key], drawn[key])} == {
        "0.1.weight",
        "0.1.bias",
        "1.0.weight",
        "1.0.bias",
    }


def test_it_repeats_and_is_the_same_under_every_scheme_and_cut(small):
    runs = [
        pretrained(small(MLP, "pretrain.epochs=2", *more))[0]
        for more in ([], ["scheme.name=dfa", "parallel.modules=1"], ["scheme.name=backprop", "parallel.modules=3"])
    ]
    assert all(torch.equal(runs[0][key], other[key]) for other in runs[1:] for key in other)
    other_seed, _ = pretrained(small(MLP, "pretrain.epochs=2", "seed=1"))
    assert not torch.equal(runs[0]["0.1.weight"], other_seed["0.1.weight"])


def test_a_run_begins_with_it_and_logs_it(small):
    summary = train(small(MLP, "pretrain.epochs=2", "train.epochs=1"))
    run_dir = Path(summary["run_dir"])
    weights, losses = pretrained(small(MLP, "pretrain.epochs=2"))
    begun = load_file(run_dir / "initial.safetensors")
    assert list(run_dir.glob("pretraining*")) == []
    assert all(torch.equal(begun[key], weights[key]) for key in weights)
    history = read(run_dir)
    assert history["pretrain/loss/block_1"] == list(enumerate(losses["pretrain/loss/block_1"], 1))


def test_an_autoencoder_is_pre_trained_up_to_its_code(small):
    _, losses = pretrained(
        small("task=reconstruction", "model={name: autoencoder, hidden: [24], code: 4}", "pretrain.epochs=1")
    )
    assert list(losses) == ["pretrain/loss/block_0", "pretrain/loss/block_1"]
    _, losses = pretrained(
        small(
            "task=reconstruction",
            "model={name: conv_autoencoder, channels: [4], code: 4}",
            "pretrain={epochs: 1, blocks: 3}",
        )
    )
    assert len(losses) == 3


@pytest.mark.parametrize("left_after", [1, 2, 3, 4])
def test_interrupted_it_goes_on_to_the_same_numbers(small, tmp_path, left_after):
    config = small(MLP, "model.dropout=0.2", "pretrain.epochs=3", "train.checkpoint_every=5")
    weights, losses = pretrained(config)
    asked = []

    def stopped():
        asked.append(None)
        return len(asked) == left_after

    k, epoch = divmod(left_after - 1, 3)
    with pytest.raises(RunInterrupted, match=rf"after epoch {epoch + 1} of 3 in which block {k} .*--resume"):
        pretrained(config, stopped, tmp_path)
    again, rest = pretrained(config, folder=tmp_path)
    assert all(torch.equal(again[key], weights[key]) for key in weights)
    assert [*rest.values()] == [curve[epoch + 1 :] if i == k else curve for i, curve in enumerate(losses.values())][
        k if epoch < 2 else k + 1 :
    ]


def test_killed_it_goes_on_from_the_last_epoch_that_was_saved(small, tmp_path):
    config = small(MLP, "pretrain.epochs=3", "train.checkpoint_every=2")
    weights, _ = pretrained(config)

    def killed():
        epochs.append(None)
        if len(epochs) == 3:
            raise KeyboardInterrupt
        return False

    epochs = []
    with pytest.raises(KeyboardInterrupt):
        pretrained(config, killed, tmp_path)
    again, rest = pretrained(config, folder=tmp_path)
    assert all(torch.equal(again[key], weights[key]) for key in weights)
    assert len(rest["pretrain/loss/block_0"]) == 1


def test_a_damaged_state_is_said_and_begun_again(small, tmp_path):
    config = small(MLP, "pretrain.epochs=2")
    with pytest.raises(RunInterrupted):
        pretrained(config, lambda: True, tmp_path)
    (tmp_path / "pretraining.pt").write_bytes(b"nothing")
    NOTES.clear()
    _, losses = pretrained(config, folder=tmp_path)
    assert len(losses["pretrain/loss/block_0"]) == 2
    assert "pretraining.pt: damaged" in NOTES[0]
    assert NOTES[0].endswith("; pre-training begins again")


@pytest.mark.parametrize(
    ("shape", "in_shape"), [((16,), (1, 8, 8)), ((4, 4, 4), (1, 9, 8)), ((7, 5), (7, 3)), ((5,), (7, 3))]
)
def test_a_decoder_of_one_layer_gives_the_shape_back(shape, in_shape):
    assert inverse(shape, in_shape)(torch.randn(2, *shape)).shape == (2, *in_shape)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["pretrain={epochs: 1, blocks: 4}"], r"pretrain\.blocks: 4 is more than the 3 blocks of mlp"),
        (
            ["pretrain={epochs: 1, level: 1.0}"],
            r"pretrain\.level: must be below 1 for masking, which takes a fraction, got 1\.0",
        ),
        (["pretrain.noise=saltt"], r"pretrain\.noise: unknown noise 'saltt'"),
        (
            ["pretrain.epochs=1", "data.name=copy", "model={name: lstm, hidden: [8]}"],
            r"pretrain\.epochs: a block that reads ids has no real input",
        ),
    ],
)
def test_what_cannot_be_pre_trained_is_one_line(small, overrides, message):
    with pytest.raises(ConfigError, match=message):
        train(small(MLP, *overrides))
