"""bf16: weights and messages in float32, products in bfloat16."""

import pytest
import torch
from torch import nn

from unlocked_models import Batch


@pytest.mark.parametrize("scheme", ["backprop", "cdni", "dfa", "frozen"])
def test_the_layers_of_every_module_compute_in_bfloat16_and_keep_weights_in_float32(lab, scheme):
    group = lab.start(
        model={"name": "mlp", "hidden": [16, 14, 12]},
        scheme={"name": scheme},
        parallel={"modules": 2},
        train={"precision": "bf16"},
    )
    seen = []
    for module in group.modules:
        for layer in module.learner.chain.modules():
            if isinstance(layer, nn.Linear):
                layer.register_forward_hook(lambda layer, given, out: seen.append(out.dtype))
    lab.train(group, 0, 2)
    assert seen == [torch.bfloat16] * 4 * 2
    assert {p.dtype for module in group.modules for p in module.learner.chain.parameters()} == {torch.float32}


def test_a_module_s_output_is_torch_s_own_autocast(lab):
    group = lab.start(model={"name": "mlp", "hidden": [16, 14, 12]}, train={"precision": "bf16"})
    learner, x = group.modules[0].learner, torch.randn(8, 1, 8, 8)
    out, _ = learner.run_chain(x, Batch(x, torch.zeros(8, dtype=torch.long)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = learner.chain(x).float()
    assert out.dtype == torch.float32
    assert torch.equal(out, expected)
    assert not torch.equal(out, learner.chain(x))  # what float32 gives
