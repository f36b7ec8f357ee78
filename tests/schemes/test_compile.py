"""Compiled blocks: the same numbers, evaluation as it is, and one line where nothing can be compiled."""

import shutil

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from unlocked import engines
from unlocked.config import load_config
from unlocked.errors import ConfigError, RunFailed
from unlocked.plan import blocks as plan_blocks
from unlocked_models import Chain
from unlocked_models.contract import compiled

MLP = {"name": "mlp", "hidden": [12, 10, 8], "norm": "batch", "dropout": 0.2}
LSTM = {"name": "lstm", "hidden": [6], "embedding": 4, "carry": True}


@pytest.fixture
def traced(monkeypatch):
    """Compiled as far as needs no compiler of C++."""
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    for place in (engines, plan_blocks):
        monkeypatch.setattr(place, "missing", lambda device: None)


@pytest.fixture
def graphs(traced):
    """How many there are since the test began; others keep theirs, and are quicker for it."""
    torch._dynamo.reset()
    counters.clear()
    return lambda: counters["stats"]["unique_graphs"]


def trained(lab, data=None, /, **tree):
    """Without and with compiled blocks."""
    pair = [lab.start(data, **tree), lab.start(data, **tree, train={"compile": True})]
    losses = [lab.train(group, 0, 6) for group in pair]
    return pair, losses


@pytest.mark.parametrize(
    "scheme", ["backprop", "cdni", "dfa", "local", {"name": "dfa", "lag": 0}, "denoise", "annealing", "frozen"]
)
def test_every_weight_learns_what_it_does_without(lab, traced, scheme):
    scheme = {"name": scheme} if isinstance(scheme, str) else scheme
    alone = scheme["name"] in ("denoise", "annealing")
    model = {"name": "mlp", "hidden": [12, 10]} if alone else MLP
    pair, (plain, fast) = trained(lab, model=model, scheme=scheme, parallel={"modules": 1 if alone else 2})
    assert all(block._compiled_call_impl for module in pair[1].modules for block in module.learner.chain)
    assert fast == pytest.approx(plain, abs=1e-12)
    lab.assert_close(lab.parameters(pair[1]), lab.parameters(pair[0]), 1e-12)
    lab.assert_close(lab.weights(pair[1]), lab.weights(pair[0]), 1e-12)


def test_layers_that_go_on_where_they_ended_do_so(lab, traced):
    stream = lab.stream(n=32)
    pair, _ = trained(
        lab, stream, data={"validation": 0.0}, model=LSTM, scheme={"name": "cdni"}, parallel={"modules": 2}
    )
    lab.assert_close(lab.parameters(pair[1]), lab.parameters(pair[0]), 1e-12)


def test_evaluation_runs_blocks_as_they_are_and_saved_weights_keep_their_names(graphs):
    chain = Chain([nn.Linear(6, 4), nn.Sequential(nn.Linear(4, 3), nn.Tanh())])
    names = list(chain.state_dict())
    chain.compile_blocks()
    assert list(chain.state_dict()) == names
    chain.eval()
    chain(torch.randn(5, 6))
    assert graphs() == 0
    chain.train()
    chain(torch.randn(5, 6)).sum().backward()
    assert graphs() == 2


def test_more_blocks_than_a_compiler_keeps_by_default_are_all_compiled(graphs):
    widths = range(3, 13)
    chain = Chain([nn.Linear(n, n + 1) for n in widths]).compile_blocks()
    chain(torch.randn(4, widths[0])).sum().backward()
    assert graphs() == len(widths)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["scheme.name=dfa", "scheme.feedback.granularity=layer"], "cannot be used with dfa: feedback of"),
        (["scheme.name=backprop", "parallel.schedule=gpipe"], "the pipeline of parallel.schedule=gpipe may take"),
        (["scheme.name=backprop", "parallel.engine=deepspeed"], "parallel.engine=deepspeed gathers weights"),
    ],
)
def test_what_cannot_be_compiled_is_refused(options, said):
    if "parallel.engine=deepspeed" in options:
        pytest.importorskip("deepspeed")
    with pytest.raises(ConfigError, match=f"train.compile: true.* {said}"):
        load_config("quickstart", ["train.compile=true", *options])


@pytest.mark.parametrize(
    ("preset", "said"),
    [
        ("adversarial/wgan", "phases of gan may learn from the slope of a slope"),
        ("boltzmann/rbm", "cannot be used with cd: it samples"),
    ],
)
def test_models_that_cannot_be_compiled_are_refused(preset, said):
    with pytest.raises(ConfigError, match=f"train.compile: true.*{said}"):
        load_config(preset, ["train.compile=true"])


def test_without_a_compiler_nothing_starts(lab, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        ConfigError, match=r"train\.compile: true, but .*\(no-such-compiler\): install one \(apt install g"
    ):
        lab.plan(model=MLP, train={"compile": True})


def test_what_the_compiler_says_is_one_line(lab, traced, monkeypatch):
    def fails(graph, inputs):
        raise ValueError("no space left\nfor kernels")

    monkeypatch.setattr(compiled, "BACKEND", fails)
    group = lab.start(model=MLP, train={"compile": True})
    with pytest.raises(RunFailed, match=r"^train\.compile: torch\.compile failed: .*no space left") as raised:
        lab.train(group, 0, 1)
    assert "\n" not in str(raised.value)


@pytest.mark.slow("compiles C++")
@pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler of C++")
def test_code_of_torch_s_own_compiler_gives_the_same_numbers(lab):
    pair, (plain, fast) = trained(lab, model=MLP, scheme={"name": "cdni"}, parallel={"modules": 2})
    assert fast == pytest.approx(plain, abs=1e-8)
    lab.assert_close(lab.parameters(pair[1]), lab.parameters(pair[0]), 1e-8)
