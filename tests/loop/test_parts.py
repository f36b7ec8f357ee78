"""Nets whose parts were trained apart, each by a run of its own, and are joined."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from unlocked.data import TrainBatches
from unlocked.errors import ConfigError
from unlocked.jobs.submit import _paths
from unlocked.loop import parts
from unlocked.loop.train import train
from unlocked.plan.blocks import build_blocks
from unlocked.plan.plan import load_data
from unlocked.runs.checkpoint import Checkpoints
from unlocked.seeding import derive_seed
from unlocked_models import Chain

FEW = ["data.examples=200", "train.epochs=1", "scheme.name=backprop"]
VIEW = [*FEW, "task=reconstruction", "parallel.modules=1"]
JOINED = [*FEW, "task=cross_reconstruction", "model={name: two_way, hidden: [6], code: 4, inner: [5]}"]
JOINED += ["parallel.modules=3", "parallel.partition=[2, 1, 2]"]


def run_of(small, columns: list[int], model: str = "{name: autoencoder, hidden: [6], code: 4}") -> str:
    return train(small(*VIEW, f"model={model}", f"data.options.columns={columns}"))["run_dir"]


@pytest.fixture
def views(small) -> list[str]:
    runs = run_of(small, [0, 4], "{name: autoencoder, hidden: [6], code: 4, noise: masking}"), run_of(small, [4, 8])
    return [f"transfer.parts.{part}={run}" for part, run in zip(("first", "second"), runs, strict=True)]


def weights(run_dir: str, which: str = "last") -> dict[str, torch.Tensor]:
    checkpoints = Checkpoints(Path(run_dir))
    folder = checkpoints.last() if which == "last" else checkpoints.best() or checkpoints.last()
    return load_file(folder / "model.safetensors")


def initial(run_dir: str) -> dict[str, torch.Tensor]:
    return load_file(Path(run_dir) / "initial.safetensors")


@pytest.mark.parametrize("scheme", ["backprop", "cdni", "dfa", "frozen"])
def test_parts_begin_as_the_runs_that_they_were_and_the_association_alone_learns(small, views, scheme):
    scheme = f"scheme.name={scheme}"
    summary = train(small(*JOINED, *views, "transfer.freeze=true", scheme, "scheme.lag=0"))
    before, after = initial(summary["run_dir"]), weights(summary["run_dir"])
    for given in views:
        part, run = given.removeprefix("transfer.parts.").split("=")
        theirs = [x for _, x in sorted(weights(run, "best").items())]
        mine = [x for key, x in sorted(before.items()) if key.split(".")[1] == part]
        assert all(torch.equal(x, y) for x, y in zip(mine, theirs, strict=True))
    moved = {key for key in after if not torch.equal(after[key], before[key])}
    assert moved == (set() if scheme.endswith("frozen") else {key for key in after if key.startswith("2.")})


def test_one_part_may_be_joined_to_one_that_is_not_trained_and_all_tuned(small, views):
    summary = train(small(*JOINED, views[0]))
    begun, after = initial(summary["run_dir"]), weights(summary["run_dir"])
    assert all(not torch.equal(after[key], begun[key]) for key in after)
    kept = train(small(*JOINED, views[0], "transfer.freeze=true"))["run_dir"]
    begun, after = initial(kept), weights(kept)
    still = {key for key in after if torch.equal(after[key], begun[key])}
    assert still == {key for key in after if key.split(".")[1] == "first"}


def test_an_association_of_least_squares_is_fitted_to_the_codes_of_the_joined_parts(small, views):
    config = small(*JOINED, *views, "model.inner=[]", "model.begin=least_squares", "train.epochs=1")
    begun = initial(train(config)["run_dir"])
    data = load_data(config)
    chain = Chain(build_blocks(config, data.example))
    chain.load_state_dict(begun)
    codes = Chain(list(chain)[:2])(data.train.x).detach()
    drawn = chain[2](codes).detach()
    for k, other in ((0, 1), (1, 0)):
        given, wanted, found = (x.chunk(2, 1)[i].double() for x, i in ((codes, other), (codes, k), (drawn, k)))
        known = torch.cat([given, torch.ones(len(given), 1)], 1)
        residual = known.T @ (wanted - found) / len(given)  # 0 of the best maps
        assert residual.abs().max() < 1e-5 * wanted.abs().max()


def test_a_joined_run_is_a_plain_loop_over_the_association(small, views):
    config = small(
        *JOINED,
        *views,
        "transfer.freeze=true",
        "train.precision=fp64",
        "optimizer={name: sgd, lr: 0.01, momentum: 0.9, schedule: constant}",
    )
    summary = train(config)
    data = load_data(config)
    chain = Chain(build_blocks(config, data.example)).double()
    chain.load_state_dict(initial(summary["run_dir"]))
    optimizer = torch.optim.SGD(chain[2].parameters(), lr=0.01, momentum=0.9)
    batches = TrainBatches(data.train, config.data.batch_size, derive_seed(config.seed, "order"), name=data.name)
    for t in range(summary["steps"]):
        x = batches.x(t).double()
        chain.zero_grad()
        ((chain(x) - x).square().sum() / len(x)).backward()
        optimizer.step()
    found = weights(summary["run_dir"])
    for key, expected in chain.state_dict().items():
        torch.testing.assert_close(found[key].double(), expected, rtol=0, atol=1e-12)


def test_a_job_is_told_where_the_runs_of_the_parts_are(small, views):
    found = dict(_paths(small(*JOINED, *views)))
    assert [f"{key}={path}" for key, path in found.items()] == views


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["model.code=5"],
            r"block 1 of \S+ does not fit block 1 of first of two_way as configured: it holds bias \(4,\), .*\(5, 6\)$",
        ),
        (["model.hidden=[6, 6]"], r"\S+ has 4 blocks with weights, first of two_way as configured 6$"),
        (["model.first=5", "objective.first=5"], r"block 0 of \S+ does not fit block 0 of first of two_way"),
    ],
)
def test_a_run_of_another_width_or_depth_is_named_with_its_part(small, views, overrides, said):
    with pytest.raises(ConfigError, match=r"^transfer\.parts\.first: " + said) as caught:
        train(small(*JOINED, "parallel.partition=null", *overrides, *views))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["transfer.parts.frist=x"],
            r"transfer\.parts: unknown part 'frist'; did you mean 'first'\? \(known: first, second\)",
        ),
        (["transfer.parts.first=nowhere"], r"transfer\.parts\.first: nowhere is no run folder with a checkpoint"),
        (["transfer.parts.first=3"], r"transfer\.parts\.first: expected the folder of a run, got 3"),
        (["transfer.parts.first=x", "transfer.run=y"], r"transfer\.parts: would replace weights of transfer\.run"),
        (
            ["transfer.parts.first=x", "pretrain.epochs=1"],
            r"pretrain\.epochs: 1 would replace the weights of transfer\.parts",
        ),
        (
            ["transfer.parts.first=x", "task=classification", "model={name: mlp}", "parallel.partition=null"],
            r"transfer\.parts: mlp has no parts that are nets of their own; models that have: two_way",
        ),
    ],
)
def test_what_is_no_part_or_no_run_is_one_line(small, overrides, said):
    with pytest.raises(ConfigError, match=r"^" + said):
        train(small(*JOINED, *overrides))


def test_a_run_of_several_nets_is_no_part(small, monkeypatch):
    theirs = {"generator.0.weight": torch.ones(2, 2), "discriminator.0.weight": torch.ones(2, 2)}
    monkeypatch.setattr(parts, "weights_of_run", lambda run, key: (Path(run), theirs))
    with pytest.raises(
        ConfigError, match=r"^transfer\.parts\.first: gan is a run of the nets generator, discriminator, "
    ):
        train(small(*JOINED, "transfer.parts.first=gan"))
