"""Blocks that hold together because one reads what another made beside h: where a cut may lie, and what is said."""

import pytest
import torch
from torch import nn

from unlocked import load_config, register_model
from unlocked.errors import ConfigError
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.plan.ties import cuts_of, sizes_of


class Keeps(nn.Module):
    def __init__(self, store, name, width):
        super().__init__()
        self.store, self.name, self.linear = store, name, nn.Linear(width, width)

    def forward(self, h):
        self.store[self.name] = self.linear(h).relu()
        return self.store[self.name]


class Reads(Keeps):
    def forward(self, h):
        return self.linear(h + self.store[self.name])


class Carries(nn.Module):
    """`(batch, 2 width)`: what it works on, and what it carries."""

    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, h):
        h, carried = h.chunk(2, 1)
        return torch.cat([self.linear(h).relu(), carried], 1)


@pytest.fixture
def plan():
    """`plan(kind, *overrides)`: of a U-Net of 6 blocks, whose skip passes from block 1 to block 3."""

    @register_model("kept_u")
    def kept(in_shape, n_outputs):
        store = {}
        yield nn.Sequential(nn.Flatten(), nn.Linear(64, 8))
        yield Keeps(store, "skip", 8)
        yield nn.Linear(8, 8)
        yield Reads(store, "skip", 8)
        yield nn.Linear(8, 8)
        yield nn.Linear(8, n_outputs)

    @register_model("carried_u")
    def carried(in_shape, n_outputs):
        yield nn.Sequential(nn.Flatten(), nn.Linear(64, 16))
        for _ in range(4):
            yield Carries(8)
        yield nn.Linear(16, n_outputs)

    def make(kind, *overrides):
        config = load_config("quickstart", [f"model.name={kind}", "parallel.engine=inprocess", *overrides])
        return make_plan(config, load_data(config))

    return make


def test_a_cut_is_balanced_over_the_places_that_are_left(plan):
    for modules in (1, 2, 3, 4):
        sizes = [spec.stop - spec.start for spec in plan("kept_u", f"parallel.modules={modules}").specs]
        assert sum(sizes) == 6
        stops = {sum(sizes[:k]) for k in range(1, modules)}
        assert stops <= {1, 4, 5}
    assert sizes == [1, 3, 1, 1]


def test_more_modules_than_that_is_one_line_that_names_the_places(plan):
    with pytest.raises(ConfigError) as error:
        plan("kept_u", "parallel.modules=5")
    assert str(error.value) == (
        "parallel.modules: 5, but block 3 reads what block 1 made beside h, which no other module has; cuts may lie "
        "after blocks 0, 3, 4; a skip that is carried in h can be cut anywhere (docs/skips.md)"
    )


def test_a_given_cut_between_them_is_refused(plan):
    with pytest.raises(ConfigError, match=r"^parallel.partition: \[2, 4\] cuts after block 1, but block 3 reads what"):
        plan("kept_u", "parallel.modules=2", "parallel.partition=[2,4]")


def test_a_skip_that_is_carried_can_be_cut_anywhere(plan):
    assert [spec.stop for spec in plan("carried_u", "parallel.modules=6").specs] == [1, 2, 3, 4, 5, 6]


def test_the_net_that_holds_together_has_the_same_numbers_in_any_cut():
    from unlocked.testing import ModelContract

    contract = type("Kept", (ModelContract,), {"model": {"name": "kept_u"}})()
    contract.test_a_cut_changes_no_number_under_backprop()
    contract.test_it_trains_as_one_module()


def test_cuts_and_sizes():
    assert cuts_of(5, []) == [0, 1, 2, 3]
    assert cuts_of(5, [(0, 2), (1, 3)]) == [3]
    config = load_config("quickstart", ["parallel.partition=null"])
    assert sizes_of(config, [1.0, 1, 1, 1, 9], [0.0] * 5, [(0, 2)]) == [4, 1]


def test_our_models_hold_nothing_beside_h(monkeypatch):
    """The pass that finds it is not made of them; so it is made here."""
    from unlocked.plan import ties
    from unlocked_models.contract.batch import Example
    from unlocked_models.contract.chain import build

    monkeypatch.setattr(ties.MODELS.get("mlp"), "__module__", "mine")
    config = load_config("quickstart")
    assert ties.ties_of(config, build("mlp", (64,), 10, hidden=[8, 8, 8]), Example((64,), 10)) == []


def test_a_dry_run_names_the_places(plan, capsys):
    from unlocked.cli.main import main

    assert main(["train", "quickstart", "model.name=kept_u", "parallel.modules=2", "--dry-run"]) == 0
    assert "block 3 reads what block 1 made beside h" in " ".join(capsys.readouterr().out.split())
