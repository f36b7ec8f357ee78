"""YAML 1.2 as the core schema has it, and files that nobody should have to read."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unlocked.config import Config, from_tree, load_config, parse_overrides, read_tree, to_dict, to_yaml
from unlocked.config.yaml12 import DEEPEST, LONGEST, MOST, read_file, read_value, read_yaml, resolve, write_yaml
from unlocked.errors import ConfigError
from unlocked.runs.folder import read_config

GOOD = "data: {name: digits}\nmodel: {name: mlp, hidden: [8, 8]}\n"


def refused(call, *given):
    with pytest.raises(ConfigError) as caught:
        call(*given)
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    assert len(line) < 500
    return line


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # the examples of section 10.3.2 of the specification, and what 1.1 would have made of the others
        ("null", None),
        ("~", None),
        ("", None),
        ("true", True),
        ("FALSE", False),
        ("0", 0),
        ("0o7", 7),
        ("0x3A", 58),
        ("-19", -19),
        ("0.", 0.0),
        ("-0.0", 0.0),
        (".5", 0.5),
        ("+12e03", 12000.0),
        ("-2E+05", -2e5),
        (".inf", float("inf")),
        ("-.Inf", float("-inf")),
        ("010", 10),
        ("-010", -10),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("190:20:30.15", "190:20:30.15"),
        ("yes", "yes"),
        ("off", "off"),
        ("2024-05-01", "2024-05-01"),
        ("0o8", "0o8"),
        ("1e", "1e"),
        (".", "."),
        ("None", "None"),
        ("tRUE", "tRUE"),
        ("١٢", "١٢"),
        ("nan", "nan"),
        ("+0x1F", "+0x1F"),
    ],
)
def test_a_plain_scalar_is_what_the_core_schema_says(text, value):
    found = resolve(text)
    assert found == value
    assert type(found) is type(value)


def test_a_text_key_keeps_its_text_and_other_keys_have_values():
    words = [
        "0x1F",
        "1e3",
        "0123",
        "1.10",
        "2024_01",
        "12:30:45",
        "2024-05-01",
        "exp #1",
        "#x",
        "a: b",
        "*x",
        "&y",
        "true",
        "None",
        "- dash",
        "100000000000000000000000000",
        "@at",
        "%percent",
        "!bang",
        "|",
        ">",
    ]
    for word in words:
        tree = parse_overrides([f"name={word}", f"schemes.dfa.tracking.experiment={word}"])
        assert tree == {"name": word, "schemes": {"dfa": {"tracking": {"experiment": word}}}}
    assert parse_overrides(["name='1e3'", 'task="0x1F"']) == {"name": "1e3", "task": "0x1F"}
    tree = read_tree(
        "name: 0x1F\nseed: 0x1F\ndata: {root: 0755, transforms: [010, flip]}\n"
        "model: {width: 0x1F, to: '1e3'}\n"
        "extends: 2024\nschemes: {dfa: {optimizer.name: 1e3, optimizer: {lr: 1e3}}}\n",
        "a.yaml",
    )
    assert tree == {
        "name": "0x1F",
        "seed": 31,
        "data": {"root": "0755", "transforms": [10, "flip"]},
        "model": {"width": 31, "to": "1e3"},
        "extends": "2024",
        "schemes": {"dfa": {"optimizer.name": "1e3", "optimizer": {"lr": 1000.0}}},
    }


def test_choices_of_a_text_key_are_texts():
    tree = read_tree(
        """
sweep:
  space:
    task: [1e3, 0x10]
    data.root: {choice: [010], when: {data.root: 010, seed: [010, 1]}}
    scheme: {name: [1.10], lag: [010]}
    both: {choice: {one: {name: 1e3, seed: 1}}}
    other: {choice: [{data.root: 010, data: {batch_size: 010}}]}
  enqueue: [{task: 0x10, seed: 0x10}]
""",
        "s.yaml",
    )
    assert tree["sweep"] == {
        "space": {
            "task": ["1e3", "0x10"],
            "data.root": {"choice": ["010"], "when": {"data.root": "010", "seed": [10, 1]}},
            "scheme": {"name": ["1.10"], "lag": [10]},
            "both": {"choice": {"one": {"name": "1e3", "seed": 1}}},
            "other": {"choice": [{"data.root": "010", "data": {"batch_size": 10}}]},
        },
        "enqueue": [{"task": "0x10", "seed": 16}],
    }


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("seed: 1\nname: a\nseed: 2\n", ["line 3", "'seed' is given twice, before in line 1"]),
        ("data:\n  name: digits\n  'name': mnist\n", ["line 3", "'name' is given twice"]),
        ("model: {a: [{b: 1, b: 1}]}", ["line 1", "'b' is given twice"]),
        ("a: &a {x: 1}\nb: {<<: *a}", ["line 2", "<<", "extends"]),
        ("? [a]\n: 1", ["line 1", "a key has to be text"]),
        ("a: 1\n---\nb: 2", ["line 2", "second document"]),
        ("a: !!python/object:os.system x", ["line 1", "tag tag:yaml.org,2002:python/object:os.system is not known"]),
        ("a: !own [1]", ["line 1", "tag !own is not known"]),
        ("a: !!int x", ["line 1", "'x' is not what its tag says"]),
        ("a: *nobody", ["line 1", "no anchor &nobody"]),
        ("a: &a [*a]", ["line 1", "contains itself"]),
        ("a: " + "[" * 10_000, ["line 1", f"deeper than {DEEPEST} levels"]),
        ("".join(" " * i + f"k{i}:\n" for i in range(200)), ["line 51", f"deeper than {DEEPEST} levels"]),
        ("# " + "x" * LONGEST, [f"longer than {LONGEST} characters"]),
        ("seed: " + "1" * 5000, ["seed", "1111...", "more than 64 bits"]),
        ("model: {width: -9223372036854775809}", ["model.width", "more than 64 bits"]),
        ("model: {width: 0x" + "f" * 5000 + "}", ["model.width", "more than 64 bits"]),
        ("5", ["expected keys and values, found text"]),
    ],
)
def test_a_file_that_means_two_things_or_too_much_is_refused_with_its_line(text, parts):
    line = refused(read_tree, text, "bad.yaml")
    assert line.startswith("bad.yaml: ")
    assert [part for part in parts if part not in line] == [], line


def test_aliases_count_as_often_as_they_are_used():
    ten = "&a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
    )
    assert f"line 5: more than {MOST} values, those of aliases" in refused(read_yaml, f"a0: {ten}", "bomb.yaml")
    assert read_tree("model: {a: &a [1, b], c: *a}", "x") == {"model": {"a": [1, "b"], "c": [1, "b"]}}


def test_files_that_are_no_text_are_refused_wherever_a_configuration_is_read(tmp_path):
    file = tmp_path / "config.yaml"
    for raw in (b"\xff\xfe\x00\x80", b"\x00" * 100, bytes(range(256))):
        file.write_bytes(raw)
        assert "not readable as YAML" in refused(load_config, file)
        assert "not readable as YAML" in refused(read_config, tmp_path)
    file.unlink()
    file.mkdir()
    assert "not a file" in refused(read_file, file)


def test_a_run_folder_is_read_as_files_are(tmp_path):
    (tmp_path / "config.yaml").write_text(GOOD + "name: 1e3\nseed: 010\n")
    assert from_tree(read_config(tmp_path)).name == "1e3"
    assert from_tree(read_config(tmp_path)).seed == 10
    (tmp_path / "config.yaml").write_text(GOOD + "seed: 1\nseed: 2\n")
    assert "config.yaml: line 4: the key 'seed' is given twice" in refused(read_config, tmp_path)


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("seed=5 # five", ["seed: # begins a comment in '5 # five'"]),
        ("model.norm=#x", ["model.norm: # begins a comment"]),
        ("model={a: 1, a: 2}", ["model: line 1: the key 'a' is given twice"]),
        ("seed=1:30", ["seed: '1:30' is not of type int"]),
        ("seed='5'", ["seed: '5' is not of type int"]),
        ("train.epochs=1_000", ["train.epochs: '1_000' is not of type int"]),
        ("optimizer.lr=1_0.5", ["optimizer.lr: '1_0.5' is not of type float"]),
        ("optimizer.betas=[0.9, '1_0']", ["optimizer.betas[1]: '1_0' is not of type float"]),
        ("data.download=yes", ["data.download: 'yes' is not of type bool; expected true or false"]),
        ("data.download=1", ["data.download: 1 is not of type bool; expected true or false"]),
        ("data.root=None", ["data.root: 'None' is a word of Python; null means no value"]),
        ("tracking.runs=a\0b", [r"tracking.runs: 'a\x00b' has a NUL in it"]),
        ("data.root=\0", [r"data.root: '\x00' has a NUL in it"]),
        ("tracking.uri=none", ["tracking.uri: 'none' is a word of Python"]),
        ("name=", ["name", "None"]),
        ("name=null", ["name", "None"]),
        ("name='???'", ["name: a value is required"]),
        ("name=???", ["name: a value is required"]),
        ("model.norm=???", ["model.norm: a value is required"]),
        (r"name=\${seed}", ["name", "only references such as ${seed}"]),
        ("seed=" + "9" * 23, ["seed", "more than 64 bits"]),
        ("model.a" + ".b" * 5000 + "=1", ["unknown key"]),
    ],
)
def test_an_override_that_is_not_what_it_seems_is_refused(tmp_path, override, parts):
    (tmp_path / "good.yaml").write_text(GOOD)
    line = refused(load_config, tmp_path / "good.yaml", [override])
    assert [part for part in parts if part not in line] == [], line


def test_a_hash_within_quotes_or_words_is_no_comment():
    assert read_value("'a # b'", "x") == "a # b"
    assert read_value("a#b", "x").text == "a#b"


def test_a_tree_of_python_is_held_to_the_same():
    deep: list = []
    for _ in range(2000):
        deep = [deep]
    good = {"data": {"name": "digits"}, "model": {"name": "mlp"}}
    assert "deeper than" in refused(from_tree, {**good, "data": {"name": "digits", "options": {"x": deep}}})
    assert "1: unknown key: 1 is no text" in refused(from_tree, {**good, 1: 2})
    assert "seed: '1_000' is not of type int" in refused(from_tree, {**good, "seed": "1_000"})


# round trips ---------------------------------------------------------------------------------------------

LOOKALIKES = [
    "1e3",
    "0x1F",
    "0o17",
    "010",
    "null",
    "~",
    "yes",
    "true",
    "1_000",
    "12:30:45",
    "2024-05-01",
    "=",
    "<<",
    "- a",
    "a: b",
    "#",
    "a #b",
    "'",
    '"',
    "'1'",
    "[a]",
    "{a}",
    "*a",
    "&a",
    "!!str",
    ".inf",
    ".nan",
    "%",
    "@",
    "|",
    ">",
    "None",
    "..",
    "é",
    "\u2028",
    "\x85",
    "\ufeff",
    "a\\b",
    " a ",
    "a\nb",
    "\t",
    "1.",
    "+.5e1",
    "",
]
TEXTS = st.one_of(st.sampled_from(LOOKALIKES), st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
SCALARS = st.one_of(TEXTS, st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False))
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=10
)


@settings(max_examples=100, deadline=None)
@given(tree=st.dictionaries(TEXTS, TREES, max_size=3))
def test_what_is_written_is_read_back_exactly(tree):
    def value(node):
        if isinstance(node, dict):
            return {key: value(inner) for key, inner in node.items()}
        return (
            [value(inner) for inner in node]
            if isinstance(node, list)
            else (resolve(node.text) if hasattr(node, "text") else node)
        )

    text = write_yaml(tree)
    assert repr(value(read_yaml(text, "written"))) == repr(tree)


@settings(max_examples=30, deadline=None)
@given(name=TEXTS, root=TEXTS, option=TREES, seed=st.integers(0, 2**63 - 1), lr=st.floats(1e-300, 1e300))
def test_a_configuration_survives_print_config(tmp_path_factory, name, root, option, seed, lr):
    tree = {
        "name": name,
        "seed": seed,
        "data": {"name": "digits", "root": root, "options": {"x": option}},
        "model": {"name": "mlp"},
        "optimizer": {"lr": lr},
    }
    try:
        config = from_tree(tree)
    except ConfigError:  # a name with a slash, a text that begins a reference
        return
    assert config.data.options == {"x": option}
    assert isinstance(config, Config)
    path = tmp_path_factory.mktemp("round") / "config.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    again = load_config(path)
    assert again == config
    assert repr(to_dict(again)) == repr(to_dict(config))
