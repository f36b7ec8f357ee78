"""A preset that trains every scheme at its own rate."""

import pytest

from unlocked.config import load_config, to_yaml
from unlocked.config.load import with_values
from unlocked.errors import ConfigError

PRESET = """
extends: quickstart
optimizer: {lr: 1.0e-3}
schemes:
  dfa: {optimizer: {lr: 3.0e-4, betas: [0.9, 0.99]}}
  cdni: {scheme: {sg: {hidden: [48]}}}
"""


@pytest.fixture
def preset(tmp_path):
    def make(text=PRESET):
        path = tmp_path / "own.yaml"
        path.write_text(text)
        return str(path)

    return make


def values(config):
    return config.optimizer.lr, config.optimizer.betas, config.scheme.sg.hidden


OWN = {
    "backprop": (1e-3, None, []),
    "dfa": (3e-4, [0.9, 0.99], []),
    "cdni": (1e-3, None, [48]),
    "frozen": (1e-3, None, []),
}


@pytest.mark.parametrize("scheme", OWN)
def test_every_scheme_gets_its_own_values(preset, scheme):
    base = [f"scheme.name={scheme}", "parallel.modules=2"]
    config = load_config(preset(PRESET + "scheme: {sg: {hidden: []}}"), base)
    assert values(config) == OWN[scheme]


@pytest.mark.parametrize("before", OWN)
@pytest.mark.parametrize("after", OWN)
def test_going_from_one_scheme_to_another_leaves_nothing_behind(preset, before, after):
    config = load_config(preset(PRESET + "scheme: {sg: {hidden: []}}"), [f"scheme.name={before}"])
    assert values(with_values(config, {"scheme.name": after}, "study")) == OWN[after]


def test_the_command_line_and_a_study_have_the_last_word(preset):
    config = load_config(preset(), ["scheme.name=dfa", "optimizer.lr=0.5"])
    assert config.optimizer.lr == 0.5
    assert with_values(config, {"scheme.name": "backprop"}, "study").optimizer.lr == 0.5
    assert with_values(config, {"scheme.name": "cdni", "scheme.sg.hidden": [7]}, "study").scheme.sg.hidden == [7]


def test_the_resolved_configuration_reads_back_as_itself(preset, tmp_path):
    config = load_config(preset(), ["scheme.name=dfa"])
    written = tmp_path / "resolved.yaml"
    written.write_text(to_yaml(config))
    assert load_config(written) == config
    assert values(load_config(written, ["scheme.name=backprop"]))[0] == 1e-3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("schemes: {dfb: {train.epochs: 1}}", "schemes: unknown scheme 'dfb'; did you mean 'dfa'?"),
        ("schemes: {dfa: {optimizer: {rate: 1}}}", "optimizer.rate: unknown key"),
        ("schemes: {backprop: {scheme.name: dfa}}", "schemes.backprop: scheme.name does not depend on the scheme"),
        ("schemes: {backprop: {scheme: {name: dfa}}}", "schemes.backprop: scheme.name does not depend on the scheme"),
        ("schemes: {dfa: {name: other}}", "schemes.dfa: name does not depend on the scheme"),
        ("schemes: {default: {seed: 1}}", "schemes.default: seed does not depend on the scheme"),
        ("schemes: {dfa: fast}", "schemes.dfa: 'fast' is not keys and values"),
        (
            "expect: {dfa: {test/accuracy: 0.9}}",
            "expect.dfa.test/accuracy: expected {min: 0.9}, {max: 100} or both, got 0.9",
        ),
        ("expect: {dfa: 3}", "expect.dfa: 3 is not metrics and bounds"),
        ("expect: {dfb: {test/accuracy: {min: 0.9}}}", "expect: unknown scheme 'dfb'"),
    ],
)
def test_wrong_entries_are_one_line(preset, text, said):
    with pytest.raises(ConfigError) as error:
        load_config(preset("extends: quickstart\n" + text))
    assert said in str(error.value)
