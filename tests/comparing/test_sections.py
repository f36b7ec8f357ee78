"""What `compare` says of runs: which are seeds of one row, what becomes a column, what may be averaged."""

from __future__ import annotations

import importlib
import io
import json
import math
from itertools import count

import pytest
from rich.console import Console

from unlocked.cli.main import main
from unlocked.comparing import rows as comparing
from unlocked.comparing.finished import FinishedRun
from unlocked.comparing.question import Question
from unlocked.comparing.rows import compare
from unlocked.comparing.stored import StoredRun
from unlocked.comparing.table import render, to_csv
from unlocked.errors import ConfigError, UnlockedError

CLOCK = count()
PARAMS = {
    "optimizer.lr": "0.001",
    "train.epochs": "30",
    "data.transforms": "[]",
    "parallel.threads": "null",
    "scheme.sg.lr": "null",
    "model.hidden": "[32, 32]",
}
TAGS = {
    "model": "mlp",
    "scheme": "backprop",
    "dataset": "digits",
    "task": "classification",
    "seed": "0",
    "name": "quickstart",
    "engine": "ray",
    "host": "a",
    "cpus": "2",
    "monitor": "accuracy",
    "modules": "2",
    "lag": "0",
    "data_digest": "d1d1d1d1d1",
    "version.unlocked": "0.1.0",
}


def run(metrics: dict[str, float] | float, params=(), folder="run", **tags: str) -> FinishedRun:
    metrics = metrics if isinstance(metrics, dict) else {"test/accuracy": metrics}
    given = {key.replace("__", "."): str(value) for key, value in tags.items()}
    return FinishedRun(StoredRun(folder, folder, "0", next(CLOCK), TAGS | given, PARAMS | dict(params), metrics))


@pytest.fixture
def store(monkeypatch):
    """The runs that are found, whatever store is asked for."""
    found: list[FinishedRun] = []
    module = importlib.import_module("unlocked.comparing.rows")  # the package's attribute is the function
    monkeypatch.setattr(module, "finished_runs", lambda source, experiment: found)
    return found


def sections(source, **asked):
    return comparing.sections(source, asked=Question(**asked))


def text(section, **options) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(render(section.rows, section.metrics, notes=section.notes, **options))
    return console.file.getvalue()


def test_runs_that_differ_in_more_than_their_seed_are_two_rows_told_apart_by_columns(store):
    """30 epochs and 1 epoch with flips were averaged to 51.7 ± 57.7 once."""
    store += [run(0.925), run(0.109, {"train.epochs": "1", "data.transforms": "[flip]"})]
    (found,) = sections("runs")
    assert [
        (row.group["train.epochs"], row.group["data.transforms"], row.values("test/accuracy")) for row in found.rows
    ] == [("30", "[]", [0.925]), ("1", "[flip]", [0.109])]
    shown = text(found)
    assert "transforms" in shown
    assert "data.transforms" not in shown
    assert shown.count("(1 seed)") == 2
    assert "±" not in shown


@pytest.mark.parametrize("what", ["data_digest", "version__unlocked", "code_digest"])
def test_other_data_or_code_is_another_row(store, what):
    store += [run(0.9), run(0.8, seed="1", **{what: "other"})]
    rows = compare("runs")
    assert [row.group[what.replace("__", ".")] for row in rows][1] == "other"


def test_seeds_of_one_configuration_are_one_row_wherever_they_ran(store):
    store += [run(0.9), run(0.8, {"parallel.threads": "2"}, seed="1", engine="inprocess", host="b", name="x")]
    (row,) = compare("runs")
    assert row.summary("test/accuracy").n == 2
    assert row.group == {"model": "mlp", "scheme": "backprop"}


def test_what_only_schemes_or_models_differ_in_of_their_own_is_no_column(store):
    store += [
        run(0.9),
        run(0.8, {"scheme.sg.lr": "0.003", "optimizer.lr": "0.01"}, scheme="cdni", lag="2"),
        run(0.7, {"model.hidden": "[8]"}, model="cnn"),
    ]
    assert {tuple(row.group) for row in compare("runs")} == {("model", "scheme", "optimizer.lr")}
    store.append(run(0.6, {"scheme.sg.lr": "0.1", "optimizer.lr": "0.01"}, scheme="cdni", lag="4"))
    assert {tuple(row.group) for row in compare("runs")} == {("model", "scheme", "lag", "optimizer.lr", "scheme.sg.lr")}


def test_an_option_that_no_scheme_of_the_runs_reads_is_a_column_only_if_nothing_else_tells_them_apart(store):
    store += [run(0.9), run(0.8, {"scheme.sg.lr": "0.003", "model.name": "ntm"}, model="ntm")]
    store += [run(0.7, {"scheme.sg.lr": "0.003", "train.epochs": "9"})]
    assert {tuple(row.group) for row in compare("runs")} == {("model", "scheme", "train.epochs")}
    store.append(run(0.6, {"scheme.sg.lr": "0.1"}))
    assert "scheme.sg.lr" in compare("runs")[0].group


def test_groups_that_no_key_tells_apart_are_told_apart_by_their_hash(store):
    store += [run(0.9, config_hash="aaaaaaaabb"), run(0.8, config_hash="ccccccccdd"), run(0.7, scheme="dni")]
    assert [row.group["config_hash"] for row in compare("runs")] == ["aaaaaaaa", "cccccccc", "-"]


def test_every_trial_of_a_sweep_is_a_row_and_the_best_is_first(store):
    store += [
        run(accuracy, {"optimizer.lr": lr}, unlocked__parent="study")
        for accuracy, lr in ((0.7, "0.1"), (0.9, "0.01"), (0.8, "0.03"))
    ]
    assert compare("runs") == []
    rows = compare("runs", trials=True)
    assert [(row.group["optimizer.lr"], row.superseded) for row in rows] == [("0.01", 0), ("0.03", 0), ("0.1", 0)]


def test_trials_that_match_in_place_of_runs_are_named(store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    store += [run(0.9, unlocked__parent="study")]
    assert main(["compare"]) == 2
    assert "compare: no finished run matches; trials of a sweep do: add --trials\n" in capsys.readouterr().err


def test_a_run_again_is_superseded_by_the_later_and_that_is_said(store):
    store += [run(0.9), run(0.9), run(0.8, seed="1")]
    (found,) = sections("runs")
    assert (found.rows[0].superseded, found.rows[0].summary("test/accuracy").n) == (1, 2)
    assert any("1 earlier run of a repeated seed superseded by the later" in note for note in found.notes)
    assert "differ" not in found.notes[0]
    store.append(run(0.7))
    assert "their numbers differ by up to 0.2" in sections("runs")[0].notes[0]


def test_speeds_of_two_engines_or_machines_are_never_averaged(store):
    store += [
        run({"test/accuracy": 0.9, "time/steps_per_second": 100.0}),
        run({"test/accuracy": 0.8, "time/steps_per_second": 900.0}, seed="1", engine="inprocess"),
        run({"test/accuracy": 0.8, "time/steps_per_second": 300.0}, seed="2", engine="inprocess"),
    ]
    (found,) = sections("runs")
    assert found.rows[0].summary("test/accuracy").n == 3
    assert found.rows[0].values("time/steps_per_second @ ray") == [100.0]
    assert found.rows[0].values("time/steps_per_second @ in process") == [900.0, 300.0]
    shown = text(found)
    assert "steps/s," in shown
    assert "in process" in shown
    assert "comparable only within one column" in shown
    store.append(run({"test/accuracy": 0.8, "time/steps_per_second": 50.0}, scheme="dfa", host="b", cpus="64"))
    assert "time/steps_per_second @ ray on b 64 cores" in sections("runs")[0].metrics


def test_the_speed_of_a_superseded_run_elsewhere_stays(store):
    store += [
        run({"test/accuracy": 0.9, "time/steps_per_second": 100.0}),
        run({"test/accuracy": 0.9, "time/steps_per_second": 900.0}, engine="inprocess"),
    ]
    (row,) = compare("runs")
    assert row.values("time/steps_per_second @ ray") == [100.0]
    assert row.values("time/steps_per_second @ in process") == [900.0]


def test_data_sets_and_tasks_have_tables_of_their_own_each_by_what_its_task_follows(store):
    store += [
        run(0.9, scheme="cdni"),
        run({"test/loss": 1.5, "test/accuracy": 0.5}, dataset="text", task="language_modelling", monitor="loss"),
        run(
            {"test/loss": 1.4, "test/accuracy": 0.4},
            dataset="text",
            task="language_modelling",
            monitor="loss",
            scheme="dfa",
        ),
    ]
    found = sections("runs")
    assert [(section.title, section.metrics[0]) for section in found] == [
        ("digits, classification", "test/accuracy"),
        ("text, language_modelling", "test/loss"),
    ]
    assert [row.group["scheme"] for row in found[1].rows] == ["dfa", "backprop"]  # the lower loss first
    assert {row.group["dataset"] for row in compare("runs")} == {"digits", "text"}
    assert "dataset" not in compare("runs", conditions=["dataset=text"])[0].group


def test_the_run_of_a_study_itself_is_no_run(store):
    store += [run(0.9), run({"test/accuracy": 0.95}, unlocked__kind="study", dataset="", task="")]
    assert [row.values("test/accuracy") for row in compare("runs", trials=True)] == [[0.9]]


@pytest.mark.parametrize(
    ("known", "first"),
    [
        ({"test/accuracy": 0.9, "test/loss": 1.0}, "test/accuracy"),
        ({"test/rmse": 1.0, "test/loss": 1.0}, "test/rmse"),
        ({"test/mse": 1.0, "test/loss": 1.0}, "test/mse"),
        ({"best/val_bits": 2.0, "test/bits": 2.0}, "test/bits"),
        ({"test/accuracy": 0.5, "test/loss": 1.0, "test/perplexity": 2.7}, "test/loss"),
    ],
)
def test_of_runs_that_do_not_say_what_their_task_follows_it_is_read_from_their_metrics(store, known, first):
    store.append(run(known, monitor=""))
    assert sections("runs")[0].metrics[0] == first


@pytest.mark.parametrize(
    ("metric", "best"),
    [("loss", "a"), ("bits", "a"), ("mse", "a"), ("accuracy", "b"), ("r2", "b"), ("bleu", "b"), ("test/loss", "a")],
)
def test_rows_are_ranked_by_the_better_direction_of_the_metric(store, metric, best):
    name = f"test/{metric.removeprefix('test/')}"
    store += [run({name: 1.0}, scheme="a"), run({name: 2.0}, scheme="b"), run({name: 9.0}, scheme="frozen")]
    rows = compare("runs", metrics=[metric])
    assert rows[0].group["scheme"] == best
    assert rows[-1].is_control


def test_several_metrics_are_shown_and_an_unknown_one_is_refused(store):
    store += [run({"test/accuracy": 0.9, "test/loss": 0.3})]
    assert sections("runs", metrics=["loss", "accuracy"])[0].metrics == ["test/loss", "test/accuracy"]
    with pytest.raises(
        ConfigError,
        match=r"--metric: unknown metric 'acuracy'; did you mean 'accuracy'\? "
        r"\(known: accuracy, loss\)",
    ):
        sections("runs", metrics=["acuracy"])
    with pytest.raises(ConfigError, match=r"did you mean 'test/accuracy'\?"):
        sections("runs", metrics=["test/acuracy"])


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("quickstart", 2),
        ("quick*", 2),
        ("mnist1d/cdni", 1),
        ("mnist1d/*", 2),
        ("mnist1d", 2),
        ("folder-7", 1),
        ("x", 0),
    ],
)
def test_runs_are_chosen_by_preset_by_name_or_by_folder(store, name, count):
    store += [run(0.9), run(0.8, seed="1", scheme="dfa"), run(0.7, folder="folder-7", seed="2", name="other")]
    store += [run(0.6, dataset="mnist1d", name="mnist1d", scheme=scheme) for scheme in ("cdni", "dfa")]
    assert sum(len(row.seeds) for row in compare("runs", names=[name])) == count


@pytest.mark.parametrize(
    ("conditions", "count"),
    [
        (["scheme=dfa"], 1),
        (["scheme=dfa", "scheme=dni"], 2),
        (["optimizer.lr=1e-3"], 2),
        (["scheme=d*"], 2),
        (["epochs=30"], 3),
        (["optimizer.lr=0.1", "scheme=dfa"], 0),
        (["model.hidden=[32, 32]"], 3),
        (["seed=0"], 3),
    ],
)
def test_conditions_hold_for_every_key_and_any_of_its_values(store, conditions, count):
    store += [run(0.9), run(0.8, scheme="dfa"), run(0.7, {"optimizer.lr": "0.1"}, scheme="dni")]
    assert len(compare("runs", conditions=conditions)) == count


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("scheme", "'scheme' is not key=value"),
        ("shceme=dni", "no run has a tag or param 'shceme' .*did you mean 'scheme'"),
        ("lr=1", r"lr may be optimizer\.lr, scheme\.sg\.lr; give more of it"),
    ],
)
def test_a_condition_that_nothing_can_fulfil_is_one_line(store, condition, message):
    store.append(run(0.9))
    with pytest.raises(ConfigError, match=f"^--where: {message}"):
        compare("runs", conditions=[condition])


def test_a_short_key_means_the_one_in_which_the_runs_differ(store):
    store += [run(0.9), run(0.8, {"optimizer.lr": "0.01"})]
    assert [row.values("test/accuracy") for row in compare("runs", conditions=["lr=1e-2"])] == [[0.8]]


def test_rows_are_sorted_by_a_key_or_another_metric_when_asked(store):
    store += [
        run({"test/accuracy": 0.9, "test/loss": 0.5}, {"train.epochs": "30"}),
        run({"test/accuracy": 0.8, "test/loss": 0.4}, {"train.epochs": "4"}),
        run({"test/accuracy": 0.7, "test/loss": 0.6}, {"train.epochs": "100"}),
    ]
    both = ["accuracy", "loss"]
    for sort, order in ((None, ["30", "4", "100"]), ("epochs", ["4", "30", "100"]), ("loss", ["4", "30", "100"])):
        assert [row.group["train.epochs"] for row in compare("runs", metrics=both, sort=sort)] == order


def test_the_control_is_last_unless_an_order_is_asked_for(store):
    store += [run(0.9, scheme="frozen"), run(0.8), run(0.95, scheme="dfa")]
    assert [row.group["scheme"] for row in compare("runs")] == ["dfa", "backprop", "frozen"]
    for sort, order in (("accuracy", ["dfa", "frozen", "backprop"]), ("scheme", ["backprop", "dfa", "frozen"])):
        assert [row.group["scheme"] for row in compare("runs", sort=sort)] == order


def test_a_word_that_is_a_key_and_a_metric_sorts_by_the_metric_only_where_it_is_shown(store):
    for rate, last in (("0.1", 0.001), ("0.01", 0.002), ("0.001", 0.003)):
        store += [run({"test/accuracy": 0.9, "lr": last}, {"optimizer.lr": rate})]
    rates = ["0.001", "0.01", "0.1"]
    assert [row.group["optimizer.lr"] for row in compare("runs", sort="lr")] == rates
    (found,) = sections("runs", metrics=["lr"], sort="lr")
    assert [row.values("lr") for row in found.rows] == [[0.003], [0.002], [0.001]]
    assert "last lr" in text(found)


def test_an_order_that_nothing_has_names_the_metrics(store):
    store += [run({"test/accuracy": 0.9, "test/loss": 0.5})]
    with pytest.raises(ConfigError, match=r"^--sort: no run has .*'acc' .*metrics that are shown: test/accuracy"):
        sections("runs", sort="acc")
    with pytest.raises(ConfigError, match=r"^--sort: loss is not shown; add --metric loss$"):
        sections("runs", sort="loss")


def test_a_table_without_the_metric_that_others_are_sorted_by_keeps_its_order(store):
    for scheme, value in (("cdni", 0.7), ("backprop", 0.9)):
        store += [
            run({"test/accuracy": value}, scheme=scheme),
            run({"test/mse": value}, scheme=scheme, dataset="sunspots"),
        ]
    orders = [
        [row.group["scheme"] for row in table.rows]
        for table in sections("runs", metrics=["accuracy", "mse"], sort="accuracy")
    ]
    assert orders == [["backprop", "cdni"], ["cdni", "backprop"]]


def test_differences_to_a_baseline_are_paired_by_seed(store):
    for seed, (base, other) in enumerate([(0.90, 0.85), (0.80, 0.76), (0.70, 0.64)]):
        store += [run(base, seed=str(seed)), run(other, seed=str(seed), scheme="cdni")]
    store += [run(0.1, seed="7", scheme="cdni"), run(0.5, seed="0", scheme="dfa"), run(0.5, seed="9", scheme="dni")]
    (found,) = sections("runs", baseline="backprop")
    rows = {row.group["scheme"]: row for row in found.rows}
    cdni = rows["cdni"].differences["test/accuracy"]
    assert (cdni.n, rows["cdni"].summary("test/accuracy").n) == (3, 4)  # not the seed that backprop lacks
    assert cdni.mean == pytest.approx(-0.05)
    half = 4.302653 * 0.01 / math.sqrt(3)  # Student's t of 97.5 % with two degrees of freedom
    assert cdni.interval == pytest.approx((-0.05 - half, -0.05 + half))
    assert rows["dfa"].differences["test/accuracy"].interval is None
    assert rows["dni"].differences == rows["backprop"].differences == {}
    shown = text(found, baseline="backprop")
    assert "minus backprop, points" in shown
    assert "-5.0, n=3" in shown
    assert "-40.0 (1 seed)" in shown


def test_of_several_baselines_the_one_that_differs_least_is_taken_and_none_of_two_alike(store):
    for lr, base, other in (("0.1", 0.9, 0.8), ("0.2", 0.6, 0.55)):
        store += [run(base, {"optimizer.lr": lr}), run(other, {"optimizer.lr": lr}, scheme="cdni")]
    (found,) = sections("runs", baseline="backprop")
    assert {
        row.group["optimizer.lr"]: round(row.differences["test/accuracy"].mean, 9)
        for row in found.rows
        if row.differences
    } == {"0.1": -0.1, "0.2": -0.05}
    store.append(run(0.5, {"optimizer.lr": "0.4"}, scheme="dfa"))
    (found,) = sections("runs", baseline="backprop")
    assert next(row for row in found.rows if row.group["scheme"] == "dfa").differences == {}
    assert any("several rows of backprop" in note for note in found.notes)
    with pytest.raises(ConfigError, match="--baseline: unknown scheme 'backprob'; did you mean 'backprop'"):
        sections("runs", baseline="backprob")


def test_every_cell_says_of_how_many_seeds_it_is(store):
    store += [
        run({"test/accuracy": 0.9 + seed / 100, "test/loss": 1.0 if seed else math.nan}, seed=str(seed))
        for seed in range(3)
    ]
    (found,) = sections("runs", metrics=["accuracy", "loss"])
    shown = text(found)
    assert "91.0 ± 1.0% [90.0, 92.0], n=3" in shown
    assert "95 %: 88.5 to 93.5" in shown
    assert "[1, 1], n=2" in shown
    assert "1 value NaN or infinite: left out of mean and n" in shown


def test_an_interval_ends_where_the_metric_does_and_what_two_seeds_say_is_told(store, tmp_path):
    for seed, (accuracy, speed) in enumerate([(0.65, 200.0), (0.75, 300.0)]):
        values = {"test/accuracy": accuracy, "time/steps_per_second": speed, "test/loss": accuracy}
        store += [run(values, seed=str(seed)), run(1.7 * accuracy - 1.0, seed=str(seed), scheme="dfa")]
    (found,) = sections("runs", metrics=["accuracy", "time/steps_per_second", "loss"], baseline="backprop")
    shown = text(found, baseline="backprop")
    assert "95 %: 6.5 to 100.0" in shown  # not to 133.5
    assert "95 %: 0 to 885" in shown  # not from -385
    assert "95 %: 0.065 to 1.335" in shown  # a loss has no end
    assert "95 %: -95.5 to -6.5" in shown
    assert "n=2 says little" in shown
    line = to_csv(found.rows, tmp_path / "t.csv").read_text().splitlines()[1]
    assert ",1.0,2,250.0," in line
    store.append(run({"test/accuracy": 0.7}, seed="2"))
    assert "n=2 says little" not in text(sections("runs", metrics=["accuracy"], conditions=["scheme=backprop"])[0])


@pytest.mark.parametrize(
    ("metric", "values", "cell"),
    [
        ("test/loss", (2.2991, 2.3011), "2.3001 ± 0.0014 [2.2991, 2.3011]"),
        ("test/loss", (0.5, 0.7), "0.60 ± 0.14 [0.50, 0.70]"),
        ("time/steps_per_second", (1200.0, 1400.0), "1,300 ± 141 [1,200, 1,400]"),
        ("test/accuracy", (0.9001, 0.9003), "90.02 ± 0.01% [90.01, 90.03]"),
        ("test/accuracy", (0.9, 0.9), "90.0 ± 0.0% [90.0, 90.0]"),
    ],
)
def test_the_deviation_says_how_many_digits_are_shown(store, metric, values, cell):
    store += [run({metric: value}, seed=str(seed)) for seed, value in enumerate(values)]
    assert cell in text(sections("runs", metrics=[metric])[0])


def test_rates_have_four_digits_in_the_table_unless_two_would_look_alike(store):
    store += [run(0.9, {"optimizer.lr": "0.0025811552841929356"}), run(0.8, {"optimizer.lr": "0.01"})]
    (found,) = sections("runs")
    assert " 0.002581 " in text(found)
    assert found.rows[0].group["optimizer.lr"] == "0.0025811552841929356"
    store.append(run(0.7, {"optimizer.lr": "0.0025811552"}))
    assert " 0.0025811552841929356 " in text(sections("runs")[0])


def test_runs_from_before_the_hash_are_grouped_by_what_they_say_and_flagged(store):
    store += [
        run(0.9, data_digest=""),
        run(0.8, seed="1", data_digest=""),
        run(0.5, {"train.epochs": "1"}, config_hash="h"),
    ]
    (found,) = sections("runs")
    assert [row.summary("test/accuracy").n for row in found.rows] == [2, 1]
    assert any("2 of 3 runs are older than config_hash" in note for note in found.notes)


def test_brackets_of_values_are_shown(store):
    store += [run(0.9, {"model.hidden": "[/b]"}), run(0.8, {"model.hidden": "[bold]"})]
    shown = text(sections("runs")[0])
    assert "[/b]" in shown
    assert "[bold]" in shown


def test_the_csv_of_several_tables_holds_every_key_interval_and_difference(store, tmp_path):
    store += [
        run(0.9),
        run(0.8, seed="1"),
        run(0.85, scheme="dfa"),
        run({"test/loss": 1.0}, dataset="text", task="language_modelling", monitor="loss"),
    ]
    rows = compare("runs", baseline="backprop")
    lines = to_csv(rows, tmp_path / "t.csv").read_text().splitlines()
    assert lines[0].startswith("dataset,task,model,scheme,seeds,superseded,test/accuracy n,test/accuracy mean")
    assert "test/accuracy 95% low" in lines[0]
    assert "test/accuracy difference" in lines[0]
    assert len(lines) == 4


def test_the_command_shows_writes_and_draws_the_two_rows(store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    store += [run(0.925), run(0.109, {"train.epochs": "1", "data.transforms": "[flip]"})]
    assert main(["compare", "--csv", "t.csv", "--plot", "p.png", "--json"]) == 0
    out, said = capsys.readouterr()
    lines = said.splitlines()
    assert [[cell.strip() for cell in line.split("│")[3:7]] for line in lines if "│" in line] == [
        ["[]", "30", "1", "92.5% (1 seed)"],
        ["[flip]", "1", "1", "10.9% (1 seed)"],
    ]
    assert [row["group"]["train.epochs"] for row in json.loads(out)] == ["30", "1"]
    assert (tmp_path / "t.csv").read_text().count("\n") == 3
    assert (tmp_path / "p.png").exists()
    assert main(["compare", "--where", "epochs=1", "--metric", "accuracy"]) == 0
    assert capsys.readouterr().out.count("backprop") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--where", "x"], "--where: 'x' is not key=value"),
        (["--metric", "acc"], "--metric: unknown metric 'acc'"),
        (["--baseline", "dni"], "--baseline: unknown scheme 'dni' (known: backprop)"),
        (["--name", "nothing"], "compare: no finished run matches"),
        (["--sort", "x"], "--sort: no run has"),
        (["--plot", "p.png"], "--plot: there is a table each of digits, classification; text, classification"),
    ],
)
def test_what_the_command_cannot_do_is_one_line(store, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    store += [run(0.9), run(0.8, dataset="text")]
    assert main(["compare", *words]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--csv", "."], "--csv: . is a folder"),
        (["--plot", "."], "--plot: . is a folder"),
        (["--plot", "x.foo"], "--plot: x.foo does not end in .png or .pdf or .svg"),
        (["--plot", "x.png", "--against", "name"], "--against: no run has a number for name"),
    ],
)
def test_a_file_that_cannot_be_written_or_drawn_is_one_line(store, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    store += [run(0.9), run(0.8, {"optimizer.lr": "0.01"})]
    assert main(["compare", *words]) == 2
    told = capsys.readouterr()
    assert message in told.err
    assert (told.err.count("\n"), told.out, list(tmp_path.iterdir())) == (1, "", [])


def test_lines_are_drawn_over_a_key_by_its_short_name(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store += [run(0.9), run(0.8, {"optimizer.lr": "0.01"})]
    assert main(["compare", "--plot", "lines.png", "--against", "lr"]) == 0
    assert (tmp_path / "lines.png").exists()


def test_a_plot_says_below_its_title_which_runs_it_is_of(store, tmp_path, monkeypatch):
    from unlocked.drawing import style

    seen, write = [], style.write
    monkeypatch.setattr(style, "write", lambda figure, *more: (seen.append(figure), write(figure, *more))[1])
    store += [run(0.9), run(0.8, seed="1"), run(0.5, scheme="frozen")]
    words = ["--name", "quickstart", "--where", "modules=2", "--plot", str(tmp_path / "bars.png")]
    assert main(["compare", *words]) == 0
    line = "digits, classification  ·  quickstart  ·  modules=2  ·  3 runs in 2 configurations"
    assert line in [text.get_text() for text in seen[0].texts]


def test_the_garbage_collector_rests_while_runs_are_read_and_works_again_after_a_failure(monkeypatch, tmp_path):
    import gc

    from unlocked.comparing import finished

    seen = []
    monkeypatch.setattr(finished, "_search", lambda *_: seen.append(gc.isenabled()) or [])
    assert finished.finished_runs(tmp_path) == []
    assert seen == [False]
    monkeypatch.undo()
    with pytest.raises(UnlockedError):
        finished.finished_runs(tmp_path)
    assert gc.isenabled()


def test_the_table_is_made_without_torch():
    """Most of the time of a comparison of many runs would be its import."""
    import subprocess
    import sys

    names = "unlocked.cli.show, unlocked.comparing.rows, unlocked.comparing.fitting"
    code = f"import sys, {names}; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
