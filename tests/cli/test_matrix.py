"""`unlocked list matrix`: a figure has one home, a reason comes from the function that refuses."""

import importlib.util
import re
from pathlib import Path

import pytest

from unlocked.cli.main import main
from unlocked.cli.matrix import matrix, means, measured, with_notes
from unlocked.config import load_config
from unlocked.errors import ConfigError
from unlocked.schemes import SCHEMES
from unlocked_models import MODELS

ROOT = Path(__file__).parents[2]
OURS = [name for name in SCHEMES if SCHEMES.get(name).__module__.startswith("unlocked.")]
_spec = importlib.util.spec_from_file_location("tables", ROOT / "docs" / "results" / "tables.py")
tables = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tables)


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, str]]:
    return {row["family"]: row for row in matrix()}


def test_no_cell_says_that_a_family_trains_without_a_figure(rows):
    for row in rows.values():
        for scheme in OURS:
            assert re.match(r"−?\d+|[≥≤] |not measured$|refused: cannot train .+: .+", row[scheme]), row
    assert sum(row[scheme][0].isdigit() for row in rows.values() for scheme in OURS) > 30


def test_the_page_of_results_shows_every_figure():
    text = tables.PAGE.read_text()
    assert text == tables.page(text, tables.table()), "run: python docs/results/tables.py"


def test_the_readme_shows_means_of_the_file_of_figures(rows):
    head, *lines = re.findall(r"^\| (?:family|\w+): .*\|$", (ROOT / "README.md").read_text(), re.M)
    schemes = [name.strip(" *") for name in head.strip("|").split("|")[1:]]
    assert {row.partition(":")[0].strip("| ") for row in lines} >= {"mlp", "transformer", "adversarial"}
    for row in lines:
        family, *cells = (cell.strip(" *") for cell in row.strip("|").split("|"))
        of = rows[family.partition(":")[0]]
        for scheme, cell in zip(schemes, cells, strict=True):
            if re.fullmatch(r"[\d.]+", cell):
                half_a_digit = 0.5 / 10 ** len(cell.partition(".")[2])
                mean = float(of[scheme].partition(" ")[0])
                assert float(cell) == pytest.approx(mean, abs=half_a_digit * 1.001), (family, scheme)


def test_a_studys_table_becomes_figures(tmp_path, monkeypatch):
    figures = tmp_path / "measured.csv"
    figures.write_text("# head\nfamily,preset,metric,backprop\n")
    (tmp_path / "matrix.md").write_text(
        "| | metric | backprop | dfa | frozen | parameters | steps/s |\n|---|---|---|---|---|---|---|\n"
        "| recurrent/gru | test/accuracy | 0.6849 [0.679, 0.692] ✓ | failed | 0.392 | 90,312 | 88 |\n"
    )
    monkeypatch.setattr(tables, "FIGURES", figures)
    monkeypatch.setattr(tables, "measured", lambda: [{"family": "mlp", "preset": "mnist1d", "backprop": "73.5"}])
    tables.take(tmp_path)
    head, _, mlp, gru = figures.read_text().splitlines()
    assert (head, mlp) == ("# head", "mlp,mnist1d,,73.5" + "," * (len(tables.SCHEMES) - 1))
    assert gru == 'recurrent,recurrent/gru,"accuracy, %","68.5 [67.9, 69.2]",,,,,39.2' + "," * (len(tables.SCHEMES) - 6)


def test_what_is_measured_is_a_preset_of_that_family():
    for row in measured():
        name = row["preset"]
        folder = (ROOT / "experiments" / name).is_dir()
        config = load_config(f"{name}/backprop" if folder else name)
        assert row["family"] in (MODELS.facts(config.model["name"])["family"], name.partition("/")[0])


@pytest.mark.parametrize(
    ("preset", "scheme", "family"),
    [("autoencoder/autoencoder", "local", "autoencoder"), ("embedding/skipgram", "dfa", "embedding")],
)
def test_a_reason_is_what_a_run_is_told(preset, scheme, family, rows):
    with pytest.raises(ConfigError) as refused:
        load_config(preset, [f"scheme.name={scheme}"])
    assert rows[family][scheme].removeprefix("refused: ") in str(refused.value)


def test_a_family_without_figures_shows_the_bars_of_its_preset(monkeypatch):
    others = [row for row in measured() if row["family"] != "embedding"]
    monkeypatch.setattr("unlocked.cli.matrix.measured", lambda: others)
    (row,) = (row for row in matrix() if row["family"] == "embedding")
    assert (row["backprop"], row["frozen"]) == ("≤ 7.9", "≥ 11.3")
    assert row["measured on"] == "embedding/cbow_full, bar of test/bits"


def test_the_table_has_means_and_each_reason_once(rows):
    tables, notes = with_notes(list(rows.values()))
    (mlp,) = (row for row in tables[""] if row["family"] == "mlp")
    (first, *_) = (row for row in measured() if row["family"] == "mlp")
    assert mlp["backprop"] == first["backprop"].partition(" [")[0]
    reasons = [note for note in notes if note.startswith("(")]
    assert len(reasons) == len({note.partition(") ")[2] for note in reasons})
    assert "mlp: mnist1d, accuracy, %" in notes


def test_every_measured_preset_is_listed_with_its_metric():
    tables, _ = means(measured())
    assert {(metric, row["preset"]) for metric, rows in tables.items() for row in rows} == {
        (row["metric"], row["preset"]) for row in measured()
    }
    for rows in tables.values():
        assert all(any(row[scheme] != "—" for row in rows) for scheme in rows[0])


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("what", ["matrix", "measured"])
def test_tables_by_scheme_fit_the_terminal_and_break_no_name(what, width, rows, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("unlocked.cli.matrix.matrix", lambda: list(rows.values()))
    assert main(["list", what]) == 0
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if line.startswith(" ")]
    assert max(map(len, lines)) <= width
    first = "family" if what == "matrix" else "preset"
    shown = rows.values() if what == "matrix" else measured()
    words = {word for line in lines for word in line.split()}
    assert {row[first] for row in shown} <= words
    assert {"backprop", "denoise", "pcd"} <= words
