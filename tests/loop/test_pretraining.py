"""Pre-training is the first segment of a run: by a local scheme, block after block, saved and resumed as the rest."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from unlocked.config import from_tree, load_config, to_dict
from unlocked.engine.group import InProcessGroup
from unlocked.errors import ConfigError, RunFailed, RunInterrupted
from unlocked.launch.interrupt import StopSignal
from unlocked.loop.pretraining import Pretrainer
from unlocked.loop.train import resume, train
from unlocked.plan.blocks import build_blocks
from unlocked.plan.plan import load_data
from unlocked.plan.pretraining import plan_pretraining
from unlocked.schema.renamed import RenamedKey
from unlocked.schemes import Denoise, Turns
from unlocked.schemes.denoise import inverse
from unlocked.seeding import derive_seed
from unlocked.tracking import read

MLP = "model={name: mlp, hidden: [24, 16], norm: none}"
SHORT = (MLP, "train.epochs=1", "train.log_every=2", "train.probe_every=0", "train.checkpoint_every=1")


def segment(config):
    """A group about to pre-train, its plan and its data."""
    data = load_data(config)
    plan = plan_pretraining(config, data)
    return InProcessGroup(plan, data), plan, data


def weights(group, step):
    return {key: value for state in group.states(step) for key, value in state["weights"].items()}


def pretrained(config):
    group, plan, _ = segment(config)
    list(group.run([(0, plan.total_steps)], plan.total_steps))
    return weights(group, plan.total_steps)


def begun(run_dir):
    return load_file(Path(run_dir) / "initial.safetensors")


def series_of(run_dir):
    return {key: points for key, points in read(Path(run_dir)).items() if key.startswith("pretrain/")}


def test_turns_are_one_block_after_the_other_or_all_at_once():
    assert [Turns((0, 2, 3), 2).learning(t) for t in range(7)] == [(0,), (0,), (2,), (2,), (3,), (3,), (3,)]
    assert Turns((0, 2)).learning(5) == (0, 2)


def test_greedy_denoising_is_the_loop_of_the_paper(small):
    """Vincent et al. 2010: in float64, without noise, block after block on the clean code of those below."""
    config = small(
        *SHORT, "pretrain.epochs=1", "scheme.denoise.noise=none", "train.precision=fp64", "data.batch_size=64"
    )
    group, plan, data = segment(config)
    blocks = [block.double() for block in build_blocks(config, plan.example)]
    each, widths = plan.steps_per_epoch, [64, 24, 16]
    for k in range(2):
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(config.seed, "denoise", "decoder", k))
            decoder = inverse((widths[k + 1],), (widths[k],) if k else data.in_shape).double()
        optimizer = torch.optim.Adam([*blocks[k].parameters(), *decoder.parameters()], lr=config.optimizer.lr)
        for t in range(k * each, (k + 1) * each):
            h = group.modules[0].batches.x(t).double()
            with torch.no_grad():
                for below in blocks[:k]:
                    h = below(h)
            loss = F.mse_loss(decoder(blocks[k](h)), h, reduction="sum") / len(h)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    list(group.run([(0, plan.total_steps)], plan.total_steps))
    expected = nn.Sequential(*blocks).state_dict()
    for key, found in weights(group, plan.total_steps).items():
        torch.testing.assert_close(found, expected[key], rtol=1e-9, atol=1e-12)


def test_a_block_rests_before_and_after_its_turn_and_the_head_always(small):
    group, plan, _ = segment(small(*SHORT, "pretrain.epochs=1"))
    drawn, half = weights(group, 0), plan.total_steps // 2
    list(group.run([(0, half)], half))
    middle = weights(group, half)
    list(group.run([(half, plan.total_steps)], plan.total_steps))
    end = weights(group, plan.total_steps)
    moved = [
        {key[0] for key in one if not torch.equal(one[key], other[key])}
        for one, other in ((drawn, middle), (middle, end))
    ]
    assert moved == [{"0"}, {"1"}]


def test_all_at_once_each_block_reads_what_those_below_have_come_to(small):
    config = small(*SHORT, "pretrain={epochs: 1, order: together}")
    group, plan, _ = segment(config)
    assert plan.total_steps == plan.steps_per_epoch
    (stats,) = group.run([(0, 3)], 3)
    names = {name for s in stats for name in s.series}
    assert names == {"denoise/loss/block_0", "denoise/loss/block_1"}


@pytest.mark.parametrize("order", ["greedy", "together"])
def test_it_is_the_same_under_every_scheme_and_cut(small, order):
    pretrain = f"pretrain={{epochs: 1, order: {order}}}"
    one, *others = [
        pretrained(small(*SHORT, "model.dropout=0.2", pretrain, *more))
        for more in (
            ["parallel.modules=1", "scheme.name=backprop"],
            ["parallel.modules=2"],
            ["parallel.modules=3", "scheme.name=dfa", "optimizer.schedule=cosine", "optimizer.clip_norm=0.1"],
        )
    ]
    assert all(torch.equal(one[key], other[key]) for other in others for key in one)
    assert not torch.equal(one["0.1.weight"], pretrained(small(*SHORT, pretrain, "seed=1"))["0.1.weight"])


def test_a_run_begins_with_what_the_segment_comes_to_and_logs_it(small, reporter):
    config = small(*SHORT, "pretrain.epochs=2", "pretrain.lr=0.003")
    run_dir = Path(train(config, reporter=reporter)["run_dir"])
    expected = pretrained(config)
    assert all(torch.equal(expected[key], value) for key, value in begun(run_dir).items())
    assert not (run_dir / "pretraining").exists()
    series = series_of(run_dir)
    assert set(series) == {"pretrain/denoise/loss/block_0", "pretrain/denoise/loss/block_1"}
    first, second = series.values()
    assert first[-1][0] < second[0][0]  # over the segment's own steps
    assert first[-1][1] < 0.8 * first[0][1]
    assert "pre-trained 2 blocks by denoise, 2 epochs" in reporter.notes
    assert read(run_dir)["train/loss"][0][0] == 2  # the run's own steps begin at 0


class Killed(BaseException):
    pass


@pytest.mark.parametrize(
    ("scheme", "how"), [("denoise", "interrupted"), ("denoise", "killed"), ("cd", "killed"), ("pcd", "interrupted")]
)
def test_ended_in_the_segment_it_goes_on_to_the_same_numbers(small, monkeypatch, scheme, how):
    """In the second block's turn, behind a checkpoint."""
    model = [MLP, "model.dropout=0.2"]
    if scheme != "denoise":
        model = ["data.options.threshold=0.5", "model={name: rbm, hidden: [6, 5]}", "task=density", "scheme.name=cd"]
    config = small(*SHORT[1:], *model, f"pretrain={{scheme: {scheme}, epochs: 1}}", "parallel.modules=2")
    total, stop, log = plan_pretraining(config, load_data(config)).total_steps, StopSignal(), Pretrainer._log_segment
    whole = train(config)["run_dir"]
    folders = []

    def logged(self, stats):
        log(self, stats)
        if self.progress.step > 0.6 * total:
            folders.append(self.folder.path)
            stop.asked = True
            if how == "killed":
                raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Pretrainer, "_log_segment", logged)
        with pytest.raises((RunInterrupted, Killed)) as told:
            train(config, stop=stop)
    if how == "interrupted":
        assert re.search(rf"saved at step \d+ of {total} of pre-training; .*--resume", str(told.value))
    resume(folders[0])
    assert all(torch.equal(begun(whole)[key], value) for key, value in begun(folders[0]).items())
    assert series_of(folders[0]) == series_of(whole)


def test_an_autoencoder_is_pre_trained_up_to_its_code_and_a_stack_of_machines_whole(small):
    code = "model={name: autoencoder, hidden: [24], code: 4}"
    plan = segment(small("task=reconstruction", code, "pretrain.epochs=1"))[1]
    assert plan.specs[0].turns.blocks == (0, 1)
    conv = "model={name: conv_autoencoder, channels: [4], code: 4}"
    group, plan, _ = segment(small("task=reconstruction", conv, "pretrain={epochs: 1, blocks: 3}"))
    assert plan.specs[0].turns.blocks == (0, 1, 2)
    list(group.run([(0, plan.total_steps)], plan.total_steps))
    assert group.nonfinite() is None


def test_it_ends_at_a_loss_that_is_no_number(small):
    with pytest.raises(RunFailed, match=r"of a block's input given back \(.*block_0\).* of pre-training.*pretrain\.lr"):
        train(small(*SHORT, "pretrain={epochs: 1, lr: 1.0e+18}", "optimizer.name=sgd", "optimizer.momentum=null"))


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
            ["pretrain.epochs=1", "scheme.denoise.level=1.0"],
            r"scheme\.denoise\.level: must be below 1 for masking, which takes a fraction, got 1\.0",
        ),
        (["scheme.denoise.noise=saltt"], r"scheme\.denoise\.noise: unknown noise 'saltt'"),
        (["pretrain.scheme=denoisee"], r"pretrain\.scheme: unknown scheme 'denoisee'; did you mean 'denoise'"),
        (
            ["pretrain={scheme: dfa, epochs: 1}"],
            r"pretrain\.scheme: dfa trains no block alone; schemes that do: cd, denoise, pcd",
        ),
        (
            ["pretrain={scheme: cd, epochs: 1}"],
            r"pretrain\.scheme: cd cannot train mlp: it samples from a block's own energy",
        ),
        (
            ["pretrain.epochs=1", "data.name=copy", "model={name: lstm, hidden: [8]}"],
            r"pretrain\.scheme: denoise cannot train block 0 of lstm, which reads ids",
        ),
    ],
)
def test_what_cannot_be_pre_trained_is_one_line(small, overrides, message):
    with pytest.raises(ConfigError, match=message):
        train(small(MLP, *overrides))


def test_the_old_keys_of_the_noise_are_read(small):
    with pytest.warns(RenamedKey, match=r"pretrain\.noise is now scheme\.denoise\.noise"):
        config = small(MLP, "pretrain={epochs: 1, noise: gaussian, level: 0.4}")
    assert (config.scheme.denoise.noise, config.scheme.denoise.level) == ("gaussian", 0.4)
    tree = to_dict(load_config("autoencoder/pretrained"))
    old = {**tree, "pretrain": {"epochs": 10, "blocks": None, "noise": "gaussian", "level": 0.3, "lr": 1e-3}}
    assert from_tree(old).scheme.denoise.level == 0.3  # the folder of a run that an earlier version began
    with pytest.raises(ConfigError, match=r"scheme\.denoise\.level is given twice"), pytest.warns(RenamedKey):
        small(MLP, "pretrain.level=0.1", "scheme.denoise.level=0.2")


def test_as_a_scheme_the_last_module_learns_by_the_loss_and_the_others_give_their_input_back(small):
    group, *_ = start = segment(small(*SHORT, "pretrain.epochs=1", "parallel.modules=3"))
    assert isinstance(group.modules[0].learner, Denoise)
    assert [s.turns for s in start[1].specs] == [Turns((0, 1), start[1].steps_per_epoch)] * 3
    summary = train(small(MLP, "scheme.name=denoise", "parallel.modules=3", "train.epochs=8", "optimizer.lr=0.02"))
    series = read(Path(summary["run_dir"]))
    for name in ("train/loss", "denoise/loss/module_0", "denoise/loss/module_1"):
        assert series[name][-1][1] < 0.8 * series[name][0][1]
    assert "denoise/loss/module_2" not in series
