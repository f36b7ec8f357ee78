"""A task, a transform, a scheme with an option and an engine of a user's own, from outside the project, as one job."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest

from unlocked.jobs.submit import submit
from unlocked.plugins import import_modules

DOCS = Path(__file__).parents[2] / "docs"
OURS = ("my_task", "my_transform", "my_scheme", "my_engine")
CHOSEN = [
    "data.name=bits",
    "data.transforms=[blend]",
    "scheme.name=drtp",
    "scheme.density=0.5",
    "parallel.engine=loud",
    "train.epochs=2",
]


def write_plug_ins(folder: Path) -> list[str]:
    """The examples of docs/own-*.md as files; their paths, as --import takes them."""
    folder.mkdir()
    pages = "\n".join(page.read_text() for page in sorted(DOCS.glob("own-*.md")))
    examples = dict(re.findall(r"<!-- example: (\S+)\.py -->\n```python\n(.*?)```", pages, re.S))
    for name in OURS:
        (folder / f"{name}.py").write_text(examples[name])
    return [str(folder / f"{name}.py") for name in OURS]


def test_all_four_travel_and_the_engine_says_what_the_job_needs(tmp_path, monkeypatch):
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    sent = []
    cluster = SimpleNamespace(
        address="http://127.0.0.1:8265",
        capacity=lambda: {"CPU": 4.0},
        has_keeper=lambda: True,
        readable=contextlib.nullcontext,
        client=SimpleNamespace(submit_job=lambda **job: sent.append(job)),
    )
    imports = import_modules(write_plug_ins(tmp_path / "elsewhere"))
    spec = submit(cluster, "train", "quickstart", CHOSEN, imports=imports)
    assert spec.words[-8:] == [word for name in OURS for word in ("--import", f"imports-1/{name}.py")]
    assert spec.needs == spec.driver == {"CPU": 1.0, "GPU": 0.0}  # in the driver's own process
    assert len(sent) == 1


@pytest.mark.slow("a job of a real cluster")
@pytest.mark.timeout(900)
def test_all_four_train_as_a_job_whose_result_is_tracked(shell):
    imports = [word for path in write_plug_ins(shell.home / "plugs") for word in ("--import", path)]
    done = shell("submit", "train", "quickstart", *imports, *CHOSEN, "name=four", "parallel.threads=1", "--follow")
    assert re.findall(r"^step (\d+)", done.stdout, re.M) == ["20", "40"]  # the engine's own words
    (run,) = (shell.project / "runs").glob("four-drtp-*")
    with sqlite3.connect(shell.project / "runs" / "mlflow.db") as database:
        tracked = dict(
            database.execute(
                "select m.key, m.value from latest_metrics m join tags t on m.run_uuid = t.run_uuid "
                "where t.key = 'unlocked.run' and t.value = ?",
                (run.name,),
            )
        )
    assert tracked["test/accuracy"] > 0.5
    shown = shell("evaluate", str(run)).stdout  # the run knows its modules
    assert float(re.search(r"test/accuracy\s+([\d.]+)", shown)[1]) == pytest.approx(tracked["test/accuracy"], abs=1e-4)
