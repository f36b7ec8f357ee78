"""`init`: weights of any model by the name of an initialiser, the same however the net is cut."""

import pytest
import torch

from unlocked import load_config
from unlocked.config import to_dict
from unlocked.errors import ConfigError
from unlocked.plan.blocks import build_blocks
from unlocked.tracking import flatten
from unlocked.tracking.identity import config_hash
from unlocked_models import Example

IMAGE, TOKENS = Example((1, 8, 8), 10), Example((6,), 10, vocabulary=12)


def built(*overrides, example=IMAGE, only=None):
    return build_blocks(load_config("quickstart", list(overrides)), example, only=only)


@pytest.mark.parametrize(
    ("model", "example"),
    [("mlp", IMAGE), ("cnn", IMAGE), ("lstm", IMAGE), ("transformer", TOKENS), ("conv_autoencoder", IMAGE)],
)
def test_any_model_begins_as_it_is_told(model, example):
    for block in built(f"model={{name: {model}}}", "init={name: constant, value: 0.25}", example=example):
        for layer in block.modules():
            if not isinstance(layer, torch.nn.Embedding):
                weights = [p for name, p in layer.named_parameters(recurse=False) if name.startswith("weight")]
                assert all((weight == 0.25).all() for weight in weights if weight.dim() > 1)


def test_a_worker_draws_of_its_own_blocks_what_the_whole_net_has():
    overrides = "model={name: mlp, hidden: [8, 8]}", "init.name=he"
    whole, mine = built(*overrides), built(*overrides, only=[1])
    assert mine[0][1].weight.is_meta
    assert torch.equal(whole[1][0].weight, mine[1][0].weight)
    assert not torch.equal(whole[1][0].weight, built("model={name: mlp, hidden: [8, 8]}")[1][0].weight)
    assert not torch.equal(whole[1][0].weight, built(*overrides, "seed=1")[1][0].weight)


def test_default_is_what_the_model_does_by_itself():
    for one, other in zip(built("init.name=default"), built(), strict=True):
        for a, b in zip(one.parameters(), other.parameters(), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["init.name=hee"], "init.name: unknown initialiser 'hee'; did you mean 'he'? (known: constant, default, he, "),
        (["init.std=1"], "init.name: unknown initialiser None (known: constant, "),
        (["init.name=he", "init.std=1"], "init.std: unknown option of he 'std'"),
        (["init.name=he", "init.distribution=norml"], "init: unknown distribution 'norml'; did you mean 'normal'?"),
        (["init.name=normal", "init.std=-1"], "init: std must be at least 0 and finite, got -1"),
        (["init.name=normal", "init.std=wide"], "init.std: 'wide' is not of type float"),
        (["init.name=sparse", "init.sparsity=1.0"], "init: sparsity must be at least 0 and less than 1, got 1.0"),
        (
            ["init.name=zero", "model={name: mlp, init: kaiming}"],
            "init.name: zero would replace the weights of model.init kaiming; set one of them",
        ),
    ],
)
def test_what_cannot_begin_so_is_one_line(overrides, line):
    with pytest.raises(ConfigError) as error:
        load_config("quickstart", overrides)
    assert str(error.value).startswith(line)


def test_another_name_drops_the_options_of_the_one_before(tmp_path):
    path = tmp_path / "wide.yaml"
    path.write_text("extends: quickstart\ninit: {name: normal, std: 1}\n")
    assert load_config(str(path)).init == {"name": "normal", "std": 1.0}
    assert load_config(str(path), ["init.name=he"]).init == {"name": "he"}


def test_runs_without_the_key_are_of_one_group_with_those_that_leave_it_empty():
    config = flatten(to_dict(load_config("quickstart")))
    assert config_hash(config, {}) == config_hash({k: v for k, v in config.items() if k != "init"}, {})
