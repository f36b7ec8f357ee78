"""A builder that yields its blocks: each is drawn from a seed of its own, and a worker makes only those it trains."""

import pytest
import torch
from torch import nn

from unlocked import train
from unlocked.plan.blocks import build_blocks, build_learner, build_net
from unlocked.seeding import derive_seed
from unlocked_models import MODELS, register_model

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def own(monkeypatch):
    for kept in ("_entries", "_facts"):
        monkeypatch.setattr(MODELS, kept, dict(getattr(MODELS, kept)))

    @register_model("yields")
    def yields(in_shape, n_outputs, width: int = 8, norm: bool = True, more: bool = False):
        yield nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.BatchNorm1d(width) if norm else nn.Identity())
        yield nn.Sequential(nn.Linear(width, width + more), nn.ReLU())
        yield nn.Linear(width + more, n_outputs)

    @register_model("tied")
    def tied(in_shape, n_outputs):
        first = nn.Linear(64, 8)
        yield nn.Sequential(nn.Flatten(), first)
        second = nn.Linear(8, 8)
        yield second
        last = nn.Linear(8, n_outputs)
        last.weight.data.copy_(second.weight[:n_outputs])
        yield last

    @register_model("lists")
    def lists(in_shape, n_outputs):
        return [nn.Sequential(nn.Flatten(), nn.Linear(64, 8)), nn.Linear(8, n_outputs)]

    @register_model("shares")
    def shares(in_shape, n_outputs):
        table = nn.BatchNorm1d(8, affine=False)
        yield nn.Sequential(nn.Flatten(), nn.Linear(64, 8), table)
        yield nn.Sequential(table, nn.Linear(8, n_outputs))


def planned(lab, name, modules, **options):
    return lab.plan(model={"name": name} | options, parallel={"modules": modules})


@pytest.mark.parametrize("modules", [1, 2, 3])
def test_any_cut_starts_from_the_same_bits(lab, modules):
    plan = planned(lab, "yields", modules)
    whole = nn.Sequential(*build_blocks(plan.config, plan.example)).state_dict()
    for spec in plan.specs:
        learner = build_learner(plan, spec.index, CPU)
        for key, value in nn.Sequential(*learner.chain).state_dict().items():
            block, _, name = key.partition(".")
            assert torch.equal(value, whole[f"{int(block) + spec.start}.{name}"])


def test_blocks_of_other_modules_have_no_memory(lab):
    plan = planned(lab, "yields", 3)
    devices = [[next(block.parameters()).device.type for block in build_net(plan, [k])] for k in range(3)]
    assert devices == [["cpu", "meta", "meta"], ["meta", "cpu", "meta"], ["meta", "meta", "cpu"]]
    assert all(not p.is_meta for block in build_net(plan, range(3)) for p in block.parameters())


def test_a_block_is_drawn_the_same_whatever_the_others_are(lab):
    one, other = planned(lab, "yields", 1), planned(lab, "yields", 1, norm=False, more=True)
    first, wider = build_blocks(one.config, one.example), build_blocks(other.config, other.example)
    assert torch.equal(first[0][1].weight, wider[0][1].weight)
    assert not torch.equal(first[0][1].weight[:, :8], first[1][0].weight)


@pytest.mark.parametrize("name", ["tied", "shares"])
def test_a_block_that_needs_values_of_another_modules_has_the_net_built_whole(lab, name):
    plan = planned(lab, name, 2)
    whole = nn.Sequential(*build_blocks(plan.config, plan.example)).state_dict()
    learner = build_learner(plan, 1, CPU)
    found = nn.Sequential(*learner.chain).state_dict()
    start = plan.specs[1].start
    for key, value in found.items():
        block, _, rest = key.partition(".")
        assert torch.equal(value, whole[f"{int(block) + start}.{rest}"])


def test_a_list_of_blocks_is_drawn_one_after_the_other_from_the_seed_of_the_run(lab):
    plan = planned(lab, "lists", 2)
    blocks = build_net(plan, [1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(plan.config.seed, "init"))
        drawn = nn.Linear(64, 8), nn.Linear(8, plan.example.n_outputs)
    lab.assert_equal(blocks[0][1].state_dict(), drawn[0].state_dict())
    lab.assert_equal(blocks[1].state_dict(), drawn[1].state_dict())


def test_a_model_that_yields_trains_under_a_scheme(small):
    summary = train(small("model={name: yields}", "parallel.modules=3", "scheme.name=dfa", "train.epochs=1"))
    assert summary["modules"] == 3
    assert summary["metrics"]["test/loss"] < 3
