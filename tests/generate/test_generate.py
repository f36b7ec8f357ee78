"""`unlocked generate`: what the method of a run's task takes, its options, and the pictures of autoencoders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unlocked.cli.main import main
from unlocked.config import load_config
from unlocked.drawing.autoencoders import PICTURES
from unlocked.errors import ConfigError
from unlocked.generate import generate
from unlocked.loop.train import train
from unlocked.tasks import Reconstruction, Trained

COMMON = [
    "tracking.uri=off",
    "parallel.threads=1",
    "parallel.engine=inprocess",
    "train.epochs=1",
    "train.probe_every=0",
    "scheme.name=backprop",
    "parallel.partition=null",
]
MODELS = {
    "plain": ["task=reconstruction", "model={name: autoencoder, hidden: [12], code: 4, noise: masking}"],
    "variational": ["task=reconstruction_bernoulli", "model={name: vae, hidden: [12], code: 2}"],
    "conditional": ["task=reconstruction", "model={name: cvae, hidden: [12], code: 3}"],
    "series": ["task=reconstruction", "data.name=mnist1d", "model={name: autoencoder, hidden: [], code: 1}"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {
        name: Path(train(load_config("quickstart", [*COMMON, f"tracking.runs={folder}", *overrides]))["run_dir"])
        for name, overrides in MODELS.items()
    }


def is_png(path: Path) -> bool:
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and path.stat().st_size > 3000


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("plain", {"reconstructions", "interpolation", "arithmetic", "pca"}),
        ("variational", {"reconstructions", "interpolation", "arithmetic", "samples", "pca"}),
        ("conditional", {"reconstructions", "interpolation", "samples", "pca"}),
        ("series", {"reconstructions", "interpolation", "arithmetic"}),
    ],
)
def test_every_picture_that_a_model_has_is_drawn(runs, name, made, monkeypatch, tmp_path):
    monkeypatch.delitem(PICTURES, "projection")  # t-SNE takes seconds; it has a test of its own
    paths = generate(runs[name], out=str(tmp_path), n=3)
    assert {path.stem for path in paths} == made
    assert all(is_png(path) and path.parent == tmp_path for path in paths)


def test_codes_are_placed_by_t_sne(runs, tmp_path):
    (path,) = generate(runs["plain"], what=["projection"], out=str(tmp_path))
    assert is_png(path)


@pytest.mark.parametrize("name", ["plain", "variational", "series"])
def test_a_run_ends_with_reconstructions_and_its_codes_in_the_plane(runs, name):
    drawn = {path.stem for path in (runs[name] / "figures").iterdir()}
    wanted = {
        "plain": {"reconstructions", "pca"},
        "variational": {"reconstructions", "pca", "samples"},
        "series": {"reconstructions"},
    }[name]  # a code of one unit has no plane
    assert drawn & {"reconstructions", "pca", "samples", "confusion_matrix"} == wanted


def test_samples_follow_the_seed(runs, tmp_path):
    one, same, other = (
        generate(runs["variational"], what=["samples"], seed=seed, n=4, out=str(tmp_path / str(i)))[0]
        for i, seed in enumerate((0, 0, 1))
    )
    assert one.read_bytes() == same.read_bytes() != other.read_bytes()


def test_the_command_prints_where_the_pictures_are(runs, capsys):
    assert main(["generate", str(runs["plain"]), "what=[pca]", "--json"]) == 0
    shown = str(runs["plain"] / "generated" / "pca.png")
    assert capsys.readouterr() == (f'["{shown}"]\n', f"{shown}\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["wat=[pca]"], "wat: unknown option of reconstruction 'wat'; did you mean 'what'?"),
        (["what=[pcaa]"], "what: unknown picture 'pcaa'; did you mean 'pca'?"),
        (["what=pca"], "what: 'pca' is not of type list[str]"),
        (["what=[samples]"], "what: samples cannot be drawn of this run: its codes have no distribution to draw from"),
        (["n=0"], "n: must be from 1 to 360 (the test examples of digits), got 0"),
        (["weights=bst"], "weights: unknown choice 'bst'; did you mean 'best'?"),
        (["--input", "Once"], "--input: a run of reconstruction reads nothing but its own data"),
    ],
)
def test_wrong_words_are_one_line(runs, words, message, capsys):
    assert main(["generate", str(runs["plain"]), *words]) == 2
    assert capsys.readouterr().err.startswith(f"unlocked: {message}")


def test_a_task_without_a_generator_says_which_have_one(tmp_path):
    run = train(load_config("quickstart", [*COMMON, f"tracking.runs={tmp_path}"]))["run_dir"]
    with pytest.raises(ConfigError, match=r"a run of classification generates nothing \(those of .*reconstruction"):
        generate(run)


@pytest.fixture
def texts(monkeypatch):
    """Texts in the place of the pictures."""

    def one(self, trained: Trained, prompt: str, *, times: int = 1) -> str:
        return prompt * times

    def many(self, trained: Trained, sentences: list[str], *, loud: bool = False) -> list[str]:
        return [s.upper() if loud else s for s in sentences]

    return lambda name: monkeypatch.setattr(Reconstruction, "generate", one if name == "one" else many)


def test_methods_of_texts_are_given_one_or_all_inputs(runs, texts):
    texts("one")
    assert generate(runs["plain"], ["ab"], times=2) == ["abab"]
    with pytest.raises(ConfigError, match="--input: a run of reconstruction reads one text, 2 given"):
        generate(runs["plain"], ["a", "b"])
    texts("many")
    assert generate(runs["plain"], ["a", "b"], loud=True) == ["A", "B"]
    with pytest.raises(ConfigError, match="--input: a run of reconstruction needs at least one text"):
        generate(runs["plain"])


def test_pictures_take_colours_maps_and_series(tmp_path):
    from unlocked.drawing.pictures import examples, planes

    generator = np.random.default_rng(0)
    for shape in ((3, 5, 4), (6, 2), (9,)):
        grid = [[generator.random(shape) for _ in range(3)], [generator.random(shape)]]
        assert is_png(examples(grid, tmp_path / "e.png", "Title", (0.0, 1.0), ["a", "b"], ["x", "y", "z"]))
    points = {"One": generator.random((40, 2)), "Other": generator.random((40, 2))}
    for labels in (None, np.arange(40) % 3, np.arange(40), generator.random(40)):
        assert is_png(planes(points, labels, [str(i) for i in range(40)], tmp_path / "p.png"))
