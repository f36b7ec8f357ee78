"""Every bad configuration ends in one readable line and exit code 2, before anything has started."""

import pytest
import yaml
from torch import nn

from unlocked.config import from_tree, load_config
from unlocked.errors import ConfigError, DataError
from unlocked.plan.make import make_plan
from unlocked_models import MODELS, register_model

GOOD = "data: {name: digits}\nmodel: {name: mlp, hidden: [8, 8]}\n"


@pytest.fixture
def refusal(tmp_path):
    """`refusal(*overrides, text=GOOD)`: the one line that is said."""

    def said(*overrides, text=GOOD):
        path = tmp_path / "bad.yaml"
        path.write_text(text)
        with pytest.raises(ConfigError) as caught:
            load_config(path, overrides)
        return checked(caught.value)

    return said


def checked(error: ConfigError | DataError) -> str:
    line = str(error)
    assert error.exit_code == 2
    assert len(line.splitlines()) == 1
    return line


def test_the_configuration_that_the_bad_ones_are_made_from_is_good(tmp_path):
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    assert load_config(path).model == {"name": "mlp", "hidden": [8, 8]}


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        # unknown keys: the key, the nearest match, what is known
        ("trian.epochs=3", ["trian: unknown key", "did you mean 'train'?", "optimizer"]),
        ("train.epocs=3", ["train.epocs: unknown key", "did you mean 'epochs'?", "log_every"]),
        ("scheme.sg.hiden=[3]", ["scheme.sg.hiden: unknown key", "did you mean 'hidden'?"]),
        ("frobnicate=1", ["frobnicate: unknown key", "known here: callbacks, data"]),
        # wrong types: the key, the value, the type
        ("seed=abc", ["seed", "'abc'", "int"]),
        ("seed=1.5", ["seed", "'1.5'", "int"]),
        ("seed=true", ["seed", "'True'", "int"]),
        ("optimizer.lr=fast", ["optimizer.lr", "'fast'", "float"]),
        ("optimizer.betas=[a, b]", ["optimizer.betas", "'a'", "float"]),
        ("optimizer.betas=0.9", ["optimizer.betas", "list"]),
        ("parallel.partition=[[1]]", ["parallel.partition[0]: a list is not of type int"]),
        ("scheme.sg.hidden=[{low: 1}]", ["scheme.sg.hidden[0]: a dictionary is not of type int"]),
        ("train.epochs=null", ["train.epochs", "None", "int"]),
        ("train.epochs=[3]", ["train.epochs", "[3]", "int"]),
        ("name=[1]", ["name", "[1]", "str"]),
        ("scheme.lag=1.5", ["scheme.lag", "'1.5'", "int | str"]),
        ("scheme.lag=true", ["scheme.lag", "'True'", "int | str"]),
        ("optimizer=adam", ["optimizer", "'adam'", "did you mean optimizer.name?"]),
        ("scheme.sg=[64]", ["scheme.sg", "[64]", "hidden"]),
        ("model=mlp", ["model", "str", "dict"]),
        # ranges: the key, the value, what is expected
        *(
            (f"{key}={value}", [f"{key}: must be ", f", got {value}"])
            for key, values in {
                "seed": ["-1"],
                "data.batch_size": ["0", "-4"],
                "data.validation": ["1.0", "-0.1"],
                "data.seed": ["-1"],
                "scheme.lag": ["-1"],
                "scheme.sg.kernel": ["2", "0"],
                "scheme.sg.lr": ["0.0"],
                "scheme.feedback.scale": ["0.0", "-1.0"],
                "optimizer.lr": ["0.0", "-0.1"],
                "optimizer.weight_decay": ["-0.1"],
                "optimizer.momentum": ["1.0", "-0.5"],
                "optimizer.eps": ["0.0"],
                "optimizer.warmup": ["-1"],
                "optimizer.clip_norm": ["0.0"],
                "train.epochs": ["0"],
                "train.log_every": ["0"],
                "train.evaluate_every": ["0"],
                "train.probe_every": ["-1"],
                "train.checkpoint_every": ["0"],
                "train.patience": ["0"],
                "parallel.modules": ["0", "-2"],
                "parallel.replicas": ["0"],
                "parallel.threads": ["0"],
                "parallel.max_failures": ["-1"],
                "parallel.timeout": ["0.0"],
            }.items()
            for value in values
        ),
        ("data.validation=.nan", ["data.validation: must be at least 0, got nan"]),
        ("optimizer.lr=.nan", ["optimizer.lr: must be greater than 0, got nan"]),
        ("objective.temperature=.nan", ["objective.temperature: must be a number that can be computed with, got nan"]),
        ("data.transforms=[{name: views, noise: .nan}]", ["data.transforms[0].noise: must be a number that can be"]),
        ("optimizer.lr=-.inf", ["optimizer.lr: must be greater than 0, got -inf"]),
        # upper ends: beyond them something else breaks, or never ends
        *(
            (f"{key}={value}", [f"{key}: must be {allowed}, got {shown or value}"])
            for key, value, allowed, shown in [
                ("parallel.threads", "100000000", "at most 1024", ""),
                ("seed", str(2**63), f"at most {2**63 - 1}", ""),
                ("data.seed", str(2**63), f"at most {2**63 - 1}", ""),
                ("scheme.feedback.seed", "-1", "at least 0", ""),
                ("train.epochs", "1000000001", "at most 1000000000", ""),
                ("data.batch_size", "1000000001", "at most 1000000000", ""),
                ("parallel.timeout", "1e300", "at most 31536000", "1e+300"),
                ("sweep.hours", "1e300", "at most 8760", "1e+300"),
                ("parallel.modules", "10001", "at most 10000", ""),
                ("parallel.replicas", "10001", "at most 10000", ""),
                ("sweep.concurrent", "10001", "at most 10000", ""),
                ("sweep.repeats", "10001", "at most 10000", ""),
                ("sweep.resources.cpu", "1e-9", "0 or at least 0.01", "1e-09"),
                ("sweep.resources.gpu", "-1", "0 or at least 0.01", "-1.0"),
            ]
        ),
        ("scheme.sg.rank=0", ["scheme.sg.rank: must be at least 1, got 0"]),
        ("scheme.sg.hidden=[8, 0]", ["scheme.sg.hidden: every entry must be at least 1, got [8, 0]"]),
        (
            "scheme.inputs.hidden=[10000001]",
            ["scheme.inputs.hidden: every entry must be at most 10000000, got [10000001]"],
        ),
        ("scheme.sg.kernel=101", ["scheme.sg.kernel: must be at most 99, got 101"]),
        ("parallel.partition=[0]", ["parallel.partition: every entry must be at least 1, got [0]"]),
        ("optimizer.betas=[0.9]", ["optimizer.betas: must be 2 numbers, got [0.9]"]),
        ("optimizer.betas=[0.9, 1.0]", ["optimizer.betas: every entry must be below 1, got [0.9, 1.0]"]),
        ("scheme.lag=later", ["scheme.lag: must be auto, or at least 0, got 'later'"]),
        # choices and names: the key, the value, the nearest match, what is known
        ("scheme.name=dnii", ["scheme.name: unknown scheme 'dnii'", "did you mean 'dni'?", "cdni, denoise, dfa, dni"]),
        ("model.name=mpl", ["model.name: unknown model 'mpl'", "did you mean 'mlp'?", "lenet5"]),
        ("model.name=3", ["model.name: unknown model 3", "known: "]),
        ("model.name=[mlp]", ["model.name: unknown model ['mlp']", "known: "]),
        ("model.name=null", ["model.name: a value is required", "known: "]),
        ("data.name=digitz", ["data.name: unknown data 'digitz'", "did you mean 'digits'?", "mnist"]),
        ("optimizer.name=adamm", ["optimizer.name: unknown optimizer 'adamm'", "did you mean 'adam", "sgd"]),
        ("scheme.sg.optimizer=sdg", ["scheme.sg.optimizer: unknown optimizer 'sdg'", "did you mean 'sgd'?"]),
        ("task=classificatoin", ["task: unknown task", "did you mean 'classification'?"]),
        ("train.precision=fp63", ["train.precision: unknown precision 'fp63'", "did you mean 'fp64'?", "bf16"]),
        ("scheme.sg.kind=convv", ["scheme.sg.kind", "'convv'", "did you mean 'conv'?"]),
        ("scheme.sg.norm=bach", ["scheme.sg.norm", "did you mean 'batch'?"]),
        ("scheme.feedback.distribution=gauss", ["scheme.feedback.distribution", "'gauss'", "normal, uniform"]),
        ("scheme.feedback.granularity=layers", ["scheme.feedback.granularity", "did you mean 'layer'?"]),
        ("optimizer.schedule=cosin", ["optimizer.schedule", "did you mean 'cosine'?"]),
        ("parallel.engine=rey", ["parallel.engine", "did you mean 'ray'?"]),
        ("parallel.device=gpu", ["parallel.device", "'gpu'", "auto, cpu, cuda"]),
        # options of a model
        ("model.hiden=[3]", ["model.hiden: unknown option of mlp 'hiden'", "did you mean 'hidden'?", "dropout"]),
        ("model.hidden=3", ["model.hidden: 3", "list[int]"]),
        ("model.hidden=[1.5]", ["model.hidden: [1.5]", "list[int]"]),
        ("model.dropout=much", ["model.dropout: 'much'", "float"]),
        ("model.norm=7", ["model.norm: 7", "str"]),
        # options of a data set
        ("data.options.width=3", ["data.options.width: unknown option of digits 'width'"]),
        ("data={name: text, options: {length: 8}}", ["data.options.file: text needs this option"]),
        ("data={name: text, options: {file: 5}}", ["data.options.file: 5 is not of type str"]),
        ("data={name: copy, options: {window: wide}}", ["data.options.window: 'wide' is not of type int | None"]),
        ("data={name: copy, options: {seed: 1}}", ["data.options.seed: copy has no such option; data.seed is one"]),
        # combinations
        ("scheme.lag=2", ["scheme.lag: 2 cannot be used with backprop", "this minibatch's own gradient"]),
        ("parallel.partition=[1, 2]", ["parallel.partition: [1, 2]", "2 modules", "parallel.modules is 1"]),
        ("optimizer.nesterov=true", ["optimizer.nesterov", "adam"]),
        ("optimizer.momentum=0.9", ["optimizer.momentum: adam has no such option"]),
        # overrides
        ("seed", ["'seed'", "key=value", "scheme.name=dfa"]),
        ("=3", ["'=3'", "key=value"]),
        ("seed =3", ["'seed =3'", "key=value"]),
        ("model.hidden=[1", ["model.hidden", "'[1'", "not readable as YAML"]),
        ("name=${seeed}", ["name", "'seeed' not found"]),
        ("name=${name}", ["name", "recursive"]),
    ],
)
def test_a_bad_value_is_refused_in_one_line(refusal, override, parts):
    line = refusal(override)
    assert [part for part in parts if part not in line] == [], line


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["scheme.name=frozen", "scheme.lag=1"], ["scheme.lag: 1 cannot be used with frozen"]),
        (["optimizer.name=sgd", "optimizer.nesterov=true"], ["optimizer.nesterov", "needs optimizer.momentum"]),
        (["optimizer.name=sgd", "optimizer.betas=[0.9, 0.99]"], ["optimizer.betas: sgd has no such option"]),
        (["train.patience=3", "data.validation=0"], ["train.patience: 3", "data.validation is 0"]),
        (["data.batch_size=64", "parallel.replicas=3"], ["parallel.replicas: 3 does not divide", "64"]),
        (
            ["parallel.replicas=2", "parallel.engine=inprocess"],
            ["parallel.replicas: 2", "engine is inprocess"],
        ),
        (
            ["scheme.name=dni", "scheme.sg.kind=mlp", "scheme.sg.hidden=[]"],
            ["scheme.sg.hidden", "at least one hidden width"],
        ),
        (
            ["scheme.name=dni", "scheme.sg.kind=linear", "scheme.sg.hidden=[8]"],
            ["scheme.sg.hidden: [8] with kind linear"],
        ),
        (
            ["scheme.name=cdni", "scheme.sg.kind=mlp", "scheme.sg.hidden=[8]", "scheme.sg.rank=2"],
            ["scheme.sg.rank: 2 needs", "linear", "mlp"],
        ),
        (["sweep.resources.cpu=0", "sweep.concurrent=1000"], ["sweep.resources.cpu: 0", "all 1000 trials"]),
        (["model=5", "model.name=mlp"], ["'model.name=mlp'", "model the value 5"]),
    ],
)
def test_values_that_do_not_go_together_are_refused_in_one_line(refusal, overrides, parts):
    line = refusal(*overrides)
    assert [part for part in parts if part not in line] == [], line


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("data: {name: digits}\nmodel: [1\nseed: 2", ["bad.yaml", "not readable as YAML at line 3"]),
        ("\x00", ["bad.yaml", "not readable as YAML"]),
        ("- 1\n- 2\n", ["bad.yaml", "expected keys and values, found list"]),
        ("model: {name: mlp}", ["data.name: a value is required"]),
        ("data: {name: digits}", ["model.name: a value is required", "mlp"]),
        ("", ["data.name: a value is required"]),
        (GOOD + "1: 2", ["bad.yaml", "1: unknown key"]),
        ("data: {name: digits}\nmodel: &m {name: mlp, hidden: *m}", ["bad.yaml", "alias contains itself"]),
        (GOOD + "name: '${seed'", ["bad.yaml: name"]),
        (GOOD + "extends: quickstrat-of-nobody", ["no preset 'quickstrat-of-nobody'", "list presets"]),
        (GOOD + "extends: bad", ["bad.yaml: extends itself"]),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(refusal, text, parts):
    line = refusal(text=text)
    assert [part for part in parts if part not in line] == [], line


def test_files_that_extend_each_other_in_a_circle_are_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("extends: b\n" + GOOD)
    (tmp_path / "b.yaml").write_text("extends: a\n")
    with pytest.raises(ConfigError, match=r"a\.yaml: extends itself") as caught:
        load_config(tmp_path / "a.yaml")
    checked(caught.value)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match="not readable as YAML") as caught:
        load_config(path)
    checked(caught.value)


def test_a_name_that_no_file_can_have_is_refused(refusal):
    for config in ("a" * 5000, "a" * 5000 + ".yaml", "a\0b.yaml"):
        with pytest.raises(ConfigError, match=r"^config: no (preset|file) 'a") as caught:
            load_config(config)
        assert len(checked(caught.value)) < 3000
    assert refusal(text="extends: " + "a" * 5000).startswith("config: no preset 'aaa")
    assert "name: 'aaaaaaaaaaaaaaaaaaaa'... has more than 150 bytes" in refusal("name=" + "a" * 151)


@pytest.mark.parametrize("name", ["/no/such/file.yaml", "missing.yml"])
def test_a_missing_file_is_named(name):
    with pytest.raises(ConfigError, match=f"config: no file '{name}'") as caught:
        load_config(name)
    checked(caught.value)


def test_an_unknown_preset_is_answered_with_the_nearest_one(tmp_path, monkeypatch):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "my_preset_of_digits.yaml").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    assert load_config("my_preset_of_digits").data.name == "digits"
    with pytest.raises(ConfigError) as caught:
        load_config("my_preset_of_digit")
    assert "no preset 'my_preset_of_digit'; did you mean 'my_preset_of_digits'?" in checked(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "tracking: {experiment: '${oc.env:HOME}'}",
        "name: oc.env\ntracking: {experiment: '${${name}:HOME}'}",  # spelled by a reference
        "name: $\ntracking: {experiment: '${name}{oc.env:HOME}'}",  # or put together by one
        "data: {name: digits, options: {where: [['${oc.env:HOME}']]}}",
        "name: 'a ${oc.decode:b}'",
    ],
)
def test_a_configuration_cannot_read_the_machine_it_runs_on(refusal, monkeypatch, text):
    monkeypatch.setenv("HOME", "/secret/of/this/machine")
    line = refusal(text=yaml.safe_dump({**yaml.safe_load(GOOD), **yaml.safe_load(text)}))
    assert "calls a resolver; only references such as ${seed}" in line
    assert "secret" not in line


def test_nor_can_a_tree_given_in_python():
    with pytest.raises(ConfigError, match="calls a resolver"):
        from_tree({**yaml.safe_load(GOOD), "name": "${oc.env:HOME}"})
    with pytest.raises(ConfigError, match="optimizer: 'adam' is not keys and values"):
        from_tree({**yaml.safe_load(GOOD), "optimizer": "adam"})


# what needs the data: make_plan --------------------------------------------------------------------------


@pytest.fixture
def own_models(monkeypatch):
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))
    monkeypatch.setattr(MODELS, "_facts", dict(MODELS._facts))


@pytest.mark.parametrize(
    ("tree", "line"),
    [
        ({"parallel": {"modules": 5}}, "parallel.modules: 5 is more than the 3 blocks of mlp as configured"),
        ({"parallel": {"modules": 2, "partition": [1, 1]}}, "parallel.partition: [1, 1] covers 2 blocks, mlp has 3"),
        ({"parallel": {"modules": 2, "partition": [2, 2]}}, "parallel.partition: [2, 2] covers 4 blocks, mlp has 3"),
        ({"data": {"batch_size": 49}}, "data.batch_size: 49 is larger than the 48 training examples of made"),
        ({"model": {"name": "mlp", "norm": "bach"}}, "model.norm: unknown norm 'bach'; did you mean 'batch'?"),
        ({"model": {"name": "alexnet"}}, "model.name: alexnet takes images of at least 63 x 63 pixels"),
        ({"model": {"name": "mlp", "hidden": [10**18, 8]}}, "model: Storage size calculation overflowed"),
        ({"model": {"name": "mlp", "dropout": 1.5}}, "model.dropout: must be at least 0 and less than 1, got 1.5"),
    ],
)
def test_what_does_not_fit_the_data_or_the_model_is_refused_in_one_line(lab, tree, line):
    config = lab.config(**{"model": {"name": "mlp", "hidden": [8, 8]}, **tree})
    with pytest.raises((ConfigError, DataError)) as caught:
        make_plan(config, lab.data())
    assert checked(caught.value).startswith(line)


def test_a_task_that_the_data_is_not_for_is_refused(lab):
    config = lab.config(model={"name": "mlp"}, task="regression")
    with pytest.raises(ConfigError) as e:
        make_plan(config, lab.data())
    assert checked(e.value) == "task: regression does not fit made: its targets are for classification"


def test_a_model_that_ignores_the_number_of_outputs_is_refused(lab, own_models):
    @register_model("stubborn")
    def stubborn(in_shape, n_outputs):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 7))

    with pytest.raises(ConfigError) as e:
        make_plan(lab.config(model={"name": "stubborn"}), lab.data())
    assert checked(e.value) == ("model.name: stubborn gives outputs of shape (7,), classification of made needs (5,)")


def test_a_model_whose_layers_do_not_fit_together_is_refused(lab, own_models):
    @register_model("disjoint")
    def disjoint(in_shape, n_outputs):
        return nn.Sequential(nn.Flatten(), nn.Linear(63, n_outputs))

    with pytest.raises(ConfigError) as e:
        make_plan(lab.config(model={"name": "disjoint"}), lab.data())
    assert "model.name: disjoint cannot run on examples of shape (1, 8, 8) of made" in checked(e.value)


def test_a_model_that_gives_no_blocks_is_refused(lab, own_models):
    @register_model("empty")
    def empty(in_shape, n_outputs):
        return []

    with pytest.raises(ConfigError) as e:
        make_plan(lab.config(model={"name": "empty"}), lab.data())
    assert checked(e.value).startswith("model: a model gives an nn.Sequential or a list")


@pytest.mark.parametrize("given", ["flip", "{name: crop}", "null", "3"])
def test_transforms_that_are_no_list_are_told_how_to_write_one(given):
    with pytest.raises(ConfigError, match=r"^command line: data\.transforms: .* is not a list; write \[flip\]"):
        load_config("quickstart", [f"data.transforms={given}"])
