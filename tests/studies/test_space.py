"""Which trials a space comes to, and every way in which one can be wrong."""

from __future__ import annotations

import optuna
import pytest

from unlocked.config import load_config, to_dict
from unlocked.errors import ConfigError
from unlocked.studies import Space
from unlocked.studies.check import check_study
from unlocked.studies.space import name_of


def names(config) -> list[str]:
    return [name_of(point) for point in Space(config).grid()]


def checked(config):
    space = Space(config)
    check_study(config, space)


def test_a_grid_holds_every_combination_with_the_last_dimension_fastest(study):
    config = study("sweep.space.scheme.name=[cdni,dfa]", "sweep.space.seed=[0,1]")
    assert names(config) == [
        "scheme.name=cdni seed=0",
        "scheme.name=cdni seed=1",
        "scheme.name=dfa seed=0",
        "scheme.name=dfa seed=1",
    ]


def test_a_dimension_is_in_the_space_only_where_its_condition_holds(study):
    config = study(
        "sweep.space.scheme.name=[frozen,cdni]",
        "sweep.space.scheme.lag={choice: [1, 4], when: {scheme.name: [cdni, dfa]}}",
    )
    assert names(config) == ["scheme.name=frozen", "scheme.name=cdni scheme.lag=1", "scheme.name=cdni scheme.lag=4"]


def test_a_condition_is_also_asked_of_what_the_configuration_says(study):
    seeds = "sweep.space.seed={choice: [5, 6], when: {data.name: digits}}"
    assert names(study(seeds)) == ["seed=5", "seed=6"]
    with pytest.raises(ConfigError, match=r"sweep.space.seed: no trial has what its when asks for \(data.name in"):
        Space(study(seeds, "data.name=mnist1d")).grid()


def test_a_range_with_steps_is_a_grid_of_its_numbers(study):
    assert names(study("sweep.space.train.epochs={low: 1, high: 7, step: 3}")) == [
        "train.epochs=1",
        "train.epochs=4",
        "train.epochs=7",
    ]
    assert names(study("sweep.space.train.epochs={low: 1, high: 3}")) == [
        "train.epochs=1",
        "train.epochs=2",
        "train.epochs=3",
    ]
    space = Space(study("sweep.space.optimizer.lr={low: 0.1, high: 0.4, step: 0.1}"))
    assert [space.config(point).optimizer.lr for point in space.grid()] == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_the_ends_of_a_dimension_are_all_choices_or_the_least_and_the_greatest_number(study):
    space = Space(
        study(
            "sweep.space.optimizer.lr={low: 1e-4, high: 0.1, log: true}",
            "sweep.space.seed=[0, 1, 2]",
            "sweep.space.train.epochs={low: 1, high: 9, step: 3}",
        )
    )
    assert [dimension.ends() for dimension in space.dimensions] == [[1e-4, 0.1], [0, 1, 2], [1, 7]]


def test_a_condition_that_no_point_can_fulfil_is_refused_without_making_them(study):
    lag = "sweep.space.scheme.lag={choice: [1, 4], when: {scheme.name: cdni}}"
    Space(study(lag, "sweep.space.optimizer.lr=[1e-3]"))  # as the preset has it
    with pytest.raises(ConfigError, match=r"sweep.space.scheme.lag: no trial has what its when asks for"):
        Space(study("sweep.space.scheme.name=[dfa, frozen]", lag))
    inside = "sweep.space.seed={choice: [1], when: {train.epochs: %s}}"
    assert len(Space(study("sweep.space.train.epochs={low: 1, high: 9}", inside % 5)).grid()) == 9
    with pytest.raises(ConfigError, match=r"sweep.space.seed: no trial has"):
        Space(study("sweep.space.train.epochs={low: 1, high: 9}", inside % 10))


def test_a_grid_in_which_two_conditions_never_meet_is_refused(study):
    both = "sweep.space.scheme.lag={choice: [1], when: {scheme.name: cdni, seed: 1}}"
    apart = "sweep.space.both=[{scheme.name: cdni, seed: 0}, {scheme.name: dfa, seed: 1}]"
    with pytest.raises(ConfigError, match=r"no trial has what its when asks for \(scheme.name in \[cdni\], seed in"):
        Space(study(apart, both)).grid()


def test_a_choice_may_set_several_keys_and_have_a_name(study):
    config = study(
        "sweep.space.scheme={choice: [{scheme.name: dfa, optimizer.lr: 3e-4}, {scheme: {name: dni}}]}",
        "sweep.space.modules={choice: {two: {parallel.modules: 2}, three: {parallel.modules: 3}}}",
    )
    space = Space(config)
    points = space.grid()
    assert [name_of(point) for point in points] == [
        "scheme=name=dfa lr=0.0003 modules=two",
        "scheme=name=dfa lr=0.0003 modules=three",
        "scheme=name=dni modules=two",
        "scheme=name=dni modules=three",
    ]
    first, last = space.config(points[0]), space.config(points[-1])
    assert (first.scheme.name, first.optimizer.lr, first.parallel.modules) == ("dfa", 3e-4, 2)
    assert (last.scheme.name, last.optimizer.lr, last.parallel.modules) == ("dni", 1e-3, 3)


def test_a_trial_is_the_configuration_that_the_same_overrides_give(study):
    config = study("sweep.space.parallel.modules=[4]", "sweep.space.model.hidden=[[16, 16, 16]]")
    space = Space(config)
    (point,) = space.grid()
    alone = study("parallel.modules=4", "model.hidden=[16, 16, 16]")
    alone.sweep = type(alone.sweep)()
    assert space.config(point) == alone
    assert space.config(point).parallel.partition is None  # it cut the network into the two modules of before
    assert "sweep" not in to_dict(space.config(point))


def test_a_space_reads_the_same_from_a_file_and_from_the_command_line(study, tmp_path):
    (tmp_path / "file.yaml").write_text(
        "extends: quickstart\nsweep:\n  space:\n    scheme: {lag: {choice: [1, 4], when: {scheme.name: cdni}}}\n"
        "    optimizer.lr: [1e-3]\n    seed: [0]\n"
    )
    assert [d.name for d in Space(load_config(tmp_path / "file.yaml")).dimensions] == [
        "scheme.lag",
        "optimizer.lr",
        "seed",
    ]
    narrowed = load_config(
        tmp_path / "file.yaml",
        ["sweep.space.scheme.lag.choice=[16]", "sweep.space.seed=null", "sweep.space.optimizer.lr=[1e-2, 1e-4]"],
    )
    assert names(narrowed) == ["scheme.lag=16 optimizer.lr=0.01", "scheme.lag=16 optimizer.lr=0.0001"]
    assert Space(narrowed).dimensions[0].when == {"scheme.name": ["cdni"]}


def drawn(dimension, seed=0) -> list:
    """What a random search takes from it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    return [dimension.suggest(search.ask()) for _ in range(20)]


@pytest.mark.parametrize(
    ("key", "model"),
    [
        ("optimizer.weight_decay", "mlp"),
        ("optimizer.lr", "mlp"),
        ("data.validation", "mlp"),
        ("train.curriculum", "mlp"),
        ("model.dropout", "mlp"),
        ("data.options.asked", "mlp"),
    ],
)
def test_a_range_over_a_float_draws_floats_if_its_ends_are_whole_too(study, key, model):
    data = ["data.name=manual_pairs"] if key.startswith("data.options") else []
    (dimension,) = Space(study(f"sweep.space.{key}={{low: 0, high: 1}}", *data)).dimensions
    values = drawn(dimension)
    assert all(isinstance(value, float) and 0 <= value <= 1 for value in values)
    assert len(set(values)) == 20
    (stepped,) = Space(study(f"sweep.space.{key}={{low: 0, high: 1, step: 0.25}}", *data)).dimensions
    assert stepped.labels() == [0.0, 0.25, 0.5, 0.75, 1.0]
    with pytest.raises(ConfigError, match=r"a grid cannot hold every number from 0.0 to 1.0"):
        Space(study(f"sweep.space.{key}={{low: 0, high: 1}}", *data)).grid()


def test_a_range_over_an_option_is_of_the_type_that_its_model_gives_it(study):
    models = "sweep.space.model.name=[mlp, gpt]"
    for option, kind in (("width", int), ("dropout", float)):
        _, dimension = Space(study(models, f"sweep.space.model.{option}={{low: 0, high: 1}}")).dimensions
        assert all(type(value) is kind for value in drawn(dimension))
    for key in ("train.epochs", "scheme.lag", "seed", "model.width"):
        assert all(
            type(value) is int
            for value in drawn(
                Space(study(f"sweep.space.{key}={{low: 1, high: 9}}", "model={name: gpt, width: 8}")).dimensions[0]
            )
        )


def test_a_study_that_was_begun_with_other_numbers_is_not_gone_on_with(study):
    (dimension,) = Space(study("sweep.space.optimizer.lr={low: 1, high: 2}")).dimensions
    search = optuna.create_study()
    search.ask().suggest_int("optimizer.lr", 1, 2)
    with pytest.raises(ConfigError, match=r"sweep.space.optimizer.lr: does not go on with this study: .*another name"):
        dimension.suggest(search.ask())


def test_a_grid_has_an_end(study):
    for override in (
        "sweep.space.train.epochs={low: 1, high: 1000000000}",
        "sweep.space.optimizer.lr={low: 0.001, high: 1, step: 1e-9}",
    ):
        with pytest.raises(ConfigError, match=r"numbers, of a grid at most 10000; give a larger step"):
            Space(study(override)).grid()
    wide = [f"sweep.space.{key}={{low: 1, high: 100}}" for key in ("train.epochs", "seed", "scheme.lag", "data.seed")]
    with pytest.raises(ConfigError, match=r"a grid of more than 10000 trials"):
        Space(study(*wide)).grid()
    assert len(Space(study(*wide[:2])).grid()) == 10_000


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["sweep.space.optimizer.lr={low: 0.1, high: 1, step: 5e-324}"], "more than floats can tell apart"),
        (["sweep.space.optimizer.lr={low: -1e308, high: 1e308}"], "more than floats can tell apart"),
        (["sweep.space.seed={low: 0, high: 9223372036854775807}"], "must be whole numbers from -2**53 to 2**53, got"),
        (["sweep.space={scheme.lag: [1], scheme: {lag: [2]}}"], "sweep.space.scheme.lag: given twice"),
        (["sweep.space.both=[{optimizer.lr: 1, optimizer: {lr: 2}}]"], "sweep.space.both: optimizer.lr is given twice"),
        ([], "sweep.space: no dimension is given"),
        (
            ["sweep.space.optimizer.lrr=[1]"],
            "sweep.space.optimizer.lrr: optimizer.lrr: unknown key; did you mean 'lr'?",
        ),
        (["sweep.space.optimizer.lr=[fast]"], "sweep.space.optimizer.lr[0]: 'fast' is not of type float"),
        (["sweep.space.rates=[{optimizer.lr: 1, scheme.sgg: 2}]"], "sweep.space.rates: scheme.sgg: unknown key"),
        (["sweep.space.seed=[]"], "sweep.space.seed: the list of choices is empty"),
        (["sweep.space.seed={choice: []}"], "sweep.space.seed: the list of choices is empty"),
        (["sweep.space.seed=3"], "sweep.space.seed: 3 gives no choices"),
        (["sweep.space.seed={when: {}}"], "sweep.space.seed: None gives no choices"),
        (["sweep.space.seed={choice: [1], when: 3}"], "sweep.space.seed.when: 3 is not keys and values"),
        (["sweep.space.seed=[1, 2, 1]"], "sweep.space.seed: 1 is given twice"),
        (["sweep.space.seed={choice: {one: 1}}"], "the choice named one is 1; expected the keys it sets"),
        (["sweep.space.tracking.runs=[a, b]"], "tracking.runs is the same for all trials of a study"),
        (["sweep.space.scheme.lag={choice: [1], when: {scheme.nam: cdni}}"], "did you mean 'name'?"),
        (
            ["sweep.space.scheme.lag={choice: [1], when: {scheme.name: cdni}}", "sweep.space.scheme.name=[cdni]"],
            "sweep.space.scheme.lag.when: scheme.name is chosen further down, by scheme.name",
        ),
        (["sweep.space.a=[{seed: 1}]", "sweep.space.seed=[2]"], "sweep.space.seed: seed is set by another dimension"),
        (["sweep.space.optimizer.lr={low: 1e-3, high: 1e-4}"], "sweep.space.optimizer.lr: low is 0.001, above high"),
        (
            ["sweep.space.optimizer.lr={low: 0, high: 0.1, log: true}"],
            "sweep.space.optimizer.lr: log needs numbers above",
        ),
        (["sweep.space.optimizer.lr={low: 0.1}"], "sweep.space.optimizer.lr: a range needs low and high"),
        (
            ["sweep.space.optimizer.lr={low: 0.1, high: much}"],
            "sweep.space.optimizer.lr.high: must be a finite number, got 'much'",
        ),
        (
            ["sweep.space.optimizer.lr={low: 0.1, high: .inf}"],
            "sweep.space.optimizer.lr.high: must be a finite number, got inf",
        ),
        (
            ["sweep.space.optimizer.lr={low: 0.1, high: 1, step: 0}"],
            "sweep.space.optimizer.lr.step: must be greater than 0, got 0",
        ),
        (["sweep.space.optimizer.lr={low: 0.1, high: 1, step: 0.1, log: true}"], "log and step cannot go together"),
        (["sweep.space.optimizer.lr={low: 0.1, high: 1, log: maybe}"], "log: must be true or false, got 'maybe'"),
        (["sweep.space.optimizer.lr={low: 0.1, high: 1, choice: [1]}"], "choice and high cannot go together"),
        (["sweep.space.optimizer.lr={low: 0.1, hihg: 1}"], "unknown entry 'hihg'; did you mean 'high'?"),
        (["sweep.space.train.epochs={low: 1, high: 4, step: 0.5}"], "train.epochs.step: 0.5 is not whole"),
        (["sweep.space.train.epochs={low: 1.0, high: 4.0, step: 0.5}"], "train.epochs: "),
        (["sweep.space.optimizer.lr={low: 0.1, high: 1.0}"], "a grid cannot hold every number from 0.1 to 1.0"),
        (["sweep.space.modle={low: 1, high: 2}"], "sweep.space.modle: modle: unknown key; did you mean 'model'?"),
        (["sweep.sampler=grdi", "sweep.space.seed=[1]"], "sweep.sampler: unknown sampler 'grdi'; did you mean 'grid'?"),
        (["sweep.direction=up", "sweep.space.seed=[1]"], "sweep.direction: unknown direction 'up'"),
    ],
)
def test_a_wrong_space_is_one_line_that_names_the_dimension(study, overrides, words):
    with pytest.raises(ConfigError) as caught:
        checked(study(*overrides))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_refused_combination_is_told_with_its_reason_before_anything_starts(study, tmp_path):
    with pytest.raises(ConfigError) as caught:
        checked(
            study(
                "sweep.space.scheme.name=[cdni,frozen]",
                "sweep.space.scheme.lag=[0, 4]",
                "sweep.space.parallel.modules=[2, 9]",
                "sweep.space.seed=[0, 1]",
            )
        )
    first, *lines, remedy = str(caught.value).splitlines()
    assert remedy == "sweep.refused=skip leaves them out"
    assert first == "sweep.space: 10 of 16 trials cannot run:"
    assert len(lines) == 2
    assert "scheme.name=cdni scheme.lag=0 parallel.modules=9 seed=0: parallel.modules: 9 is more than" in lines[0]
    assert lines[0].endswith("(and 5 more)")
    assert "scheme.name=frozen scheme.lag=4 parallel.modules=2 seed=0: scheme.lag: 4 cannot be used with" in lines[1]
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("metric", "overrides", "words"),
    [
        ("val/acuracy", [], "sweep.metric: unknown metric 'val/acuracy'; did you mean 'val/accuracy'?"),
        ("val/accuracy", ["data.validation=0"], "sweep.metric: val/accuracy needs a validation split"),
        (
            "test/accuracy",
            ["sweep.constraints={test/accurcy: {min: 0.5}}"],
            "sweep.constraints: unknown metric 'test/accurcy'; did you mean 'test/accuracy'?",
        ),
        ("test/accuracy", ["data.validation=0", "sweep.plot.y=val/loss"], "sweep.plot.y: val/loss needs a validation"),
        ("test/accuracy", ["sweep.plot.x=scheme.lagg"], "sweep.plot.x: unknown key 'scheme.lagg'; did you mean"),
        ("test/accuracy", ["sweep.plot.x=scheme.name"], "sweep.plot.x: no trial has a number for scheme.name"),
        ("test/accuracy", ["sweep.plot.lines=[data.name]"], "sweep.plot.lines: data.name are the same for"),
    ],
)
def test_a_metric_or_a_plot_that_cannot_be_is_refused(study, metric, overrides, words):
    with pytest.raises(ConfigError) as caught:
        checked(study("sweep.space.scheme.name=[cdni,dfa]", f"sweep.metric={metric}", *overrides))
    assert words in str(caught.value)


@pytest.mark.parametrize("metric", ["sg/loss/module_0", "align/norm_ratio/module_1", "spread/module_0", "time/wait"])
def test_series_of_modules_are_looked_for_in_the_first_trial_that_ends(study, metric):
    checked(study("sweep.space.scheme.name=[cdni,dfa]", f"sweep.metric={metric}"))


@pytest.mark.parametrize(("preset", "trials"), [("studies/lag", 81), ("studies/sg_forms", 18), ("studies/inputs", 24)])
def test_the_studies_that_are_shipped_can_run(preset, trials):
    config = load_config(preset)
    assert len(names(config)) == trials
    checked(config)
