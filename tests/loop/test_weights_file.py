"""Runs that begin with weights of a plain safetensors file, of any torch model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from unlocked.errors import ConfigError
from unlocked.loop.train import train
from unlocked.runs.checkpoint import Checkpoints

MODEL = ["model={name: mlp, hidden: [24, 16], norm: none}", "scheme.name=backprop", "train.epochs=1"]
NAMES = "transfer.names={backbone.first: '0.1', backbone.second: '1.0'}"


class Theirs(nn.Module):
    """With names of its own, and a head for other classes."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict({"first": nn.Linear(64, 24), "second": nn.Linear(24, 16)})
        self.head = nn.Linear(16, 7)


@pytest.fixture
def theirs(tmp_path) -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    weights = Theirs().half().state_dict()
    save_file(weights, tmp_path / "theirs.safetensors")
    return weights


@pytest.fixture
def begun(small, tmp_path, theirs):
    return lambda *overrides: train(small(*MODEL, f"transfer.file={tmp_path / 'theirs.safetensors'}", *overrides))


def before(run_dir: str) -> dict[str, torch.Tensor]:
    return load_file(Path(run_dir) / "initial.safetensors")


def last(run_dir: str) -> dict[str, torch.Tensor]:
    return load_file(Checkpoints(Path(run_dir)).last() / "model.safetensors")


def test_named_tensors_are_taken_and_what_was_not_is_told(small, tmp_path, theirs, reporter):
    config = small(*MODEL, f"transfer.file={tmp_path / 'theirs.safetensors'}", NAMES)
    found = before(train(config, reporter=reporter)["run_dir"])
    for here, there in (("0.1", "backbone.first"), ("1.0", "backbone.second")):
        for kind in ("weight", "bias"):
            assert torch.equal(found[f"{here}.{kind}"], theirs[f"{there}.{kind}"].float())
    (note,) = (line for line in reporter.notes if "begins with" in line)
    assert note.endswith(
        "theirs.safetensors; not taken: head.bias (no head.bias here), head.weight (no head.weight here); drawn anew: "
        "2.weight, 2.bias"
    )
    assert "begins with 4 tensors of " in note


def test_whole_blocks_are_frozen_and_a_head_of_another_shape_is_left(begun, theirs):
    summary = begun(NAMES.replace("}", ", head: 2}"), "transfer.freeze=true")
    start, end = before(summary["run_dir"]), last(summary["run_dir"])
    assert {key for key in end if not torch.equal(start[key], end[key])} == {"2.weight", "2.bias"}
    assert torch.equal(end["1.0.weight"], theirs["backbone.second.weight"].float())
    some = before(begun(NAMES, "transfer.blocks=1")["run_dir"])
    assert not torch.equal(some["1.0.weight"], theirs["backbone.second.weight"].float())


def test_a_prefix_goes_and_names_that_are_the_same_need_no_mapping(small, tmp_path):
    own = train(small(*MODEL))["run_dir"]
    save_file({f"module.{key}": x for key, x in last(own).items()}, tmp_path / "own.safetensors")
    found = before(
        train(small(*MODEL, f"transfer.file={tmp_path / 'own.safetensors'}", "transfer.names={module: ''}"))["run_dir"]
    )
    assert all(torch.equal(found[key], x) for key, x in last(own).items())
    plain = train(small(*MODEL, f"transfer.file={Checkpoints(Path(own)).last() / 'model.safetensors'}"))["run_dir"]
    assert all(torch.equal(before(plain)[key], x) for key, x in last(own).items())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], r"transfer\.file: nothing of \S+ fits mlp: it holds backbone\.first\.bias \(24,\), .* map names by"),
        (["transfer.names={stem: 0}"], r"transfer\.names: \S+ has no tensor stem, nor one that begins with it"),
        (
            ["transfer.names={head.weight: 2.weight}"],
            r"transfer\.names: head\.weight of \S+ has shape \(7, 16\), 2\.weight of mlp \(10, 16\)",
        ),
        (
            [NAMES, "transfer.blocks=3"],
            r"transfer\.blocks: 3, but block 2 of mlp is not whole in \S+ 2\.weight, 2\.bias",
        ),
        ([NAMES, "transfer.blocks=4"], r"transfer\.blocks: 4 is more than the 3 blocks of mlp"),
        (["transfer.names={backbone.second: '1.0'}", "transfer.freeze=true"], r"block 0 of mlp is not whole in"),
        (
            ["transfer.names={head: 1.5}"],
            r"transfer\.names: head: 1\.5: is read as a number; put names in quotes",
        ),
        (["transfer.run=runs/x"], r"transfer\.file: would replace weights of transfer\.run"),
        (["pretrain.epochs=1"], r"would replace the weights of transfer\.file"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(begun, overrides, message):
    with pytest.raises(ConfigError, match=message) as caught:
        begun(*overrides)
    assert "\n" not in str(caught.value)


def test_a_pickle_a_damaged_file_and_values_that_are_not_finite_are_refused(small, tmp_path):
    def refused(name: str) -> str:
        with pytest.raises(ConfigError) as caught:
            train(small(*MODEL, f"transfer.file={tmp_path / name}"))
        return str(caught.value)

    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "net.pt")
    assert "net.pt may be a pickle, which could run anything and is not opened" in refused("net.pt")
    (tmp_path / "torn.safetensors").write_bytes(b"\xff" * 100)
    assert "torn.safetensors cannot be read as safetensors: " in refused("torn.safetensors")
    assert refused("none.safetensors").endswith("none.safetensors is no file")
    save_file({"2.bias": torch.full((10,), float("nan")), "a\x1b[2J": torch.zeros(1)}, tmp_path / "nan.safetensors")
    assert refused("nan.safetensors").endswith("2.bias holds values that are not finite")
    save_file({"a\x1b[2J": torch.zeros(1)}, tmp_path / "odd.safetensors")
    assert "\x1b" not in refused("odd.safetensors")


@pytest.mark.parametrize("key", ["run", "file"])
def test_a_tied_weight_is_taken_under_both_of_its_names(small, tmp_path, key):
    (tmp_path / "my.txt").write_text("abcdefgh" * 60)
    keys = [f"data={{name: text, batch_size: 8, options: {{file: {tmp_path}/my.txt, length: 8}}}}", "train.epochs=1"]
    keys += [
        "scheme.name=backprop",
        "parallel.modules=1",
        "model={name: gpt, width: 8, depth: 1, heads: 1, tied: true}",
    ]
    own = Path(train(small(*keys))["run_dir"])
    source = own if key == "run" else Checkpoints(own).last() / "model.safetensors"
    found = before(train(small(*keys, f"transfer.{key}={source}", "transfer.blocks=1"))["run_dir"])
    best = Checkpoints(own).best() or Checkpoints(own).last()
    theirs = load_file(best / "model.safetensors") if key == "run" else last(own)
    tied = [name for name, x in found.items() if x.shape == theirs["0.0.weight"].shape and name.endswith("weight")]
    assert len(tied) == 2
    assert all(torch.equal(found[name], theirs["0.0.weight"]) for name in tied)
