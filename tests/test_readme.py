"""The examples of the README and of docs/, run as they stand; their commands, links and anchors, checked."""

import ast
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from unlocked.cli.main import build_parser, main
from unlocked.config import load_config

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
}
ALL = "\n".join(PAGES.values())
EXAMPLES = dict(re.findall(r"<!-- example: (\S+)\.py -->\n```python\n(.*?)```", ALL, re.S))
TRAIN = [
    "train",
    "quickstart",
    "train.epochs=1",
    "tracking.figures=false",
    "parallel.engine=inprocess",
    "tracking.uri=off",
    "--quiet",
]


@pytest.fixture
def example(tmp_path, monkeypatch):
    """Writes an example as a module of the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name):
        (tmp_path / f"{name}.py").write_text(EXAMPLES[name])
        sys.modules.pop(name, None)
        return name

    return write


@pytest.mark.parametrize(
    "name",
    [
        "tiny",
        "my_model",
        "my_yielding_model",
        "my_data",
        "my_images",
        "my_scheme",
        "my_transform",
        "my_loss",
        "my_metric",
        "my_callback",
        "my_optimizer",
        "large_file",
        "own_dataset",
    ],
)
def test_each_example_is_about_thirty_lines(name):
    assert len(EXAMPLES[name].strip().splitlines()) < 40


@pytest.mark.parametrize(
    ("name", "override"),
    [
        ("tiny", "model.name=tiny"),
        ("my_model", "model.name=my_net"),
        ("my_yielding_model", "model.name=my_wide_net parallel.modules=2"),
        ("my_data", "data.name=rings"),
        ("my_task", "data.name=bits"),
        ("my_scheme", "scheme.name=drtp"),
        ("my_scheme", "scheme.name=drtp scheme.density=0.5"),
        ("my_engine", "parallel.engine=loud"),
        ("my_transform", "data.transforms=[blend]"),
        ("my_loss", "objective.loss=robust"),
        ("my_metric", "metrics=[worst_recall]"),
        ("my_callback", "callbacks=[weight_norms]"),
        ("my_optimizer", "optimizer.name=lion optimizer.lr=3e-4"),
    ],
)
def test_each_example_trains_by_the_command_beside_it(example, name, override, capsys):
    assert f"--import {name} {override}" in ALL
    assert main([*TRAIN, "--import", example(name), *override.split()]) == 0
    assert "test/accuracy" in capsys.readouterr().out


def test_the_model_of_two_nets_trains(example, capsys):
    words = ["train", "adversarial/gan", "--import", example("my_gan"), "model.name=tiny_gan", "parallel.modules=2"]
    assert main([*words, *TRAIN[2:]]) == 0
    assert "test/frechet" in capsys.readouterr().out


@pytest.mark.parametrize("scheme", ["cdni", "dni", "dfa"])
def test_the_u_net_trains_with_its_skip_in_h(example, scheme, capsys):
    words = ["train", "selfsupervised/masked", "--import", example("my_unet"), "model.name=my_unet"]
    assert " ".join(["unlocked", *words, "parallel.modules=3"]) in ALL
    quick = ["data.examples=150", "objective.few=5", f"scheme.name={scheme}", "parallel.modules=3"]
    assert main([*words, *TRAIN[2:], *quick]) == 0
    assert "test/mse" in capsys.readouterr().out


def test_the_model_and_the_data_set_train_together(example, capsys):
    words = ["--import", example("my_model"), "--import", example("my_data"), "model.name=my_net", "data.name=rings"]
    assert main([*TRAIN, *words]) == 0
    assert "test/accuracy" in capsys.readouterr().out


def test_images_of_your_own_train(example, tmp_path, capsys):
    np.savez(tmp_path / "images.npz", x=np.random.default_rng(0).integers(0, 256, (400, 8, 8)), y=np.arange(400) % 4)
    words = ["--import", example("my_images"), "data.name=my_images", f"data.root={tmp_path}"]
    assert " ".join(words[:3]) in ALL
    assert main([*TRAIN, *words]) == 0
    assert "test/accuracy" in capsys.readouterr().out


def test_a_table_of_your_own_is_looked_at_trained_and_asked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(EXAMPLES["wine_file"], {})
    assert main(["data", "wine.csv", "target=cultivar", "--write", "wine.yaml"]) == 0
    assert main([TRAIN[0], "wine.yaml", *TRAIN[2:], f"tracking.runs={tmp_path}"]) == 0
    (run,) = tmp_path.glob("wine-backprop-s0-*")
    capsys.readouterr()
    assert main(["predict", str(run), "wine.csv"]) == 0
    assert capsys.readouterr().out.startswith("row,prediction,")


def test_image_files_of_your_own_train(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(EXAMPLES["pictures"], {})
    assert main(["data", "pictures"]) == 0
    assert "images (a folder for each class, grey, 8 bits)" in capsys.readouterr().out
    words = ["files/images", "data.options.file=pictures"]
    assert f"unlocked train {' '.join(words)}" in ALL
    assert main(["train", *words, *TRAIN[2:], "train.epochs=1", "data.examples=200", "model.channels=[4]"]) == 0
    assert "test/accuracy" in capsys.readouterr().out


def test_a_set_in_files_is_looked_at_and_trained_without_being_loaded(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "large").mkdir()
    exec(EXAMPLES["large_file"], {})
    assert main(["data", "large"]) == 0
    words = ["data.name=arrays", "data.root=.", 'data.options="{file: large, memory: mapped}"']
    assert f"unlocked train quickstart {' '.join(words)}" in ALL
    assert main([*TRAIN, *(word.replace('"', "") for word in words)]) == 0
    assert "test/accuracy" in capsys.readouterr().out


def test_a_dataset_trains_from_python(monkeypatch, tmp_path):
    from torch.utils.data import DataLoader

    from unlocked import load_config, train

    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(EXAMPLES["own_dataset"].partition("if __name__")[0], names)
    config = load_config("quickstart", [*(word for word in TRAIN[3:] if "=" in word), "train.epochs=3"])
    assert train(config, data=DataLoader(names["Noisy"](), batch_size=32))["metrics"]["test/accuracy"] > 0.6


def test_the_snippet_for_citation_networks_writes_what_is_read(tmp_path, monkeypatch):
    from torch_geometric import datasets
    from torch_geometric.data import Data

    from unlocked.data.files.source import Source
    from unlocked.data.sets.graphs import citations

    (code,) = re.findall(r"```python\n([^`]*Planetoid[^`]*)```", ALL)
    split = torch.tensor([0, 0, 1, 1, 2, 2])
    masks = {f"{name}_mask": split == k for k, name in enumerate(("train", "val", "test"))}
    edges = torch.tensor([[0, 1, 2], [1, 0, 3]])
    graph = Data(x=torch.eye(6), y=torch.arange(6) % 2, edge_index=edges, **masks)
    monkeypatch.setattr(datasets, "Planetoid", lambda folder, name: [graph])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my" / "files").mkdir(parents=True)
    exec(code, {})
    raw = citations(Source("citations", tmp_path / "my" / "files"))
    assert (raw.x_train[0] == np.eye(6)).all()
    assert raw.y_train.tolist() == [[0, 1, -1, -1, -1, -1]]


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_python_example_gives_a_summary(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(from unlocked import load_config, train.*?)```", PAGES[page], re.S)
    code = code.replace(
        '"train.epochs=3"',
        '"train.epochs=1", "parallel.engine=inprocess", "tracking.uri=off", "tracking.figures=false"',
    )
    names: dict = {}
    exec(compile(code, page, "exec"), names)
    assert 0.0 < names["summary"]["metrics"]["test/accuracy"] < 1.0


def test_every_other_python_block_is_python():
    for page, text in PAGES.items():
        for code in re.findall(r"```python\n(.*?)```", text, re.S):
            compile(code, page, "exec")


def fenced(text):
    """The `unlocked ...` lines of fenced blocks, without their comments."""
    blocks = "\n".join(re.findall(r"^```\n(.*?)^```", text, re.S | re.M)).replace("\\\n", " ")
    return [line.split("  #")[0].strip() for line in re.findall(r"^unlocked .*", blocks, re.M)]


@pytest.mark.parametrize("page", [page for page, text in PAGES.items() if fenced(text)])
def test_every_command_of_a_block_parses(page):
    """Its options exist; so do presets and keys, unless it names a file or a module of the reader's."""
    parser = build_parser()
    for line in fenced(PAGES[page]):
        words = shlex.split(line)[1:]
        try:
            given, rest = parser.parse_known_args(words)
        except SystemExit:
            pytest.fail(f"{page}: {line}")
        assert not [word for word in rest if word.startswith("-")], f"{page}: {line}"
        config = getattr(given, "config", None) or "CONFIG"
        if not ({"--import", "--resume"} & set(words) or config == "CONFIG" or config.endswith(".yaml")):
            load_config(config, [*given.overrides, *rest])


def test_every_command_and_preset_in_the_text_is_one():
    known = build_parser()._subparsers._group_actions[0].choices
    assert set(re.findall(r"`unlocked (\w+)", ALL)) <= set(known)
    for preset in set(re.findall(r"`unlocked (?:train|sweep) (\w+/\w+)[ `]", ALL)):
        load_config(preset)


def anchors(text):
    """Those that GitHub and MkDocs alike give to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    home = (ROOT / page).parent
    text = re.sub(r"^```.*?^```", "", PAGES[page], flags=re.S | re.M)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (home / path).resolve() if path else ROOT / page
        assert target.exists(), f"{page}: {link}"
        if anchor:
            assert anchor in anchors(target.read_text()), f"{page}: {link}"


def test_every_file_that_a_page_names_is_there():
    for page, text in PAGES.items():
        for path in re.findall(r"`((?:platform|models|tests|experiments|cluster|docs)/[\w./-]+\w)`", text):
            assert (ROOT / path).exists(), f"{page}: {path}"


def test_every_page_is_in_the_navigation():
    nav = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    listed = [page for page in re.findall(r": (\S+\.md)", nav) if page != "configuration.md"]  # made by the hook
    assert sorted(listed) == sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))


def test_the_pages_build_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="make docs installs it")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config as load_site

    build(load_site(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"), strict=True))
    assert "img" in (tmp_path / "site" / "concepts.html").read_text()
    assert "<code>scheme.sg.rank</code>" in (tmp_path / "site" / "configuration.html").read_text()


def script(name):
    """The functions of a script that draws a picture."""
    path = DOCS / "pictures" / f"{name}.py"
    names: dict = {"__name__": name, "__file__": str(path)}
    exec(compile(path.read_text(), str(path), "exec"), names)
    return names


def test_the_drawn_net_is_what_its_script_draws():
    assert script("net")["net"]() == (DOCS / "pictures" / "net.svg").read_text()


def test_the_clock_of_the_picture_is_the_demo_s_table():
    speeds = script("wall_clock")["speeds"](PAGES["README.md"])
    assert set(speeds) == {"backprop", "cdni", "dni", "dfa", "frozen"}
    assert f"backprop {speeds['backprop']:.0f}, cdni {speeds['cdni']:.0f}" in PAGES["docs/results/speed.md"]


def layers(of="LAYERS"):
    """The rooms that tests/test_layers.py checks, from the ground up."""
    code = (ROOT / "tests" / "test_layers.py").read_text()
    return ast.literal_eval(re.search(rf"^{of} = (\[.*?^\])", code, re.S | re.M)[1])


def test_the_architecture_shows_the_layers_that_a_test_holds():
    page = PAGES["docs/architecture.md"]
    for rows in (layers(), layers("LAYERS_OF_DATA")):
        assert "```\n" + "\n".join(", ".join(row) for row in reversed(rows)) + "\n```" in page
        rooms = {room for row in rows for room in row}
        assert rooms - {"unlocked_models"} <= set(re.findall(r"^\| `([\w.]+)`", page, re.M))


def test_the_drawing_of_the_rooms_has_them_all():
    """If not, `python docs/pictures/rooms.py` draws it again."""
    for picture, rows in (("rooms", layers()), ("data_rooms", layers("LAYERS_OF_DATA"))):
        drawn = (DOCS / "pictures" / f"{picture}.svg").read_text()
        assert set(re.findall(r">([\w.]+) <tspan", drawn)) == {room for row in rows for room in row}
