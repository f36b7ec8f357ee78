"""`unlocked data FILE`: what a file is, and a configuration that is ready to train."""

from __future__ import annotations

import json

import pytest

from unlocked.cli.main import main
from unlocked.data import DATA, register_data
from unlocked.data.files.looking import LOOKS, Look, register_look


@pytest.fixture
def knots():
    """A kind of file of its own: lines of knots."""

    def read(source, file: str, tight: bool = False):
        raise AssertionError("only looked at")

    def look(source, path, options):
        lines = path.read_text().splitlines()
        rows = [{"knot": line, "length": len(line)} for line in lines]
        config = {"data": {"name": "knots", "options": options}, "model": {"name": "mlp"}}
        return Look(
            "one knot in each line", {"knots": 12345, "rope": "hemp"}, {"knots": rows}, ["\x1b[2Jloose end"], config
        )

    register_data("knots")(read)
    register_look("knots", fits=lambda path: 3 * (path.suffix == ".knots"))(look)
    yield
    for registry in (DATA, LOOKS):
        registry._entries.pop("knots")
        registry._facts.pop("knots")


def test_a_file_is_shown_with_a_configuration_that_loads(knots, tmp_path, capsys):
    from unlocked import load_config

    file, written = tmp_path / "my rope.knots", tmp_path / "rope.yaml"
    file.write_text("bowline\nreef")
    assert main(["data", str(file), "tight=true", "--write", str(written)]) == 0
    out = capsys.readouterr().out
    for shown in ("knots (one knot in each line)", "12,345 knots, rope hemp", "bowline", "loose end", str(written)):
        assert shown in out
    assert "\x1b" not in out
    config = load_config(str(written))
    assert config.name == "rope"  # as it is written: two configurations of one file are two experiments
    assert config.data.options == {"file": str(file), "tight": True}
    assert (config.parallel.modules, config.parallel.engine) == (2, "inprocess")  # one module is backprop alone


def test_the_configuration_is_printed_and_nothing_written_if_no_name_is_given(knots, tmp_path, capsys):
    (tmp_path / "a.knots").write_text("reef")
    assert main(["data", str(tmp_path / "a.knots")]) == 0
    assert "\ndata:\n  name: knots\n" in capsys.readouterr().out
    assert main(["data", str(tmp_path / "a.knots"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["counts"]["knots"], found["config"]["name"]) == ("knots", 12345, "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a.knots"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["none.knots"], "none.knots: is no file or folder"),
        (["a.unheard"], "a.unheard: is of no known kind ("),
        (["a.knots", "--as", "knot"], "--as: unknown kind of file 'knot'; did you mean 'knots'?"),
        (["a.knots", "tigth=true"], "data.options.tigth: unknown option of knots 'tigth'; did you mean 'tight'?"),
        (["a.knots", "--write", "a.knots"], "--write: a.knots does not end in .yaml or .yml"),
        (["a.knots", "--write", "there.yaml"], "--write: there.yaml exists already; name another file"),
    ],
)
def test_a_mistake_is_one_line(knots, tmp_path, capsys, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    for name in ("a.knots", "a.unheard", "there.yaml"):
        (tmp_path / name).write_text("reef")
    assert main(["data", *words]) == 2
    assert capsys.readouterr().err.startswith(f"unlocked: {told}")


def test_what_a_file_says_gives_the_terminal_no_orders(tmp_path, capsys):
    cells = ["\x1b[5mx" if i == 5 else str(i) for i in range(40)]
    (tmp_path / "a.csv").write_text(
        "\n".join(["\x1b[31mage,kind", *(f"{cell},{'ab'[i % 2]}" for i, cell in enumerate(cells))])
    )
    file = f"data.options.file={tmp_path / 'a.csv'}"
    words = ["data.name=table", file, "data.options.target=kind", "tracking.uri=off", "parallel.engine=inprocess"]
    assert main(["train", "quickstart", *words]) == 2
    assert main(["data", str(tmp_path / "a.csv")]) == 0
    told = capsys.readouterr()
    assert "row 6" in told.err
    assert "\x1b" not in told.out + told.err


def test_a_name_of_a_file_gives_the_terminal_no_orders(tmp_path, capsys):
    for folder in ("a", "b"):
        (tmp_path / "pictures" / folder).mkdir(parents=True)
        for i in range(2):
            (tmp_path / "pictures" / folder / f"{i}\x1b[2J\nunlocked: all is well.png").write_bytes(b"no image")
    assert main(["data", str(tmp_path / "pictures")]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "\x1b" not in said
    assert said.endswith("all is well.png: cannot be read as an image: cannot identify image file")
