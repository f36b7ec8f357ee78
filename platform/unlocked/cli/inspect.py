"""`unlocked list` and `unlocked doctor`: what there is, and whether this machine can run it."""

from __future__ import annotations

import argparse
import inspect
import logging
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from unlocked import strict_json
from unlocked.cli.common import add_command, add_import, import_given, store_address
from unlocked.errors import UnlockedError, reason
from unlocked.security import authenticate

Rows = list[dict[str, Any]]
LEAST_COLUMN = 9  # characters, with its frame, that another column keeps beside names that stand in one line


def add_list(commands: Any) -> None:
    parser = add_command(
        commands,
        "list",
        list_,
        "list families, models, schemes, data sets, transforms, tasks, engines, optimizers, presets or figures",
        "examples:\n  unlocked list models\n"
        "  unlocked list matrix          how well each family trains under each scheme, or why not\n"
        "  unlocked list measured        the same for every preset that was measured\n"
        "  unlocked list data --json\n",
    )
    parser.add_argument("what", choices=sorted(_LISTS))
    parser.add_argument("--json", action="store_true", help="one JSON line instead of a table")
    add_import(parser)


def list_(arguments: argparse.Namespace) -> int:
    import_given(arguments)
    rows = _LISTS[arguments.what]()
    if arguments.json:
        print(strict_json.dumps(rows))
        return 0
    from rich import box

    from unlocked.cli.matrix import SHOWN
    from unlocked.rich_text import PlainTable, plain_console

    per_scheme = SHOWN.get(arguments.what)
    rows, notes = per_scheme(rows) if per_scheme else (rows, [])
    # a column per scheme: without frames all of them fit 80 characters
    table = PlainTable(box=box.SIMPLE_HEAD, padding=0) if per_scheme else PlainTable()
    console = plain_console()
    names = [len(str(next(iter(row.values())))) for row in rows]
    for number, heading in enumerate(rows[0] if rows else ()):  # a name is copied from here: whole, in one line
        fits = max(names) + LEAST_COLUMN * (len(rows[0]) - 1) <= console.width
        table.add_column(heading, overflow="fold", no_wrap=number == 0 and fits)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    console.print(table)
    for note in notes:
        print(note)
    return 0


def _families() -> Rows:
    from unlocked_models import MODELS

    families = sorted({MODELS.facts(name)["family"] for name in MODELS})
    return [
        {"family": family, "models": ", ".join(n for n in MODELS if MODELS.facts(n)["family"] == family)}
        for family in families
    ]


def _models() -> Rows:
    from unlocked_models import MODELS
    from unlocked_models.contract.registry import GIVEN

    rows = []
    for name in MODELS:
        options = list(inspect.signature(MODELS.get(name)).parameters.values())[2:]
        shown = ", ".join(
            f"{o.name}={o.default}" for o in options if o.default is not inspect.Parameter.empty and o.name not in GIVEN
        )
        rows.append({"model": name, "family": MODELS.facts(name)["family"], "options": shown})
    return rows


def _schemes() -> Rows:
    from dataclasses import fields

    from unlocked.schemes import SCHEMES

    kinds = {name: SCHEMES.get(name) for name in SCHEMES}
    return [
        {
            "scheme": name,
            "feedback": kind.feedback_from or "none",
            "lag": kind.why_no_lag or "any",
            "options": ", ".join(f"scheme.{field.name}" for field in fields(kind.Options)),
            "what": _first_lines(kind) if kind.__doc__ else _first_lines(sys.modules[kind.__module__]),
        }
        for name, kind in kinds.items()
    ]


def _data() -> Rows:
    from unlocked.data import DATA

    return [{"data": name, "task": DATA.facts(name)["task"], "what": _first_lines(DATA.get(name))} for name in DATA]


def _transforms() -> Rows:
    from unlocked.data import TRANSFORMS

    rows = []
    for name in TRANSFORMS:
        kind = TRANSFORMS.get(name)
        options = list(inspect.signature(kind).parameters.values())
        shown = (o.name if o.default is inspect.Parameter.empty else f"{o.name}={o.default}" for o in options)
        rows.append({"transform": name, "options": ", ".join(shown), "what": _first_lines(kind)})
    return rows


def _tasks() -> Rows:
    from unlocked.generate import options_of
    from unlocked.tasks import TASKS

    return [
        {
            "task": name,
            "monitor": f"val/{TASKS.get(name).monitor}",
            "what": _first_lines(TASKS.get(name)),
            "options": ", ".join(f"objective.{o.name}={o.default}" for o in _options_of_task(TASKS.get(name))),
            "generates, with": ", ".join(options_of(name)),
        }
        for name in TASKS
    ]


def _options_of_task(task: type) -> list[inspect.Parameter]:
    return [*inspect.signature(task.__init__).parameters.values()][1:]  # type: ignore[misc]


def _engines() -> Rows:
    from unlocked.engines import ENGINES

    kinds = {name: ENGINES.get(name) for name in ENGINES}
    return [
        {
            "engine": name,
            "modules": kind.kind_of_workers if kind.on_workers else "one process",
            "replicas": "any" if kind.replicates else "1",
            "schedules": "all" if kind.pipelines else "locked",
            "what": _first_lines(kind),
        }
        for name, kind in kinds.items()
    ]


def _optimizers() -> Rows:
    from dataclasses import fields

    from unlocked.optim import OPTIMIZERS, options_type
    from unlocked.schema.keys import OptimizerConfig

    keys = [field.name for field in fields(OptimizerConfig) if field.name not in ("name", "lr")]
    takes = {name: inspect.signature(OPTIMIZERS.get(name)).parameters for name in OPTIMIZERS}
    own = {name: [field.name for field in fields(options_type(OPTIMIZERS.get(name)))] for name in OPTIMIZERS}
    return [
        {
            "optimizer": name,
            "options": ", ".join(f"optimizer.{key}" for key in [*keys, *own[name]] if key in takes[name]),
        }
        for name in OPTIMIZERS
    ]


def _presets() -> Rows:
    from unlocked.config import load_config, presets

    rows = []
    for name in presets():
        if name.endswith("base"):  # what the others of its folder extend
            continue
        config = load_config(name)
        rows.append(
            {
                "preset": name,
                "data": config.data.name,
                "model": config.model["name"],
                "scheme": config.scheme.name,
                "modules": config.parallel.modules,
            }
        )
    return rows


def _matrix() -> Rows:
    from unlocked.cli.matrix import matrix

    return matrix()


def _measured() -> Rows:
    from unlocked.cli.matrix import measured

    return list(measured())


_LISTS: dict[str, Callable[[], Rows]] = {
    "families": _families,
    "models": _models,
    "schemes": _schemes,
    "data": _data,
    "transforms": _transforms,
    "tasks": _tasks,
    "engines": _engines,
    "optimizers": _optimizers,
    "presets": _presets,
    "matrix": _matrix,
    "measured": _measured,
}


def _first_lines(thing: Any) -> str:
    """Of its own docstring, up to the first that ends a sentence, or a paragraph."""
    said: list[str] = []
    for line in inspect.cleandoc(thing.__doc__ or "").splitlines():
        if not line.strip():
            break
        said.append(line.strip())
        if line.rstrip().endswith("."):
            break
    return " ".join(said)


# doctor --------------------------------------------------------------------------------------------------


def add_doctor(commands: Any) -> None:
    parser = add_command(
        commands,
        "doctor",
        doctor,
        "say what this machine can run, and what is wrong with it",
        "examples:\n  unlocked doctor\n  unlocked doctor --json\n"
        "  unlocked doctor --address http://127.0.0.1:8265 --runs /mnt/shared/runs --uri http://mlflow:5000\n",
    )
    parser.add_argument("--runs", help="the runs folder to check (default: runs; of a cluster: none)")
    parser.add_argument("--address", metavar="URL", help="examine the nodes of this cluster instead")
    parser.add_argument(
        "--uri", type=store_address, help="with --address: an MLflow tracking address that every node should reach"
    )
    parser.add_argument("--json", action="store_true", help="one JSON line instead of a table")


def doctor(arguments: argparse.Namespace) -> int:
    """Exit code 0 when nothing is wrong; every problem comes with what to do."""
    if arguments.address:
        from unlocked.jobs import Cluster
        from unlocked.jobs.examine import PACKAGES, examine, findings
        from unlocked.tracking.tags import versions

        checks = findings(examine(Cluster(arguments.address), arguments.runs, arguments.uri), versions(PACKAGES))
    else:
        checks = [
            _check_packages(),
            _check_platform(),
            _check_device(),
            _check_cores(),
            _check_runs(Path(arguments.runs or "runs")),
            _check_loopback(),
            _check_gloo(),
            _check_data(),
            _check_token(),
            _check_ray(),
        ]
    if arguments.json:
        print(strict_json.dumps([{"check": name, "ok": ok, "finding": finding} for name, ok, finding in checks]))
    else:
        from rich.text import Text

        from unlocked.rich_text import PlainTable, plain_console

        table = PlainTable("check", "", "finding")
        for name, ok, finding in checks:
            table.add_row(name, Text("ok", "green") if ok else Text("wrong", "red"), finding)
        plain_console().print(table)
    return 0 if all(ok for _, ok, _ in checks) else 1


Check = tuple[str, bool, str]


def _check_packages() -> Check:
    floors = {"torch": (2, 11), "ray": (2, 58), "mlflow": (3, 17), "optuna": (5, 0), "omegaconf": (2, 4)}
    found, wrong = [], []
    for name, floor in floors.items():
        try:
            have = version(name)
        except PackageNotFoundError:
            wrong.append(f"{name} is missing")
            continue
        found.append(f"{name} {have}")
        if tuple(int(part) for part in have.split("+")[0].split(".")[:2]) < floor:
            wrong.append(f"{name} {have} is older than {'.'.join(map(str, floor))}")
    return "packages", not wrong, "; ".join(wrong) + (": pip install -U" if wrong else "") or ", ".join(found)


def _check_platform() -> Check:
    import platform

    ok = hasattr(platform, "python_version")
    return (
        "standard library",
        ok,
        f"platform is {platform.__file__}"
        if ok
        else f"{platform.__file__} shadows Python's platform module: remove platform/__init__.py",
    )


def _check_device() -> Check:
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return "device", True, f"cuda: {names}; nccl {'yes' if torch.distributed.is_nccl_available() else 'no'}"
    return "device", True, "cpu (torch sees no GPU)"


def _check_cores() -> Check:
    from unlocked.tracking.tags import cores

    return "cores", True, f"{cores()}: module-parallel speed needs one core or GPU per module"


def _check_runs(runs: Path) -> Check:
    place = runs if runs.exists() else Path(runs).absolute().parent
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        return "runs folder", False, f"{place} cannot be written ({error.strerror}): set tracking.runs"
    free = shutil.disk_usage(place).free / 2**30
    return "runs folder", free > 1, f"{place.absolute()}, {free:.0f} GiB free"


def _check_loopback() -> Check:
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            return "loopback", True, f"port {server.getsockname()[1]} could be opened"
    except OSError as error:
        return "loopback", False, f"no port can be opened on 127.0.0.1: {error.strerror}"


def _check_gloo() -> Check:
    import torch.distributed as dist

    ok = dist.is_available() and dist.is_gloo_available()
    return "gloo", ok, "process groups on CPU" if ok else "this torch has no gloo: Ray workers on CPU cannot talk"


def _check_data() -> Check:
    from unlocked.tasks import load

    data = load("digits", validation=0.1, seed=0)
    return (
        "data",
        True,
        f"digits: {len(data.train)} training, {len(data.test)} test images; "
        f"files are looked for in {os.environ.get('UNLOCKED_DATA', './data')}",
    )


def _check_token() -> Check:
    from unlocked.security import token_path

    path = token_path()
    if not path.exists():
        return "ray token", True, f"none yet: made in {path} when a cluster is started"
    mode = path.stat().st_mode & 0o777
    return (
        "ray token",
        not mode & 0o077,
        f"{path} can be read by others ({mode:o}): chmod 600 {path}" if mode & 0o077 else f"{path}, its owner's alone",
    )


def _check_ray() -> Check:
    from unlocked.launch.cluster import given_address, refuse_silent

    address = given_address()
    if address is None:
        return "ray", True, "no RAY_ADDRESS: runs start a private Ray on this machine"
    try:
        refuse_silent("RAY_ADDRESS", address)
    except UnlockedError as error:
        return "ray", False, str(error)
    authenticate()
    import ray

    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
        have = ray.cluster_resources()
        ray.shutdown()
    except (ConnectionError, RuntimeError, ValueError) as error:
        return "ray", False, f"RAY_ADDRESS={address} does not answer: {reason(error)}"
    return "ray", True, f"{address}: {have.get('CPU', 0):g} CPUs, {have.get('GPU', 0):g} GPUs"
