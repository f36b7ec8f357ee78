"""The figures of a search: swept parameters alone, names whole, and the best trial marked."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from unlocked.drawing import optuna as pages
from unlocked.drawing import search as figures
from unlocked.drawing import style
from unlocked.drawing.search import Parameter, Search, Try

SPACE = [
    Parameter("optimizer.lr", log=True),
    Parameter("model.width"),
    Parameter("scheme.name", choices=["backprop", "cdni", "sign_symmetric"]),
    Parameter("scheme.sg.lr", log=True),
]


@pytest.fixture
def search() -> Search:
    tries = []
    for n in range(9):
        params = {
            "optimizer.lr": 10 ** -(1 + n % 5),
            "model.width": 8 * (1 + n),
            "scheme.name": SPACE[2].choices[n % 3],
        }
        params |= {"scheme.sg.lr": 10 ** -(2 + n % 4)} if n % 3 == 1 else {}
        tries.append(Try(n, params, 0.1 * n if n < 8 else None, {1: 0.05 * n, 2: 0.1 * n}))
    return Search("val/accuracy", True, tries, SPACE, {"optimizer.lr": 0.7, "scheme.name": 0.2, "model.width": 0.1})


@pytest.mark.parametrize(
    "draw",
    [
        figures.history,
        figures.importances,
        figures.slices,
        figures.contours,
        figures.parallel,
        figures.reported,
    ],
)
def test_no_name_is_cut(search, draw, tmp_path: Path, monkeypatch):
    seen, write = [], style.write

    def watched(figure, panels, path):
        seen.append(figure)
        return write(figure, panels, path)

    monkeypatch.setattr(style, "write", watched)
    draw(search, tmp_path / "one.png")
    (figure,) = seen
    figure.canvas.draw()
    box = figure.get_tightbbox(figure.canvas.get_renderer())
    wide, high = figure.get_size_inches()
    assert min(box.x0, box.y0, wide - box.x1, high - box.y1) >= -0.01


def test_logarithmic_values_and_names_have_their_places():
    assert SPACE[0].place(0.01) == pytest.approx(-2)
    assert SPACE[2].place("cdni") == 1
    assert figures._marks(SPACE[0], -4, -2) == [(0, "0.0001"), (0.5, "0.001"), (1, "0.01")]
    assert [figures._power(at) for at in (-5, -3, 2, 3.5)] == ["1e-5", "0.001", "100", "3,162"]


def test_only_swept_parameters_are_shown_and_the_best_is_the_lowest_where_lower_is_better():
    study = optuna.create_study(direction="minimize")

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_categorical("data.name", ["digits"])
        return trial.suggest_float("optimizer.lr", 1e-3, 1e-1, log=True)

    study.optimize(objective, n_trials=4)
    found = pages._search(study, "val/loss")
    assert found.parameters == [Parameter("optimizer.lr", log=True)]
    assert found.best.value == min(trial.value for trial in study.trials)
