"""Engines by name: what each takes is asked of the engine, and a user's own trains as ours do."""

import ast
import re
import sys
from pathlib import Path

import pytest

from unlocked import load_config, train
from unlocked.cli import lists
from unlocked.cli.main import main
from unlocked.config.schema import schema
from unlocked.engines import ENGINES, Engine, engine_name, engine_of, register_engine
from unlocked.errors import ConfigError
from unlocked.jobs.spec import train_needs
from unlocked.plugins import import_module
from unlocked.schema.describe import describe_schema

OWN = Path(__file__).parent / "own_engine.py"
ROOT = Path(__file__).parents[2] / "platform" / "unlocked"


@pytest.fixture
def own():
    import_module(str(OWN), "test")
    import own_engine

    group = own_engine.ThreadGroup
    group.lost.clear()
    group.started.clear()
    yield group
    forget()


def forget():
    """As in a process that has not imported it."""
    ENGINES._entries.pop("thread", None)
    sys.modules.pop("own_engine", None)


def test_an_engine_of_ones_own_trains_to_the_same_numbers(own, small):
    one, other = (
        {
            name: value
            for name, value in train(small("scheme.name=cdni", f"parallel.engine={engine}"))["metrics"].items()
            if not name.startswith("time/")
        }
        for engine in ("thread", "inprocess")
    )
    assert own.started == [False]
    assert one == other


def test_its_lost_workers_are_replaced_as_ours_are(own, small, reporter):
    own.lost.append(40)
    summary = train(small("parallel.engine=thread", "train.epochs=5"), reporter=reporter)
    assert own.started == [False, True]
    assert summary["restarts"] == 1
    assert reporter.notes == ["the thread was lost at step 40; restart 1 of 2 from step-00000040"]


def test_it_is_named_from_the_command_line_and_listed(own, small, capsys):
    config = small()
    forget()
    options = ["parallel.engine=thread", "train.epochs=1", f"tracking.runs={config.tracking.runs}", "tracking.uri=off"]
    assert main(["train", "quickstart", *options]) == 2
    assert "parallel.engine: unknown engine 'thread'" in capsys.readouterr().err
    assert main(["list", "engines", "--import", str(OWN)]) == 0
    assert "Every module in one thread" in " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert load_config("quickstart", options).parallel.engine == "thread"
    assert "auto | deepspeed | inprocess | population | ray | thread" in describe_schema(schema())


def test_what_it_does_not_take_is_refused_by_its_facts(own):
    for option, key in (("parallel.replicas=2", "replicas: 2"), ("parallel.schedule=gpipe", "schedule: gpipe")):
        with pytest.raises(ConfigError, match=rf"parallel\.{key} needs workers; parallel\.engine is thread"):
            load_config("quickstart", ["parallel.engine=thread", "parallel.modules=2", "scheme.name=backprop", option])


def test_a_name_that_no_engine_has_is_met_with_the_nearest():
    with pytest.raises(ConfigError) as failure:
        load_config("quickstart", ["parallel.engine=rey"])
    assert str(failure.value) == (
        "parallel.engine: unknown engine 'rey'; did you mean 'ray'? "
        "(known: auto, deepspeed, inprocess, population, ray)"
    )


@pytest.mark.parametrize(
    ("options", "name", "on_workers"),
    [
        (["parallel.modules=1"], "inprocess", False),
        (["parallel.modules=2"], "ray", True),
        (["parallel.replicas=2"], "ray", True),
        (["parallel.modules=2", "parallel.modules_per_worker=2"], "inprocess", False),
        (["parallel.engine=ray"], "ray", True),
        (["parallel.modules=2", "parallel.engine=inprocess"], "inprocess", False),
    ],
)
def test_auto_is_this_process_for_one_worker_and_ray_for_more(options, name, on_workers):
    parallel = load_config("quickstart", options).parallel
    assert (engine_name(parallel), engine_of(parallel).on_workers) == (name, on_workers)


def test_workers_that_are_no_ray_actors_are_reserved_with_the_driver_of_a_job(own):
    class Processes(Engine):
        """Workers of their own."""

        group, on_workers = own, True

    ENGINES.register("processes")(Processes)
    try:
        config = load_config("quickstart", ["parallel.engine=processes", "parallel.modules=3"])
        assert train_needs(config, 0.0, 0.0) == ({"CPU": 3.0, "GPU": 0.0},) * 2
    finally:
        for kept in (ENGINES._entries, ENGINES._facts):
            kept.pop("processes")


def test_every_engine_of_ours_is_listed_with_what_it_takes():
    assert [(row["engine"], row["replicas"], row["schedules"]) for row in lists._engines()] == [
        ("deepspeed", "any", "locked"),
        ("inprocess", "1", "locked"),
        ("population", "1", "locked"),
        ("ray", "any", "all"),
    ]


ASKING = ("plan", "loop", "config", "studies", "jobs", "cli", "compare", "comparing", "runs", "engine", "launch")


def test_no_room_names_an_engine():
    """Ray itself is named by those who look after it, and no engine is."""
    named = []
    for path in (path for room in ASKING for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare) and re.search(r"engine\b.*['\"](inprocess|ray)['\"]", ast.unparse(node)):
                named.append(f"{path.relative_to(ROOT)}: {ast.unparse(node)}")
            if isinstance(node, ast.Constant) and node.value == "inprocess":
                named.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert named == []


def test_a_group_that_cannot_be_imported_is_refused_by_a_dry_run(small, capsys):
    @register_engine("lost")
    class Lost(Engine):
        group = "nowhere:Group"

    assert main(["train", "quickstart", "--dry-run", "parallel.engine=lost"]) == 2
    told = "unlocked: parallel.engine: no group 'nowhere:Group' can be imported: No module named 'nowhere'\n"
    assert capsys.readouterr().err == told
