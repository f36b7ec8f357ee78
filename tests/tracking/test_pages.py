"""What the pages of runs, studies and experiments say, and that a user's own words stay."""

from __future__ import annotations

import re
import shlex
from types import SimpleNamespace

from unlocked.tracking.pages import Peers, Ran, experiment_line, run_page, sentence, shown, study_page
from unlocked.tracking.postings import post_run, post_study


def ran(name, scheme, seed, value, group=None, **metrics):
    tags = {
        "scheme": scheme, "seed": str(seed), "model": "mlp", "dataset": "digits", "modules": "2", "lag": "2",
        "monitor": "accuracy", "config_hash": group or scheme, "mlflow.unlocked.setting": "s",
        "mlflow.unlocked.direction": "max", "parameters": "5834", "partition": "[2, 3]", "git.commit": "a" * 40,
        "git.dirty": "true", "version.unlocked": "0.1.0",
    }  # fmt: skip
    return Ran(name, tags, {"test/accuracy": value, **metrics})


OWN = ran("r1", "cdni", 0, 0.93)
ALL = Peers([
    OWN, ran("r2", "cdni", 1, 0.91), ran("b0", "backprop", 0, 0.95), ran("f0", "frozen", 0, 0.7),
    ran("f1", "frozen", 1, 0.6), ran("f2", "frozen", 0, 0.1), ran("f9", "frozen", 0, 0.9, "other rate"),
])  # fmt: skip
PAGE = {
    "repeat": "unlocked train quickstart seed=0", "preset": "quickstart", "differs": ["optimizer.lr=0.01"],
    "run_dir": "/runs/one run", "warnings": ["a | b"], "figures": ["learning_curves"], "model": True,
    "direction": "max",
}  # fmt: skip


def test_a_result_stands_beside_its_baseline_and_its_control_over_the_same_seeds():
    words = sentence(OWN, ALL, falls=False)
    assert words.startswith("**mlp on digits under cdni, 2 modules, lag 2, seed 0: test accuracy 93.0 %**")
    assert "this configuration 92.0 % (mean of 2)" in words
    assert "baseline backprop 95.0 % (n = 1)" in words
    assert "control frozen 65.0 % (mean of 2)" in words  # the later of a repeated seed; of two rates that of more seeds


def test_a_scheme_that_does_not_beat_its_control_is_told_so():
    poor = ran("p", "dfa", 0, 0.5)
    assert "not above its control" in sentence(poor, Peers([poor, *ALL.runs]), falls=False)
    assert "not above its control" not in sentence(poor, Peers([poor, *ALL.runs]), falls=True)
    assert "no control (frozen) of this setting yet" in sentence(OWN, Peers([OWN]), falls=False)
    assert "this is the control" in sentence(ALL.runs[3], ALL, falls=False)


def test_the_page_of_a_run_answers_what_one_asks():
    run = Ran(
        "r1", OWN.tags, {**OWN.metrics, "time/wait_fraction/module_1": 0.25, "time/median_steps_per_second": 845.2}
    )
    text = run_page(run, ALL, PAGE)
    for words in (
        "module 1 25 %",
        "845 steps/s",
        "5,834 in 2 modules",
        "aaaaaaaaaa with changes",
        "`optimizer.lr=0.01`",
        "- a \\| b",
        "# repeat it\nunlocked train quickstart seed=0\n",
        "RUN='/runs/one run'",
        'mlflow models serve -m "$RUN/model"',
        "get-artifact?path=figures/inline/learning_curves.png&run_uuid=r1",
    ):
        assert words in text
    long = run_page(run, ALL, PAGE | {"repeat": "unlocked train quickstart " + "key.of.a.group='a value' " * 9})
    code = long.partition("```")[2].partition("```")[0].splitlines()
    assert max(map(len, code)) <= 76  # a longer one pushes the facts beside it out of the page
    assert "key.of.a.group='a value' \\" in long
    assert "wait for nobody" in run_page(OWN, ALL, PAGE | {"model": False})


def test_the_commands_of_a_page_hold_for_a_folder_with_a_quote_in_its_name():
    text = run_page(OWN, ALL, PAGE | {"run_dir": "/runs/o'neil"})
    (line,) = [line for line in text.splitlines() if "unlocked.load" in line]
    assert shlex.split(line) == ["python", "-c", "import sys, unlocked; net = unlocked.load(sys.argv[1])", "$RUN"]
    assert line.endswith('"$RUN"')
    (line,) = [line for line in text.splitlines() if line.startswith("RUN=")]
    assert shlex.split(line) == ["RUN=/runs/o'neil"]


def test_the_line_of_an_experiment_has_the_best_first_and_the_control_last():
    line = experiment_line(OWN, ALL, falls=False)
    assert line == (
        "Latest: mlp on digits, 2 modules, test accuracy: **backprop 95.0 %** n=1, cdni 92.0 % n=2, "
        "frozen 65.0 % (control) n=2"
    )


def test_the_page_of_a_study_links_its_best_trials_and_says_what_importances_are_worth():
    page = {
        "study": "s", "metric": "val/accuracy", "trials": 4, "complete": 3, "failed": 1,
        "best": [{"label": f"#{i} <b>", "value": 0.9 - i / 100, "runs": [("run", "s0")]} for i in range(12)],
        "best_config": "/runs/s/best.yaml", "figures": ["history", "importances"],
    }  # fmt: skip
    text = study_page("r", page, {"run": "#/experiments/1/runs/x"})
    assert "[s0](#/experiments/1/runs/x)" in text
    assert text.count("&lt;b&gt;") == 11  # in the lead, and ten of twelve
    assert "| 1 &emsp; | 90.0 % &emsp; | #0 &lt;b&gt; &emsp; | [s0](" in text  # cells bring their own room
    assert "3 completed trials: with fewer than 10 they say little" in text
    assert "unlocked train /runs/s/best.yaml" in text
    assert "no trial yet" in study_page("r", {"study": "s"}, {})


def test_figures_are_shown_by_their_metric():
    assert (shown(0.5, "test/accuracy"), shown(0.000123, "test/mse")) == ("50.0 %", "0.000123")


class Store:
    """Runs and one experiment, as far as postings use a client."""

    def __init__(self, runs):
        self.runs = {run.id: run for run in runs}
        self.experiment = {}

    def get_run(self, name):
        run = self.runs[name]
        return SimpleNamespace(
            info=SimpleNamespace(run_id=name), data=SimpleNamespace(tags=run.tags, metrics=run.metrics)
        )

    def search_runs(self, _, wanted="", **__):
        best = "`best` = 'yes'" in wanted
        return [self.get_run(name) for name, run in self.runs.items() if not best or run.tags.get("best") == "yes"]

    def set_tag(self, name, key, value):
        run = self.runs[name]
        self.runs[name] = Ran(name, {**run.tags, key: value}, run.metrics)

    def get_experiment(self, _):
        return SimpleNamespace(tags=self.experiment)

    def set_experiment_tag(self, _, key, value):
        self.experiment[key] = value

    def note(self, name):
        return self.runs[name].tags.get("mlflow.note.content")


def test_a_control_that_ends_later_is_told_on_the_pages_of_its_peers_but_for_those_that_somebody_changed():
    store = Store([OWN, ran("r2", "cdni", 1, 0.91)])
    post_run(store, "1", "r1", PAGE)
    post_run(store, "1", "r2", PAGE)
    assert "no control" in store.note("r1")
    store.set_tag("r2", "mlflow.note.content", "my own words")
    store.runs["f0"] = ran("f0", "frozen", 0, 0.7)
    post_run(store, "1", "f0", PAGE)
    assert "control frozen 70.0 %" in store.note("r1")
    assert store.note("r2") == "my own words"
    assert "frozen 70.0 % (control)" in store.experiment["mlflow.note.content"]
    store.experiment["mlflow.note.content"] = "mine"
    post_run(store, "1", "r1", PAGE)
    assert store.experiment["mlflow.note.content"] == "mine"


def test_the_runs_of_the_best_trial_are_tagged(tmp_path):
    from unlocked.files import write_json

    for name in ("one", "two"):
        (tmp_path / name / "tracking").mkdir(parents=True)
        write_json(tmp_path / name / "tracking" / "mlflow.json", {"run_id": name})
    store = Store([ran("study", "cdni", 0, 0.5), ran("one", "dfa", 0, 0.9), ran("two", "dfa", 1, 0.8)])
    best = [
        {"label": "#1", "value": 0.9, "runs": [("one", "s0")]},
        {"label": "#2", "value": 0.8, "runs": [("two", "s1")]},
    ]
    post_study(store, "1", "study", {"study": "s", "metric": "test/accuracy", "best": best}, tmp_path / "study")
    assert (store.runs["one"].tags.get("best"), store.runs["two"].tags.get("best")) == ("yes", None)
    page = {"study": "s", "metric": "test/accuracy", "best": best[1:]}  # of the study that went on
    post_study(store, "1", "study", page, tmp_path / "study")
    assert (store.runs["one"].tags.get("best"), store.runs["two"].tags.get("best")) == ("no", "yes")
    assert "[s1](#/experiments/1/runs/two" in store.note("study")


def test_names_with_signs_of_markdown_stay_words():
    strange = "<img src=x onerror=alert(1)> [a](http://x) `b` | ```"
    named = dict.fromkeys(("model", "dataset", "host", "partition"), strange)
    run = Ran("r", {**OWN.tags, **named, "scheme": strange}, OWN.metrics)
    page = {**PAGE, "differs": [f"model.note={strange}"], "warnings": [strange], "repeat": f"train '{strange}'"}
    text = run_page(run, Peers([run]), page)
    words, block, after = text.partition("````\n")[0], text.split("````\n")[1], text.split("````\n")[2]
    assert strange in block  # a command as it is, in a fence that it cannot end
    for line in (words + after + experiment_line(run, Peers([run]), falls=False)).splitlines():
        bare = re.sub(r"(?<!\\)(`{4}).*?\1", "", line)  # without code
        assert "<img" not in bare
        assert not re.search(r"(?<!\\)\]\(http://x", bare)
        assert not re.search(r"(?<!\\)`", bare.replace("best.yaml", ""))
