"""bf16 and fp16: weights and messages in float32, products in 16 bits."""

import re

import pytest
import torch
from torch import nn

from unlocked.config import load_config
from unlocked.errors import ConfigError, RunFailed
from unlocked.schemes.loss_scale import LossScale
from unlocked_models import Batch
from unlocked_models.memory.turing import TuringLayer


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


@pytest.mark.parametrize("controller", ["lstm", "feedforward"])
def test_a_turing_machine_keeps_its_memory_in_float32(controller):
    torch.manual_seed(0)
    machine = TuringLayer(3, controller, 4, (5, 3), (1, 2), 1, (0.0, 0.0, 0.0, 0.0), None)
    x, steps = torch.randn(2, 6, 3), []
    whole, state = machine.run(x, None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, short = machine.run(x, None, steps)
    assert {each.memory.dtype for each in steps} == {each.weights.dtype for each in steps} == {torch.float32}
    torch.testing.assert_close(out.float(), whole, atol=0.02, rtol=0.02)
    torch.testing.assert_close(short.float(), state, atol=0.02, rtol=0.02)


FP16 = {"model": {"name": "mlp", "hidden": [16, 14, 12]}, "parallel": {"modules": 2}}


@pytest.mark.parametrize("scheme", ["backprop", "dni", "cdni", "dfa", "local"])
def test_with_fp16_gradients_are_those_of_float32_and_do_not_depend_on_the_factor(lab, scheme):
    def moved(precision, factor=None):
        group = lab.start(
            **FP16,
            scheme={"name": scheme},
            optimizer={"name": "sgd", "lr": 1.0, "momentum": 0.0},
            train={"precision": precision},
        )
        before = lab.parameters(group)
        for module in group.modules:
            if factor:
                module.learner.loss_scale.factor = factor
        lab.train(group, 0, 1)
        after = lab.parameters(group)
        return {name: after[name] - before[name] for name in before}

    whole, short, other = moved("fp32"), moved("fp16"), moved("fp16", 2.0**10)
    for name, step in whole.items():
        assert torch.allclose(short[name], step, atol=2e-3 * float(step.abs().max()) + 1e-6), name
        assert torch.allclose(short[name], other[name], atol=2e-3 * float(step.abs().max()) + 1e-6), name


def test_small_gradients_live_in_fp16_by_their_factor(lab):
    """Of 1e-9, which float16 rounds to zero."""
    group = lab.start(model=FP16["model"], train={"precision": "fp16"})
    learner, x = group.modules[0].learner, torch.randn(8, 1, 8, 8)
    batch = Batch(x, torch.zeros(8, dtype=torch.long))

    def first_gradient():
        for p in learner.trainable:
            p.grad = None
        learner.run_chain(x, batch)[0].backward(torch.full((8, 5), 1e-9))
        return learner.trainable[0].grad

    assert float(first_gradient().abs().max()) > 1e-12
    learner.loss_scale.factor = 1.0
    assert not first_gradient().any()


def test_a_step_whose_gradients_overflow_is_left_out_and_halves_the_factor(lab):
    group = lab.start(**FP16, train={"precision": "fp16"})
    lower, upper = (module.learner for module in group.modules)
    before = lab.parameters(group)
    upper.loss_scale.factor = 2.0**40
    lab.train(group, 0, 1)
    after = lab.parameters(group)
    of_upper = [name for name in before if int(name.split(".")[0]) >= upper.spec.start]
    assert all(torch.equal(before[name], after[name]) for name in of_upper)
    assert upper.loss_scale.factor == 2.0**39
    assert all(p.grad is None or not p.grad.any() for p in (*lower.trainable, *upper.trainable))


def test_m_does_not_learn_from_a_target_that_overflowed(lab):
    group = lab.start(**FP16, scheme={"name": "dni"}, train={"precision": "fp16"})
    group.modules[1].learner.loss_scale.factor = 2.0**60
    lab.train(group, 0, 3)
    assert all(bool(p.isfinite().all()) for p in group.modules[0].learner.sg.parameters())


def test_a_replica_whose_target_overflowed_averages_with_the_others_and_no_m_learns(lab):
    group = lab.start(**FP16, scheme={"name": "dni"}, train={"precision": "fp16"})
    lower, averaged = group.modules[0].learner, []
    lower.reduce = lambda parameters: averaged.append([p.grad.clone() for p in parameters])
    lab.train(group, 0, 4)
    averaged.clear()
    lab.train(group, 4, 5)
    usual, before = len(averaged), [p.clone() for p in lower.sg.parameters()]
    absorb = lower.absorb
    lower.absorb = lambda t, message, ports: absorb(t, torch.full_like(message, torch.inf), ports)
    lab.train(group, 5, 6)
    assert len(averaged) == 2 * usual  # or the other replicas would wait for good
    assert any(not bool(gradient.isfinite().all()) for gradients in averaged[usual:] for gradient in gradients)
    assert all(torch.equal(p, old) for p, old in zip(lower.sg.parameters(), before, strict=True))


def test_the_factor_stays_a_number_that_can_be_divided_by():
    scale = LossScale([])
    for _ in range(1200):
        scale.stepped(overflow=True)
    assert scale.factor**-1 > 0
    assert torch.tensor(1.0) / scale.factor < torch.inf


def test_the_factor_rises_after_2000_steps_and_goes_on_from_a_checkpoint():
    scale = LossScale([])
    for _ in range(1999):
        scale.stepped(overflow=False)
    again = LossScale([])
    again.load_state(scale.state())
    assert again.factor == 2.0**16
    again.stepped(overflow=False)
    assert again.factor == 2.0**17


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["scheme.name=annealing"], "cannot be used with annealing: it compares losses"),
        (["scheme.name=denoise"], "cannot be used with denoise: every block"),
        (["optimizer.name=lbfgs", "data.batch_size=1000"], "lbfgs"),
        (["optimizer.clip_global=1", "parallel.modules=2", "scheme.name=backprop"], "optimizer.clip_global of all"),
        (["parallel.schedule=gpipe", "scheme.name=backprop", "parallel.modules=2"], "parallel.schedule=gpipe"),
    ],
)
def test_what_fp16_cannot_do_is_refused_with_the_reason(changes, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        load_config("quickstart", ["train.precision=fp16", *changes])


def test_a_layer_without_a_kernel_for_float16_ends_in_a_line_with_the_key(lab):
    class NoKernel(nn.Linear):
        def forward(self, x):
            raise RuntimeError("\"made_up\" not implemented for 'Half'")

    group = lab.start(model=FP16["model"], train={"precision": "fp16"})
    learner, x = group.modules[0].learner, torch.randn(8, 1, 8, 8)
    learner.chain[0] = NoKernel(4, 4)
    with pytest.raises(RunFailed, match=r"train\.precision: fp16, but a layer of module 0 .* use fp32"):
        learner.run_chain(x, Batch(x, torch.zeros(8, dtype=torch.long)))
