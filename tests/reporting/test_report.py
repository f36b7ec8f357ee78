"""A report says the answer with its n, shows every configuration beside baseline and control, and opens offline."""

from __future__ import annotations

import copy
import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from unlocked.cli.main import main
from unlocked.comparing.rows import Row
from unlocked.drawing.style import drawing
from unlocked.errors import ConfigError
from unlocked.reporting import FORMATS, report
from unlocked.reporting.answer import Reference, answer
from unlocked.reporting.chapters import time_to_quality, write
from unlocked.reporting.document import Commands, Document, Figure, Heading, Notes, Paragraph, Table
from unlocked.reporting.gather import Group, _here, gather, of_folder
from unlocked.reporting.latex import render as to_latex
from unlocked.reporting.markdown import render as to_markdown
from unlocked.reporting.report import _best
from unlocked.tracking.spool import Recorder

REACHED = {
    "backprop": [0.95, 0.96, 0.97],
    "cdni": [0.90, 0.91, 0.95],
    "frozen": [0.50, 0.55, 0.60],
}
PAIR = (Reference("backprop", "baseline"), Reference("frozen", "control"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    root = tmp_path_factory.mktemp("runs")
    shutil.copy(empty_database, root / "mlflow.db")
    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    first = client.create_experiment("first", artifact_location=str(root / "artifacts"))
    other = client.create_experiment("other", artifact_location=str(root / "artifacts"))

    def run(experiment: str, scheme: str, seed: int, at: int, **tags: str) -> None:
        known = {"model": "mlp", "scheme": scheme, "seed": str(seed), "dataset": "digits", "task": "classification"}
        made = client.create_run(experiment, at, {**known, **tags}, f"{scheme}-{seed}").info
        top, end = REACHED[scheme][seed], at + 3000
        shares = ((1, 0.5), (2, 0.9), (3, 1.0))
        points = [("val/accuracy", step, at + 1000 * step, top * share) for step, share in shares]
        points += [("test/accuracy", 3, end, top), ("time/steps_per_second", 3, end, 9.0)]
        if scheme == "cdni":
            points += [("align/module_0", step, at, 0.1 * step) for step in (1, 2, 3)]
            spent = [f"time/{what}_ms" for what in ("compute", "wait", "communicate")]
            points += [(f"{what}/module_{k}", 3, end, 2.0) for what in spent for k in (0, 1)]
        client.log_batch(made.run_id, [Metric(name, value, when, step) for name, step, when, value in points])
        client.set_terminated(made.run_id, "FINISHED", at + 3000)

    for scheme in REACHED:
        for seed in range(3):
            run(first, scheme, seed, 1000 + seed)
    run(other, "cdni", 0, 9000, lag="2")
    return root


def test_the_page_holds_everything_within_itself(root: Path, tmp_path: Path):
    made = report(root, ["first"], out=tmp_path / "page.html", runs_root=root, command="unlocked report first")
    page = made.path.read_text()
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert not re.search(r"https?://", re.sub(r"base64,[^\"]*", "", page))
    assert "<script" not in page
    for heading in (
        "Results",
        "Learning",
        "Speed and quality",
        "Alignment",
        "Waiting",
        "What differs",
        "How to repeat it",
    ):
        assert f"<h2>{heading}</h2>" in page
    assert page.count("data:image/svg+xml;base64,") == 4  # curves, Pareto, alignment, waiting
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert "unlocked report first" in page
    assert "#009E73" in page  # cdni's colour
    for cell in ("96.0 %<br>93.5 to 98.5", "-4.0 points<br>-8.3 to 0.3", "+37.0 points<br>"):
        assert cell in page
    assert made.kept == "backprop-0"  # the best configuration's first seed
    assert (next(root.glob("artifacts/*/artifacts/report")) / "page.html").read_text() == page


def test_of_many_configurations_the_table_alone_has_the_long_names(root: Path):
    (found,) = gather(root, ["first"], runs_root=root)
    many = replace(found, groups=[found.groups[0]] * 9 + [found.groups[-1]])
    document, _ = write([many], PAIR, None, [], "unlocked report")
    results, *others = [block for block in document.blocks if isinstance(block, Table)]
    assert [row[0] for row in results.rows][8:] == ["#9 backprop", "#10 frozen (control)"]
    assert [row[0] for row in others[0].rows] == [*(f"#{i} backprop" for i in range(1, 9)), "#10 frozen"]


@pytest.mark.slow("starts a browser")
def test_the_page_opens_offline_in_light_dark_and_print(root: Path, tmp_path: Path):
    sync = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    page = report(root, ["first"], out=tmp_path / "page.html", runs_root=root).path
    quiet = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    quiet += ["--no-sandbox", "--disable-component-update", "--disable-sync"]
    with sync.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=quiet)
        papers = {}
        for scheme in ("light", "dark"):
            context = browser.new_context(offline=True, color_scheme=scheme, viewport={"width": 1200, "height": 900})
            tab, said = context.new_page(), []
            tab.on("console", lambda message, said=said: said.append(message.text))
            tab.on("requestfailed", lambda request, said=said: said.append(request.url))
            tab.goto(page.as_uri())
            assert said == []
            widths = tab.evaluate("[...document.images].map(image => image.naturalWidth)")
            assert len(widths) == 4
            assert min(widths) > 300
            assert tab.evaluate("document.documentElement.scrollWidth") == 1200  # nothing beside the page
            papers[scheme] = tab.evaluate("getComputedStyle(document.body).backgroundColor")
            tab.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)
            tab.pdf(path=tmp_path / "page.pdf", format="A4")
        browser.close()
    assert papers == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 27)"}
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


def test_without_a_name_it_is_about_the_experiment_of_the_latest_run(root: Path):
    (found,) = gather(root, runs_root=root)
    assert [group.scheme for group in found.groups] == ["cdni"]
    assert found.groups[0].row.seeds.keys() == {"0"}


def test_names_are_experiments_or_runs_and_unknown_ones_are_refused(root: Path):
    (found,) = gather(root, ["cdni-1", "frozen-*"], runs_root=root)
    assert [(group.scheme, [*group.members]) for group in found.groups] == [
        ("cdni", ["1"]),
        ("frozen", ["0", "1", "2"]),
    ]
    with pytest.raises(ConfigError, match=r"no finished run matches firts \(experiments: .*first, other"):
        gather(root, ["firts"], runs_root=root)


def test_the_time_to_a_quality_counts_the_seeds_that_reach_it(root: Path):
    (found,) = gather(root, ["first"], runs_root=root)
    table = time_to_quality(found, ["a", "b", "c"], "val/accuracy", quality=0.8)
    assert [list(row) for row in table.rows] == [
        ["a", "3 of 3", "2", "2.0 s"],
        ["b", "3 of 3", "2", "2.0 s"],
        ["c", "0 of 3", "–", "–"],
    ]
    common = time_to_quality(found, ["a", "b", "c"], "val/accuracy")
    assert "90.0 %" in common.header[0]  # what the weakest seed of cdni reaches


def test_a_slow_seed_has_the_clock_of_the_others():
    fast, slow = ([(step, step * pace, 0.1 * step) for step in (1, 2, 3)] for pace in (1.0, 9.0))
    members = {str(seed): SimpleNamespace(series={"val/loss": each}) for seed, each in enumerate((fast, slow))}
    curves = Group(Row({}, {}), members, "cdni").curves_of_one_clock("val/loss")
    assert curves == [[(5.0, 0.1), (10.0, 0.2), (15.0, pytest.approx(0.3))]] * 2
    members["0"].series["val/loss"] = fast[:2]  # it ended early
    assert Group(Row({}, {}), members, "cdni").curves_of_one_clock("val/loss")[1] == [(5.0, 0.1), (10.0, 0.2)]


def test_the_common_quality_is_not_that_of_a_scheme_that_learned_nothing():
    reached = {"cdni": [0.9, 0.8], "dfa": [0.2, 0.3], "frozen": [0.5, 0.6]}
    groups = [
        SimpleNamespace(
            scheme=scheme,
            row=SimpleNamespace(is_control=scheme == "frozen"),
            curves=lambda metric, seconds=False, tops=tops: [[(1, top / 2), (2, top)] for top in tops],
        )
        for scheme, tops in reached.items()
    ]
    table = time_to_quality(SimpleNamespace(groups=groups), list(reached), "val/accuracy")
    assert "80.0 %" in table.header[0]
    assert [row[1] for row in table.rows] == ["2 of 2", "0 of 2", "0 of 2"]
    only = time_to_quality(SimpleNamespace(groups=groups[1:]), ["dfa", "frozen"], "val/accuracy")
    assert "20.0 %" in only.header[0]  # none is above the control


@pytest.mark.parametrize(
    ("reached", "wanted"),
    [
        (
            {"cdni": [0.9, 0.92], "backprop": [0.8, 0.82], "frozen": [0.5, 0.52]},
            "On digits, cdni reaches 91.0 % test accuracy (n = 2, 95 % interval 78.3 to 100.0), 10.0 points above the "
            "baseline backprop (paired by seed, n = 2, 95 % 10.0 to 10.0) and 40.0 points above the control frozen "
            "(paired by seed, n = 2, 95 % 40.0 to 40.0).",
        ),
        ({"cdni": [0.4], "frozen": [0.5]}, "the others learned nothing"),
        ({"cdni": [0.4], "frozen": [0.3]}, "10.0 points above the control frozen (one seed: it may be chance)"),
        ({"cdni": [0.4, 0.6], "backprop": [0.5, 0.4]}, "no difference is shown"),
        ({"cdni": [0.4]}, "There is no control among these runs (scheme.name=frozen)."),
        ({}, "No run of digits has test accuracy."),
    ],
    ids=["best", "control as good", "one seed", "no difference", "no control", "nothing"],
)
def test_the_answer_is_a_sentence_with_its_n(reached, wanted):
    rows = [
        Row({"scheme": scheme}, {str(seed): {"test/accuracy": value} for seed, value in enumerate(values)})
        for scheme, values in reached.items()
    ]
    assert wanted in answer(rows, list(reached), "test/accuracy", *PAIR, "digits")


def test_a_control_at_several_rates_is_told_though_none_of_them_is_the_one_to_pair_with():
    tried = [("cdni", 0.1, 0.9), ("frozen", 0.2, 0.5), ("frozen", 0.3, 0.6)]
    rows = [Row({"scheme": scheme, "lr": rate}, {"0": {"test/accuracy": top}}) for scheme, rate, top in tried]
    told = answer(rows, ["cdni", "frozen 0.2", "frozen 0.3"], "test/accuracy", *PAIR, "digits")
    assert "The best of the controls, frozen 0.3, reaches 60.0 % test accuracy" in told


def test_time_between_two_starts_of_a_run_does_not_count(tmp_path: Path):
    recorder = Recorder(tmp_path)
    for begun, step in ((1_000_000, 1), (9_000_000, 2)):
        recorder._append({"t": "start", "time": begun, "params": {}, "tags": {}})
        recorder.metrics(step, {"val/loss": 1.0}, begun + 5000)
    recorder.close()
    assert of_folder(tmp_path)["val/loss"] == [(1, 5.0, 1.0), (2, 10.0, 1.0)]


def one_of_each() -> Document:
    def draw(path: Path) -> Path:
        with drawing(path) as (_, (panel,)):
            panel.plot([0, 1])
        return path

    table = Table(["a_b", "x"], [["50 % <b>|", "1\n2"]], "the caption")
    blocks = [Heading("H"), Paragraph("A & B", lead=True), Commands(["cmd --x"]), Notes(["a note"]), table]
    return Document("T_1", "sub", [*blocks, Figure("plot", draw, "a plot"), Figure("none", lambda path: None, "none")])


def test_markdown_has_its_figures_beside_it(tmp_path: Path):
    text = to_markdown(one_of_each(), tmp_path / "r.md").read_text()
    assert "| 50 % \\<b\\>\\| | 1<br>2 |" in text
    assert "![a plot](r-figures/plot.png)" in text
    assert "none" not in text
    assert (tmp_path / "r-figures" / "plot.png").exists()


def test_latex_escapes_what_it_would_read_as_its_own(tmp_path: Path):
    text = to_latex(one_of_each(), tmp_path / "r.tex").read_text()
    assert r"50 \% \textless{}b\textgreater{}| & \shortstack[r]{1\\2} \\" in text
    assert r"\section*{T\_1}" in text
    assert r"\includegraphics[width=\linewidth]{r-figures/plot.pdf}" in text
    assert (tmp_path / "r-figures" / "plot.pdf").exists()
    assert text.count(r"\begin{") == text.count(r"\end{")


@pytest.mark.slow("LaTeX runs")
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="LaTeX is not installed")
def test_latex_makes_a_page_of_whatever_a_report_says(tmp_path: Path):
    document = one_of_each()
    strange = r"a_b 50 % & $x$ #1 {y} \z ~ ^ [1] <b> ± − … µ × ² ü ≥ 学 🙂"
    command = "unlocked train quickstart " + "optimizer.lr=0.01 " * 9
    document.blocks += [Paragraph(strange), Notes([strange]), Table([strange], [[strange]], strange)]
    document.blocks += [Commands([f"# {strange}", command, r"\end{verbatim}"])]
    path = to_latex(document, tmp_path / "r.tex")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", path.name],
        cwd=tmp_path,
        capture_output=True,
        timeout=120,
        check=False,
    )
    said = done.stdout.decode(errors="replace")
    assert done.returncode == 0, said[-2000:]
    assert "optimizer.lr=0.01 \\\n" in path.read_text()  # a line of the page holds 80 letters
    assert (tmp_path / "r.pdf").stat().st_size > 10_000


def test_a_report_holds_no_password_of_its_command(root: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("STORE_PASSWORD", "hunter-2-hunter")
    monkeypatch.setitem(FORMATS, "html", (".html", lambda document, path: path.write_text(repr(document))))
    command = "unlocked report --uri postgresql+psycopg2://ann:se/cret@host/db --where note=hunter-2-hunter"
    page = report(root, ["first"], out=tmp_path / "page.html", runs_root=root, command=command).path.read_text()
    assert "unlocked report --uri postgresql+psycopg2://***@host/db --where note=***" in page
    assert "se/cret" not in page


@pytest.mark.parametrize("name", ["x\nrm -rf ~", "$(touch it)", "../../elsewhere", "o" * 250 + "ü" * 10, ".."])
def test_a_name_in_a_store_is_one_word_of_a_command_and_no_place(name, root: Path, tmp_path: Path):
    (found,) = gather(root, ["frozen-0"], runs_root=tmp_path)
    member = next(iter(found.groups[0].members.values()))
    run = copy.copy(member.run)
    run.name = name
    found.groups[0].members["0"] = replace(member, run=run, folder=_here(tmp_path, name))
    assert found.groups[0].members["0"].folder is None
    document, _ = write([found], PAIR, None, [], "unlocked report")
    comment, command, *more = next(block for block in document.blocks if isinstance(block, Commands)).lines
    assert (comment[0], more) == ("#", [])
    assert "\n" not in comment
    assert shlex.split(command) == ["unlocked", "train", f"{name}/config.yaml"]


def test_no_line_of_a_command_ends_its_block(tmp_path: Path):
    document = Document("[1] `t`", "$a$ ~b~ &lt;", [Commands(["```", r"\end{verbatim}"]), Table(["[a]"], [["[32]"]])])
    text = to_markdown(document, tmp_path / "r.md").read_text()
    assert "````\n```\n\\end{verbatim}\n````" in text
    assert "\\$a\\$ \\~b\\~ \\&lt;" in text
    tex = to_latex(document, tmp_path / "r.tex").read_text()
    assert tex.count(r"\end{verbatim}") == 1
    assert r"{[}32]" in tex


def test_the_command_ends_wrong_input_in_one_line(root: Path, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["report", "--runs", str(root), "nothing"]) == 2
    assert "unlocked: report: no finished run matches nothing" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["report", "--runs", str(root), "--out", "file/x.html"]) == 2
    assert "file is a file, and file/x.html cannot lie in it" in capsys.readouterr().err
    assert main(["report", "--runs", str(root), "--quality", "nan"]) == 2
    assert "--quality: nan is no value" in capsys.readouterr().err
    assert main(["report", "--runs", str(root), "--out", "x.pdf"]) == 2
    assert "--out: x.pdf does not end in .html" in capsys.readouterr().err


def test_a_report_of_a_studys_trials_is_kept_with_the_study():
    def trial(parent: str | None) -> SimpleNamespace:
        tags = {} if parent is None else {"mlflow.parentRunId": parent}
        return SimpleNamespace(tags=tags, id="own", name="trial", word=lambda key: "lag")

    def kept_by(*parents: str | None) -> tuple[str, str]:
        runs = [trial(parent) for parent in parents]
        group = SimpleNamespace(members={"0": SimpleNamespace(run=runs[0])})
        return _best([SimpleNamespace(runs=runs, groups=[group])])

    assert kept_by("study", "study") == ("study", "the study lag")
    assert kept_by("study", "other") == ("own", "trial")
    assert kept_by(None) == ("own", "trial")
