"""A run goes on with the network that it was begun with, or says in one line what is another."""

from pathlib import Path

import pytest

from unlocked import resume, train
from unlocked.cli.main import main
from unlocked.errors import ConfigError


@pytest.fixture
def begun(small) -> Path:
    return Path(train(small("train.epochs=1", "scheme.name=dni"))["run_dir"])


def edit(run: Path, old: str, new: str) -> None:
    text = (run / "config.yaml").read_text()
    assert old in text
    (run / "config.yaml").write_text(text.replace(old, new))


def what_is_there(run: Path) -> dict[str, float]:
    return {str(path): path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("hidden: [24, 16]", "hidden: [24, 12]", "has shape (16, 24) there and has shape (12, 24) now"),
        ("hidden: [24, 16]", "hidden: [24, 16, 8]", "weight 2."),
        ("modules: 2", "modules: 3", "it was cut into 2 modules (over all replicas), now into 3"),
        ("name: dni", "name: dfa", "scheme.name is dfa, and was dni when the run began"),
    ],
)
def test_another_network_is_refused_before_anything_starts(begun, old, new, words):
    edit(begun, old, new)
    edit(begun, "epochs: 1", "epochs: 2")
    with pytest.raises(ConfigError) as refused:
        resume(begun)
    assert words in str(refused.value)
    assert "a run goes on as it was begun" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("word", ["--dry-run", "--print-config"])
def test_looking_at_what_would_go_on_changes_nothing(begun, word, capsys):
    edit(begun, "epochs: 1", "epochs: 2")
    before = what_is_there(begun)
    assert main(["train", "--resume", str(begun), word]) == 0
    assert what_is_there(begun) == before
    shown = capsys.readouterr().out
    assert ("steps per epoch" if word == "--dry-run" else "epochs: 2") in shown
    assert main(["train", "--resume", "s3://bucket/run", word]) == 2
    assert "would be fetched" in capsys.readouterr().err
