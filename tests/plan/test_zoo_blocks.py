"""Models of the zoo that are built block by block: a worker of a large one makes only its own."""

import pytest
import torch

from unlocked.plan.blocks import build_blocks
from unlocked_models import MODELS
from unlocked_models.contract.batch import Example

SMALL = ("vgg_small", "alexnet_small", "resnet_small", "inception_small")
LARGE = {"vgg": 16, "alexnet": 8, "resnet": 10, "inception": 13}  # blocks


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("init", ["default", "kaiming"])
def test_every_block_is_drawn_the_same_alone_and_among_the_others(lab, name, init):
    model = {"name": name, "init": init} | ({} if name == "alexnet_small" else {"width": 0.25})
    model |= {"hidden": [16], "width": 0.1} if name == "alexnet_small" else {}
    config, example = lab.config(model=model), Example((3, 16, 16), 5)
    whole = build_blocks(config, example)
    for i, block in enumerate(whole):
        alone = build_blocks(config, example, only=[i])
        assert [next((p.is_meta for p in each.parameters()), True) for each in alone] == [
            k != i for k in range(len(whole))
        ]
        lab.assert_equal(alone[i].state_dict(), block.state_dict())


@pytest.mark.parametrize("name", SMALL)
def test_called_as_a_function_it_gives_all_blocks_and_refuses_at_once(name):
    make = MODELS.get(name)
    assert all(isinstance(block, torch.nn.Module) for block in make((3, 16, 16), 5))
    with pytest.raises(ValueError, match=name):
        make((16,), 5)


@pytest.mark.parametrize("name", LARGE)
def test_of_a_large_model_the_first_worker_has_memory_for_its_own(lab, name):
    config, example = lab.config(model={"name": name}), Example((3, 224, 224), 1000)
    blocks = build_blocks(config, example, only=[0])
    assert len(blocks) == LARGE[name]
    held = [sum(p.numel() for p in block.parameters() if not p.is_meta) for block in blocks]
    assert held[0] > 0
    assert set(held[1:]) == {0}
    assert sum(p.numel() for block in blocks for p in block.parameters()) > 5_000_000
