"""Every model of the zoo is built block by block: a worker makes only its own, drawn as among the others."""

import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import unlocked.bench.measured.transformer  # noqa: F401  (registers its model)
from unlocked.plan.blocks import build_blocks, build_net, count_parameters
from unlocked_models import MODELS
from unlocked_models.contract.batch import Example
from unlocked_models.contract.chain import call_builder
from unlocked_models.contract.nets import nets_of
from unlocked_models.contract.registry import GIVEN

VECTORS, IMAGES, SERIES = Example((12,), 5), Example((3, 16, 16), 5), Example((9, 4), 5)
PHOTOS = Example((3, 80, 80), 5)
TEXT = Example((9,), 5, vocabulary=7, y_shape=(9,))
MASKED = Example((9,), 7, vocabulary=7, y_shape=(9,), masked=True)
FAMILIES = {  # data that a model is given that is not named below
    "mlp": VECTORS,
    "cnn": IMAGES,
    "recurrent": SERIES,
    "transformer": SERIES,
    "seq2seq": TEXT,
    "autoencoder": VECTORS,
    "adversarial": IMAGES,
    "boltzmann": VECTORS,
    "embedding": TEXT,
    "graph": SERIES,
    "selfsupervised": Example((2, 1, 8, 8), 5),
    "memory": SERIES,
    "modular": VECTORS,
    "recursive": SERIES,
    "evolved": Example((1, 8, 8), 5),
    "associative": Example((12,), 12),
}
OTHER = {"rnn": TEXT, "gpt": TEXT, "bert": MASKED, "vit": IMAGES, "conv_autoencoder": IMAGES}
OTHER |= {"cbow": Example((9, 4), 5, vocabulary=7, y_shape=(9,)), "glove": Example((2,), 1, vocabulary=7)}
OTHER |= {"growing_gan": Example((1, 8, 8), 5)}
OTHER |= dict.fromkeys(("alexnet", "vgg", "inception", "resnet"), PHOTOS)
SMALL: dict[str, dict[str, Any]] = {  # options of the models whose defaults are large, or have few blocks
    "mlp": {"hidden": [8, 6], "norm": "batch"},
    "alexnet": {"width": 0.02},
    "alexnet_small": {"width": 0.1, "hidden": [16]},
    "vgg": {"width": 0.02},
    "vgg_small": {"width": 0.1},
    "inception": {"width": 0.05},
    "inception_small": {"width": 0.1},
    "resnet": {"width": 0.1},
    "resnet_small": {"width": 0.1},
    "rnn": {"carry": True},
    "lstm": {"bidirectional": True},
    "bench_transformer": {"width": 8, "heads": 2, "blocks": 2},
    "seq2seq": {"decoder": 2},
    "transformer_seq2seq": {"norm": "pre"},
    "autoencoder": {"contractive": 0.01},
    "vae": {"hidden": [8, 6]},
    "rbm": {"hidden": [8, 6]},
}
ZOO = [name for name in MODELS if MODELS.get(name).__module__.startswith("unlocked")]
NETS = [(name, net) for name in ZOO for net in MODELS.facts(name)["nets"] or (None,)]
LARGE = {"vgg": 16, "alexnet": 8, "resnet": 10, "inception": 13}  # blocks
REFUSED: dict[Any, list[Any]] = {
    int: [0, -1, 3],
    float: [-1.0, 2.0],
    str: ["nonsense"],
    bool: [True, False],
    list[int]: [[], [0]],
}


def example_of(name: str) -> Example:
    return OTHER.get(name) or FAMILIES[MODELS.facts(name)["family"]]


def returned(name: str, net: str | None, **options: Any) -> Any:
    """By the builder, of this net."""
    example, given = example_of(name), {**SMALL.get(name, {}), **options}
    if net is not None:
        return nets_of(name, example.in_shape, example.n_outputs, example=example, **given)[net].blocks
    return call_builder(name, example.in_shape, example.n_outputs, example, given)


@pytest.mark.parametrize(("name", "net"), NETS)
def test_every_builder_yields_its_blocks(name, net):
    assert inspect.isgenerator(returned(name, net))


@pytest.mark.parametrize(("name", "net"), NETS)
def test_a_worker_builds_its_own_block_alone_and_draws_it_as_among_the_others(lab, name, net):
    example = example_of(name)
    scheme = {
        "name": {"boltzmann": "cd", "evolved": "evolution", "associative": "hebbian"}.get(
            MODELS.facts(name)["family"], "backprop"
        )
    }
    config = lab.config(model={"name": name} | SMALL.get(name, {}), scheme=scheme)
    whole = build_blocks(config, example, net)
    specs = [SimpleNamespace(start=i, stop=i + 1) for i in range(len(whole))]
    plan: Any = SimpleNamespace(
        config=config, example=example, net=net, specs=specs, parameters=count_parameters(whole)
    )
    for i, block in enumerate(whole):
        blocks = build_net(plan, [i])
        held = [k for k, other in enumerate(blocks) if any(not p.is_meta for p in other.parameters())]
        assert held == ([i] if plan.parameters[i] else [])
        lab.assert_equal(blocks[i].state_dict(), block.state_dict())


@pytest.mark.parametrize(("name", "net"), NETS)
def test_what_no_net_can_be_built_with_is_refused_before_the_first_block(name, net):
    _, _, *options = inspect.signature(MODELS.get(name), eval_str=True).parameters.values()
    for option in options:
        for value in [] if option.name in GIVEN else REFUSED[option.annotation]:
            whole = refusal(lambda given: list(returned(name, net, **given)), {option.name: value})
            first = refusal(lambda given: next(returned(name, net, **given)), {option.name: value})
            assert first == whole


def refusal(build: Callable[[dict[str, Any]], object], options: dict[str, Any]) -> str | None:
    try:
        with torch.device("meta"):
            build(options)
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", [name for name, net in NETS if net is None])
def test_called_as_a_function_it_gives_all_blocks_and_refuses_at_once(name):
    example, make = example_of(name), MODELS.get(name)
    given = {key: getattr(example, key) for key in GIVEN if key in inspect.signature(make).parameters}
    blocks = make(example.in_shape, example.n_outputs, **given, **SMALL.get(name, {}))
    assert isinstance(blocks, list)
    assert all(isinstance(block, torch.nn.Module) for block in blocks)


@pytest.mark.parametrize("name", LARGE)
def test_of_a_large_model_the_first_worker_has_memory_for_its_own(lab, name):
    config, example = lab.config(model={"name": name}), Example((3, 224, 224), 1000)
    blocks = build_blocks(config, example, only=[0])
    assert len(blocks) == LARGE[name]
    held = [sum(p.numel() for p in block.parameters() if not p.is_meta) for block in blocks]
    assert held[0] > 0
    assert set(held[1:]) == {0}
    assert sum(p.numel() for block in blocks for p in block.parameters()) > 5_000_000
