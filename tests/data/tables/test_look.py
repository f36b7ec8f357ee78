"""A table as `unlocked data` shows it, and the configuration that it comes with."""

import pytest

from unlocked.cli.main import main
from unlocked.config import load_config
from unlocked.data import Source
from unlocked.data.files.looking import LOOKS, kinds_of

ROWS = [
    f"{i},{['cat', 'dog'][i % 2]},{'' if i % 9 == 0 else i % 7},{'oops' if i == 17 else i},x,{i * 0.25},name {i}"
    for i in range(60)
]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "pets.csv"
    path.write_text("\n".join(["no,species,age,score,same,weight,name", *ROWS]))
    return path


def look(path, **options):
    return LOOKS.get("table")(Source("table", path.parent), path, {"file": str(path), **options})


def test_columns_classes_and_what_to_mind_are_seen(file):
    seen = look(file)
    assert kinds_of(file)[0] == "table"
    assert seen.counts == {"rows": 60, "columns": 7, "missing values": 7}
    kinds = {row["column"]: row["read as"] for row in seen.tables["columns"]}
    assert kinds == {
        "no": "number", "species": "category", "age": "number", "score": "numbers and texts", "same": "category",
        "weight": "number", "name": "category",
    }  # fmt: skip
    assert seen.tables["classes of species"][0] == {"class": "cat", "rows": 30, "share": "50.0%"}
    told = " | ".join(seen.notes)
    for note in (
        "no counts the rows",
        "row 18: score is 'oops'",
        "same is the same",
        "name is another text",
        "a guess: sp",
    ):
        assert note in told
    options = seen.config["data"]["options"]
    assert (options["target"], options["drop"], options["empty"]) == ("species", ["no", "same", "name"], ["oops"])


def test_a_first_column_that_alone_is_of_texts_is_the_target(tmp_path):
    (tmp_path / "letters.csv").write_text("letter,width,high\n" + "A,1,2\nB,3,5\n" * 9)
    assert look(tmp_path / "letters.csv").config["data"]["options"]["target"] == "letter"


def test_rows_in_the_order_of_years_may_be_a_series(tmp_path):
    (tmp_path / "spots.csv").write_text("year,spots\n" + "".join(f"{1700 + i},{i % 7}\n" for i in range(9)))
    assert "rows are in the order of year: --as series forecasts what comes next" in look(tmp_path / "spots.csv").notes


def test_values_are_a_regression(file):
    assert look(file, target="weight").config["data"]["options"]["task"] == "regression"
    assert look(file, target=["weight", "age"]).config["data"]["options"]["target"] == ["weight", "age"]


@pytest.mark.parametrize("words", [[], ["target=weight"], ["target=[age,weight]", "missing=indicate"]])
def test_the_configuration_trains(file, tmp_path, capsys, words):
    from unlocked.plan.plan import load_data

    written = str(tmp_path / "pets.yaml")
    assert main(["data", str(file), *words, "--write", written]) == 0
    capsys.readouterr()
    data = load_data(load_config(written))
    assert len(data.train) + len(data.validation) + len(data.test) == 60 - 7 * ("age" in str(words))


def test_a_series_is_seen_with_its_time_its_series_and_its_gaps(tmp_path, capsys):
    from unlocked.plan.plan import load_data

    weeks = [f"2024{1 + week // 3:02d}{1 + week % 3 * 7:02d}" for week in range(36)]  # 20240101 is a date too
    rows = [f"{week},{shop},{at % 5}" for at, week in enumerate(weeks) for shop in "ab"]
    path = tmp_path / "shops.csv"
    path.write_text("\n".join(["week,shop,units", *rows]))
    assert kinds_of(path) == ["table", "series"]
    seen = LOOKS.get("series")(Source("series", tmp_path), path, {"file": str(path), "length": 4})
    assert seen.counts == {"rows": 72, "series": 2, "channels": 1, "missing values": 0}
    assert (seen.config["data"]["options"]["time"], seen.config["data"]["options"]["series"]) == ("week", "shop")
    assert "time goes on by 7 days mostly, and by 17 before row" in " ".join(seen.notes)
    written = str(tmp_path / "shops.yaml")
    assert main(["data", str(path), "--as", "series", "length=4", "--write", written]) == 0
    capsys.readouterr()
    data = load_data(load_config(written))
    assert data.class_names == ["units"]


def test_rows_in_the_order_of_time_are_told_to_be_a_series(tmp_path):
    path = tmp_path / "days.csv"
    path.write_text("\n".join(["day,level", *(f"2024-01-{day:02d},{day % 4}" for day in range(1, 29))]))
    assert any("--as series" in note for note in look(path).notes)


def test_times_of_day_are_left_out_of_the_configuration(tmp_path):
    path = tmp_path / "clock.csv"
    path.write_text("\n".join(["at,level", *(f"0{hour}:00:00,{hour % 2}" for hour in range(9))]))
    assert look(path, target="level").config["data"]["options"]["drop"] == ["at"]
