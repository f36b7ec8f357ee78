"""What good configurations come to: layers, numbers, references, and the way back to YAML."""

from typing import Literal

import pytest
from torch import nn

from unlocked.config import Config, from_tree, load_config, to_dict, to_yaml
from unlocked.errors import ConfigError
from unlocked_models import MODELS, register_model

BASE = """\
seed: 4
data: {name: digits, batch_size: 32}
model: {name: mlp, hidden: [8, 8], dropout: 0.1}
scheme: {name: cdni, lag: 3, sg: {hidden: [16]}}
optimizer: {name: adamw, lr: 1e-3, betas: [0.9, 0.95]}
"""


@pytest.fixture
def base(tmp_path):
    path = tmp_path / "base.yaml"
    path.write_text(BASE)
    return path


def test_a_configuration_goes_to_yaml_and_back_unchanged(base, tmp_path):
    config = load_config(base, ["train.patience=3", "parallel.partition=[1, 2]", "parallel.modules=2"])
    again = tmp_path / "again.yaml"
    again.write_text(to_yaml(config))
    assert load_config(again) == config
    assert from_tree(to_dict(config)) == config
    assert isinstance(from_tree(to_dict(config)), Config)
    assert load_config(again, ["seed=5"]) != config


@pytest.mark.parametrize(
    ("text", "value"), [("1e-3", 1e-3), ("1E+2", 100.0), ("2.5e-1", 0.25), (".5", 0.5), ("1", 1.0)]
)
def test_numbers_are_read_as_people_write_them(base, text, value):
    lr = load_config(base, [f"optimizer.lr={text}"]).optimizer.lr
    assert isinstance(lr, float)
    assert lr == value
    base.write_text(BASE.replace("1e-3", text))
    assert load_config(base).optimizer.lr == value


def test_a_word_that_looks_like_a_number_in_part_stays_a_word(base):
    assert [load_config(base, [f"name={name}"]).name for name in ("1e-3x", "e3", "v1", "off", "no")] == [
        "1e-3x",
        "e3",
        "v1",
        "off",
        "no",
    ]


def test_a_reference_to_another_key_is_followed(base):
    config = load_config(base, ["data.seed=${seed}", "name=run-${seed}-${model.name}"])
    assert config.data.seed == 4
    assert config.name == "run-4-mlp"
    assert load_config(base, ["data.seed=${seed}", "seed=9"]).data.seed == 9


def test_the_last_override_wins(base):
    assert load_config(base, ["seed=1", "seed=2"]).seed == 2


def test_another_data_set_drops_the_options_of_the_one_before_and_the_same_one_keeps_them():
    options = {"length": 24, "tokens": "word", "vocabulary": 2000}
    assert load_config("recurrent/gru").data.options == options
    assert load_config("recurrent/gru", ["data.name=docstrings"]).data.options == options
    assert load_config("recurrent/gru", ["data.name=digits"]).data.options == {}
    assert load_config("recurrent/gru", ["data.name=docstrings", "data.options.length=8"]).data.options["length"] == 8


def test_another_model_drops_the_options_of_the_one_before_and_the_same_one_keeps_them(base):
    assert load_config(base, ["model.name=lenet5"]).model == {"name": "lenet5"}
    changed = load_config(base, ["model.name=lenet5", "model.dropout=0.5"]).model
    assert changed == {"name": "lenet5", "dropout": 0.5}
    kept = load_config(base, ["model.name=mlp", "model.dropout=0.5"]).model
    assert kept == {"name": "mlp", "hidden": [8, 8], "dropout": 0.5}


def test_a_file_gives_only_what_differs_from_the_one_it_extends(base, tmp_path):
    (tmp_path / "child.yaml").write_text("extends: base\nseed: 7\nscheme: {name: dni}\n")
    (tmp_path / "grandchild.yaml").write_text("extends: child\nmodel: {name: cnn, kernel: 5}\n")
    config = load_config(tmp_path / "grandchild.yaml", ["scheme.lag=1"])
    assert (config.seed, config.data.batch_size) == (7, 32)
    assert (config.scheme.name, config.scheme.lag, config.scheme.sg.hidden) == ("dni", 1, [16])
    assert config.model == {"name": "cnn", "kernel": 5}


def test_lists_are_replaced_and_not_appended_to(base):
    assert load_config(base, ["model.hidden=[4]"]).model["hidden"] == [4]


@pytest.mark.parametrize("lag", ["0", "3", "auto"])
def test_a_scheme_that_can_be_late_takes_any_lag(base, lag):
    for scheme in ("dni", "cdni", "dfa"):
        assert str(load_config(base, [f"scheme.name={scheme}", f"scheme.lag={lag}"]).scheme.lag) == lag


def test_options_of_a_model_of_ones_own_are_checked_by_its_annotations(base, monkeypatch):
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))
    monkeypatch.setattr(MODELS, "_facts", dict(MODELS._facts))

    @register_model("annotated")
    def annotated(
        in_shape,
        n_outputs,
        widths: list[int] | None = None,
        table: dict[str, int] | None = None,
        kind: Literal["a", "b"] = "a",
        rate: float = 0.5,
        free=None,
    ):
        return nn.Linear(in_shape[0], n_outputs)

    def options(*overrides):
        return load_config(base, ["model.name=annotated", *overrides]).model

    good = [
        "model.widths=[3, 4]",
        "model.widths=null",
        "model.table={x: 3}",
        "model.kind=b",
        "model.rate=1",
        "model.free=[anything, 1]",
    ]
    bad = ["model.widths=[a]", "model.widths=3", "model.table={x: y}", "model.kind=c", "model.rate=true"]
    for override in good:
        assert options(override)
    for override in bad:
        with pytest.raises(ConfigError, match=rf"model\.{override[6:].partition('=')[0]}: .* is not of type"):
            options(override)


def test_a_whole_number_for_a_float_option_is_that_float():
    whole, real = (load_config("quickstart", [f"model.dropout={text}"]) for text in ("0", "0.0"))
    assert to_yaml(whole) == to_yaml(real)
    assert type(whole.model["dropout"]) is float
    assert type(whole.model["hidden"][0]) is int
