"""A run goes on as it was begun: an edited configuration is refused, other code or data is told and sets it apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from unlocked import resume, train
from unlocked.errors import ConfigError
from unlocked.loop import report
from unlocked.runs.longer import lengthen
from unlocked.tracking.spool import records

CONSTANT = "optimizer.schedule=constant"


def starts(run: str | Path) -> list[dict[str, str]]:
    return [each["tags"] for each in records(Path(run) / "tracking" / "spool.jsonl") if each["t"] == "start"]


@pytest.fixture
def begun(small) -> Path:
    return Path(train(small("train.epochs=1", CONSTANT))["run_dir"])


@pytest.mark.parametrize("key", ["lr", "batch_size", "seed"])
def test_an_edited_configuration_is_refused_in_one_line(begun, key):
    file = begun / "config.yaml"
    lines = file.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.strip().startswith(f"{key}:"))
    lines[at] = lines[at].partition(":")[0] + ": 7"
    file.write_text("\n".join(lines))
    said = rf"{key} is 7(.0)?, and was .* when the run began.*put it back"
    for go_on in (lambda: resume(begun), lambda: lengthen(begun, ["train.epochs=2"])):
        with pytest.raises(ConfigError, match=said) as refused:
            go_on()
        assert "\n" not in str(refused.value)
    assert len(list(begun.parent.glob("quickstart-*"))) == 1


def test_what_no_number_depends_on_may_be_edited(begun):
    file = begun / "config.yaml"
    file.write_text(file.read_text().replace("name: quickstart", "name: another"))
    resume(begun)
    assert "mixed" not in starts(begun)[-1]


@pytest.mark.parametrize("what", ["code_digest", "digest"])
def test_other_code_or_data_is_told_and_sets_the_run_apart_for_good(begun, reporter, monkeypatch, what):
    resume(begun, reporter=reporter)
    assert reporter.notes == []
    assert starts(begun)[0]["config_hash"] == starts(begun)[1]["config_hash"]
    with monkeypatch.context() as changed:
        changed.setattr(report, what, lambda *_: "other")
        longer, _ = lengthen(begun, ["train.epochs=2"])
        resume(longer, reporter=reporter)
        assert "changed since the run began" in reporter.notes[0]
    again, _ = lengthen(longer, ["train.epochs=3"])
    resume(again)  # as at first, with other steps in between
    hashes = {starts(run)[-1]["config_hash"] for run in (begun, longer)}
    for run in (longer, again):
        assert "then other" in starts(run)[-1]["mixed"]
    assert len(hashes) == 2
