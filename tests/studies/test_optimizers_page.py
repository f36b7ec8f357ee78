"""The page of optimisers under every scheme: made from its figures, and chosen by validation alone."""

import importlib.util
from pathlib import Path

PLACE = Path(__file__).parents[2] / "docs" / "results" / "optimizers.py"
_spec = importlib.util.spec_from_file_location("optimizers_page", PLACE)
made = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(made)


def row(rate, seed, validation, test):
    return dict(zip(made.FIELDS, ("digits", "cdni", "sgd", rate, seed, validation, test), strict=True))


def test_the_page_shows_its_figures():
    text = made.PAGE.read_text()
    assert text == made.page(text), "run: python docs/results/optimizers.py"


def test_the_rate_is_chosen_on_validation_data_over_the_seeds_that_both_rates_have():
    rows = [
        row("0.1", "0", "0.90", "0.50"),
        row("0.1", "1", "0.90", "0.70"),
        row("0.3", "0", "0.80", "0.99"),
        row("0.3", "1", "0.80", "0.99"),
        row("0.3", "2", "1.00", "0.99"),
    ]
    assert made.cell(rows) == ("60.0 [50.0, 70.0] at 0.1", 2)
    assert made.cell(rows[:1]) == ("—", 0)
