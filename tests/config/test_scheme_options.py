"""A scheme's own options as keys of the configuration: those of a plug-in are checked, shown and swept as ours are."""

import copy
import pickle
from dataclasses import dataclass, replace

import pytest

from unlocked import group, key
from unlocked.config import from_tree, load_config, schema, to_dict, to_yaml
from unlocked.config.schemes import flatten
from unlocked.config.typed import kind_at
from unlocked.errors import ConfigError
from unlocked.schema.describe import describe_schema, reference
from unlocked.schema.facts import all_fields
from unlocked.schema.keys import Config
from unlocked.schemes import SCHEMES, Frozen, options_of, register_scheme
from unlocked.studies.space import Space


@dataclass
class Teacher:
    """Who tells a module its gradient."""

    hidden: list[int] = key([], "widths of its hidden layers", low=1)


@dataclass
class MineOptions:
    share: float = key(0.5, "of the units that learn", low=0, high=1)
    pace: str = key("fast", "how they learn", choices=("fast", "exact"))
    optimizer: str = key("adam", "of the teacher", named="optimizer")
    teacher: Teacher = group(Teacher)


@pytest.fixture
def mine(monkeypatch):
    """A scheme of somebody's own, registered for one test."""
    monkeypatch.setattr(SCHEMES, "_entries", dict(SCHEMES._entries))
    monkeypatch.setattr(SCHEMES, "_facts", dict(SCHEMES._facts))

    @register_scheme("mine")
    class Mine(Frozen):
        Options = MineOptions

    return Mine


def test_options_are_keys_of_the_configuration(mine):
    config = load_config("quickstart", ["scheme.name=mine", "scheme.share=1", "scheme.teacher.hidden=[8]"])
    assert isinstance(config, Config)
    assert options_of(mine, config) == MineOptions(share=1.0, teacher=Teacher([8]))
    assert kind_at("scheme.share") is float
    assert kind_at("scheme.teacher.hidden") == list[int]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("scheme.share=2", "scheme.share: must be at most 1, got 2.0"),
        ("scheme.share=much", "command line: scheme.share: 'much' is not of type float"),
        ("scheme.shaer=0.5", "command line: scheme.shaer: unknown key; did you mean 'share'? (known here: "),
        ("scheme.pace=fats", "scheme.pace: unknown pace 'fats'; did you mean 'fast'? (known: exact, fast)"),
        ("scheme.optimizer=adm", "scheme.optimizer: unknown optimizer 'adm'; did you mean 'adam'?"),
        ("scheme.teacher.hiden=[8]", "command line: scheme.teacher.hiden: unknown key; did you mean 'hidden'?"),
        ("scheme.teacher.hidden=[0]", "scheme.teacher.hidden: every entry must be at least 1, got [0]"),
        ("scheme.teacher=[8]", "command line: scheme.teacher: [8] is not keys and values (known here: hidden)"),
    ],
)
@pytest.mark.parametrize("scheme", ["mine", "backprop"])  # under another scheme they are checked too, and ignored
def test_options_are_checked_as_ours_are(mine, override, said, scheme):
    with pytest.raises(ConfigError) as caught:
        load_config("quickstart", [f"scheme.name={scheme}", override])
    assert str(caught.value).startswith(said)


def test_a_preset_with_the_options_of_one_scheme_trains_under_another(mine, tmp_path):
    preset = tmp_path / "mine.yaml"
    preset.write_text(
        "extends: quickstart\nscheme: {name: mine, share: 0.25, teacher: {hidden: [4]}}\n"
        "schemes: {mine: {scheme: {pace: exact}}}\n"
    )
    config = load_config(preset)
    assert (config.scheme.share, config.scheme.pace) == (0.25, "exact")
    other = load_config(preset, ["scheme.name=backprop"])
    assert (other.scheme.name, other.scheme.pace) == ("backprop", "fast")
    assert to_dict(other)["scheme"]["share"] == 0.25  # set, so a study may go back to `mine`


def test_options_of_a_scheme_that_is_not_imported_are_told_by_its_name(mine, tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: quickstart\nscheme: {name: mine, teacher: {hidden: [4]}}\n")
    tree = to_dict(load_config(tmp_path / "mine.yaml"))
    del SCHEMES._entries["mine"]
    for read, given in ((load_config, tmp_path / "mine.yaml"), (from_tree, tree)):
        with pytest.raises(
            ConfigError, match=r"scheme\.name: unknown scheme 'mine'.*; --import brings in one of your own"
        ):
            read(given)


def test_options_are_in_the_help_with_the_scheme_that_has_them(mine):
    lines = [" ".join(line.split()) for line in describe_schema(schema()).splitlines()]
    assert "share: 0.5 # float; mine: of the units that learn; at least 0 and at most 1" in lines
    assert "teacher: # mine: Who tells a module its gradient." in lines
    assert "| `scheme.teacher.hidden` | `list[int]` | `[]` | widths of its hidden layers; at least 1 |" in reference(
        schema()
    )


def test_options_round_trip_through_yaml_and_pickle(mine, tmp_path):
    config = load_config("quickstart", ["scheme.name=mine", "scheme.teacher.hidden=[8]"])
    (tmp_path / "again.yaml").write_text(to_yaml(config))
    again = load_config(tmp_path / "again.yaml")
    assert again == config == copy.deepcopy(config) == pickle.loads(pickle.dumps(config))
    assert replace(config, seed=3).scheme.teacher.hidden == [8]


def test_options_are_dimensions_of_a_study(mine):
    config = load_config(
        "quickstart",
        [
            "sweep.sampler=random",
            "sweep.trials=2",
            "sweep.space.scheme.name=[mine, dfa]",
            "sweep.space.scheme.share={low: 0.1, high: 0.9, when: {scheme.name: mine}}",
            "sweep.space.scheme.teacher.hidden={choice: [[4], [8]], when: {scheme.name: mine}}",
        ],
    )
    space = Space(config)
    point = {"scheme.name": "mine", "scheme.share": 0.25, "scheme.teacher.hidden": "[8]"}
    trial = space.config(point)
    assert options_of(mine, trial) == MineOptions(share=0.25, teacher=Teacher([8]))


def test_what_is_recorded_of_a_run_does_not_depend_on_the_plug_ins_that_are_there(mine):
    with_it = to_dict(load_config("quickstart"))
    del SCHEMES._entries["mine"]
    assert with_it == to_dict(load_config("quickstart"))


# of 0.1; runs of later versions are found as the same configuration
ALWAYS = """
    name lag sg.kind sg.hidden sg.rank sg.kernel sg.norm sg.embedding sg.lr sg.optimizer synthetic_inputs inputs.hidden
    inputs.kernel inputs.embedding inputs.lr time.synthetic time.hidden time.context time.norm time.clip time.lr
    time.scale time.ramp time.auxiliary feedback.distribution feedback.scale feedback.seed feedback.granularity
    feedback.shared_positions feedback.shared_layers
"""


@pytest.mark.parametrize("scheme", ["backprop", "cdni", "dfa", "dni", "frozen"])
def test_the_record_of_a_run_has_the_options_that_it_always_had(mine, scheme):
    recorded = to_dict(load_config("quickstart", [f"scheme.name={scheme}"]))["scheme"]
    assert sorted(flatten(recorded)) == sorted(ALWAYS.split())


def _register(options, name="other"):
    register_scheme(name)(type("Other", (Frozen,), {"Options": options}))


@dataclass
class _Clash:
    share: float = key(0.1, "another default")


@dataclass
class _Lag:
    lag: int = key(1, "of its own")


@dataclass
class _Needed:
    rate: float


@dataclass
class _Strange:
    kind: "tuple[int, str] | bytes | frozenset[int]" = key(None, "of no type that a configuration has")


class _Plain:
    rate = 0.5


@dataclass
class _Silent:
    rate: float = 0.5


@dataclass
class _SilentInside:
    teacher: _Silent = group(_Silent)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (_Clash, "scheme other: option share is another one than scheme.share of mine; rename it, or put it into a"),
        (_Lag, "scheme other: option lag is one of every scheme; give yours another name"),
        (_Needed, "scheme other: option rate needs a default"),
        (_Strange, "scheme other: its options cannot be read from a configuration: "),
        (_Plain, "scheme other: its Options is not a dataclass; put @dataclass above it"),
        (
            _Silent,
            'scheme other: option rate is not declared by key(); write rate: float = unlocked.key(0.5, "its meaning")',
        ),
        (_SilentInside, "scheme other: option teacher.rate is not declared by key(); write rate: float = "),
    ],
)
def test_options_that_cannot_be_keys_are_refused_when_they_are_registered(mine, options, said):
    with pytest.raises(ValueError, match=r"^scheme other: ") as caught:
        _register(options)
    assert str(caught.value).startswith(said)
    assert "other" not in SCHEMES


def test_two_schemes_may_share_an_option(mine):
    _register(MineOptions)
    help_text = describe_schema(schema())
    assert "mine, other: of the units that learn" in help_text
    assert "scheme.share" in dict(all_fields(schema()))
