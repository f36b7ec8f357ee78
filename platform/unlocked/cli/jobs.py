"""`unlocked submit`, `jobs`, `queue`, `logs` and `stop`: runs as jobs of a Ray cluster."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from shlex import quote
from typing import TYPE_CHECKING, Any

from unlocked.cli.common import add_command, add_import, as_begun, check_ranges, import_given, place_of, wide_console
from unlocked.cli.next_steps import command
from unlocked.cli.terminal import print_json
from unlocked.errors import ConfigError
from unlocked.schema.facts import MOST_WORKERS
from unlocked.security import redact

if TYPE_CHECKING:
    from rich.console import RenderableType

    from unlocked.jobs import Cluster, Job

ASKING = "asking the cluster"
ENDED = {"succeeded": 0, "failed": 1, "stopped": 130}  # a followed job's exit code
_COLOURS = {"succeeded": "green", "failed": "red", "stopped": "yellow", "running": "cyan"}


def add_submit(commands: Any) -> None:
    parser = add_command(
        commands,
        "submit",
        submit,
        "queue a run or a study as a job of a Ray cluster",
        "examples:\n"
        "  unlocked submit train quickstart --follow\n"
        "  unlocked submit train my.yaml parallel.modules=4 --name first --address http://head.example:8265\n"
        "  unlocked submit train --resume /mnt/shared/runs/quickstart-cdni-s0-20260101-120000\n"
        "  unlocked submit sweep studies/lag tracking.runs=/mnt/shared/runs\n\n"
        "The working directory goes along: files that git would keep, without data, runs, weights and secrets, at\n"
        "most 100 MiB, and the modules of --import with the files that they import from beside them. Data is read\n"
        "and runs are written where the nodes have them: data.root, tracking.runs.\n",
        at_first=ASKING,
    )
    parser.add_argument("kind", choices=["train", "sweep"])
    parser.add_argument("config", nargs="?", help="a preset's name or a path ending in .yaml, inside the project")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the configuration")
    parser.add_argument(
        "--resume",
        metavar="RUN",
        help="train: go on with a run folder from its last checkpoint, or with its copy "
        "(tracking.mirror); with train.epochs=N longer, as a new run",
    )
    parser.add_argument("--name", help="the job's name (default: the configuration's)")
    parser.add_argument(
        "--gpus",
        type=float,
        metavar="N",
        help="GPUs of the whole job (default: one per worker if the cluster has any)",
    )
    parser.add_argument("--follow", action="store_true", help="show its log, and end as it ends")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    add_import(parser)
    _add_address(parser)


def submit(arguments: argparse.Namespace) -> int:
    from unlocked.jobs import Cluster
    from unlocked.jobs import submit as queue_up
    from unlocked.jobs.table import fits, words

    if arguments.resume and arguments.config and "=" in arguments.config:  # more epochs
        arguments.config, arguments.overrides = None, [arguments.config, *arguments.overrides]
    if bool(arguments.config) == bool(arguments.resume) or (arguments.resume and arguments.kind == "sweep"):
        raise ConfigError("submit: name a configuration, or for train a run with --resume RUN")
    check_ranges(arguments, gpus=(0, MOST_WORKERS))
    import_given(arguments)
    cluster = Cluster(arguments.address)
    with as_begun(arguments, place_of(arguments) if arguments.config else None):
        spec = queue_up(
            cluster,
            arguments.kind,
            arguments.config,
            arguments.overrides,
            resume=arguments.resume,
            imports=arguments.imports,
            name=arguments.name,
            gpus=arguments.gpus,
            say=_say,
        )
    print(f"queued {spec.id}: needs {words(spec.needs)}", flush=True)
    if not fits(spec.needs, have := cluster.capacity()):
        _say(f"the cluster has {words(have)} now: the job waits until it has more nodes")
    if arguments.json:
        print_json(asdict(spec))
    if arguments.follow:
        return _follow(cluster, spec.id, _there(arguments))
    there = _there(arguments)
    for after in (["logs", spec.id, "--follow"], ["stop", spec.id], ["queue"]):
        print(f"  {command(*after, *there)}")
    return 0


def add_jobs(commands: Any) -> None:
    parser = add_command(
        commands,
        "jobs",
        jobs,
        "list the jobs of a cluster",
        "examples:\n  unlocked jobs\n  unlocked jobs --json --address http://head.example:8265\n",
        at_first=ASKING,
    )
    parser.add_argument("--json", action="store_true", help="one JSON line instead of a table")
    _add_address(parser)


def jobs(arguments: argparse.Namespace) -> int:
    from unlocked.jobs import Cluster

    return _table(Cluster(arguments.address).jobs(), arguments.json)


def add_queue(commands: Any) -> None:
    parser = add_command(
        commands,
        "queue",
        queue,
        "show what runs on a cluster, and what waits for it in which order",
        "examples:\n  unlocked queue\n  unlocked queue --json\n\n"
        "Jobs start in the order in which they were submitted, as soon as all of one has room.\n",
        at_first=ASKING,
    )
    parser.add_argument("--json", action="store_true", help="one JSON line instead of a table")
    _add_address(parser)


def queue(arguments: argparse.Namespace) -> int:
    from unlocked.jobs import Cluster
    from unlocked.jobs.table import LIVE, WAITING, in_use, words

    cluster = Cluster(arguments.address)
    found, capacity = cluster.jobs(), cluster.capacity()
    shown = [job for job in found if job.state in (WAITING, *LIVE)]
    code = _table(shown, arguments.json)
    if not arguments.json:
        print(f"{words(in_use(found))} of {words(capacity)} in use")
        if any(job.state == WAITING for job in shown) and not cluster.has_keeper():
            _say("nobody keeps the queue; the next `unlocked submit` starts a keeper")
    return code


def add_logs(commands: Any) -> None:
    parser = add_command(
        commands,
        "logs",
        logs,
        "show the log of a job",
        "examples:\n  unlocked logs quickstart-4f2a1c\n  unlocked logs quickstart-4f2a1c --follow\n",
        at_first=ASKING,
    )
    parser.add_argument("job", help="its id (unlocked jobs)")
    parser.add_argument("--follow", action="store_true", help="wait for more, and end as the job ends")
    _add_address(parser)


def logs(arguments: argparse.Namespace) -> int:
    from unlocked.jobs import Cluster
    from unlocked.jobs.table import WAITING

    cluster = Cluster(arguments.address)
    if arguments.follow:
        return _follow(cluster, arguments.job, _there(arguments))
    job = cluster.job(arguments.job)
    if job.state == WAITING:
        _say(f"{job.id} waits: number {job.position} in the queue")
        return 0
    with cluster.readable():
        print(cluster.client.get_job_logs(job.id), end="")
    return 0


def add_stop(commands: Any) -> None:
    parser = add_command(
        commands,
        "stop",
        stop,
        "take a job out of the queue, or have it save itself and stop",
        "examples:\n  unlocked stop quickstart-4f2a1c\n\n"
        "A stopped run has a checkpoint; `unlocked submit train --resume RUN` goes on with it.\n",
        at_first=ASKING,
    )
    parser.add_argument("job", help="its id (unlocked jobs)")
    _add_address(parser)


def stop(arguments: argparse.Namespace) -> int:
    from unlocked.jobs import Cluster
    from unlocked.jobs import stop as end
    from unlocked.jobs.submit import how_to_go_on
    from unlocked.jobs.table import WAITING

    cluster = Cluster(arguments.address)
    job = end(cluster, arguments.job, _say)
    if job.state == WAITING:
        print(f"{job.id} was taken out of the queue; it had not begun")
        return 0
    print(f"{job.id} {job.state}")
    if job.state == "stopped" and (again := how_to_go_on(cluster, job.id)):
        print(f"  {' '.join([again, *map(quote, _there(arguments))])}")
    return 0


# --------------------------------------------------------------------------------------------------------


def _add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--address",
        metavar="URL",
        help="of the head node's dashboard, such as http://127.0.0.1:8265 (default: $RAY_API_SERVER_ADDRESS)",
    )


def _say(text: str) -> None:
    print(f"unlocked: {text}", file=sys.stderr, flush=True)


def _there(arguments: argparse.Namespace) -> list[str]:
    """What the next command must say of the cluster: nothing if the environment names it."""
    return ["--address", redact(arguments.address)] if arguments.address else []


def _follow(cluster: Cluster, job_id: str, there: list[str]) -> int:
    from unlocked.jobs import follow

    def write(lines: str) -> None:
        print(lines, end="", flush=True)

    try:
        job = follow(cluster, job_id, write, _say)
    except KeyboardInterrupt:
        logs, stop = command("logs", job_id, "--follow", *there), command("stop", job_id, *there)
        _say(f"{job_id} goes on without being watched; {logs}, {stop}")
        return 130
    _say(f"{job_id} {job.state}{f': {job.message}' if job.message else ''}")
    return ENDED[job.state]


def _table(found: list[Job], as_json: bool) -> int:
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    from unlocked.cli.sweep_display import duration
    from unlocked.jobs.table import words
    from unlocked.rich_text import PlainTable

    if as_json:
        print_json(
            [
                {
                    "id": job.id,
                    "kind": job.spec.kind,
                    "command": job.spec.words,
                    "state": job.state,
                    "position": job.position,
                    "needs": job.spec.needs,
                    "submitted": job.submitted,
                    "started": job.started,
                    "ended": job.ended,
                    "message": job.message,
                }
                for job in found
            ]
        )
        return 0
    console = wide_console()
    table = PlainTable("job", "state", "needs", "submitted", "took", "what")
    entries: list[RenderableType] = []
    for job in found:
        state = Text(f"waiting, {job.position}." if job.position else job.state, _COLOURS.get(job.state, "default"))
        took = duration((job.ended or time.time()) - job.started) if job.started else ""
        needs = words(job.spec.needs)
        submitted = time.strftime("%m-%d %H:%M:%S", time.localtime(job.submitted))
        what = " ".join(job.spec.words) if not job.message else job.message
        table.add_row(job.id, state, needs, submitted, took, what)
        entries.append(Text.assemble((job.id, "bold"), "  ", state, f"  {needs}  {submitted}  {took}"))
        entries.append(Padding(Text(what, overflow="fold"), (0, 0, 0, 4)))
    if not found:
        console.print("no jobs")
    elif table.__rich_measure__(console, console.options.update(width=10_000)).maximum <= console.width:
        console.print(table)
    else:
        console.print(Group(*entries))
    return 0
