"""`unlocked doctor`: whether this machine, or a cluster, can run what is here."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import socket
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from unlocked.cli.common import add_command, store_address
from unlocked.cli.terminal import print_json
from unlocked.errors import UnlockedError, reason
from unlocked.security import authenticate

Check = tuple[str, bool, str]


def add_doctor(commands: Any) -> None:
    parser = add_command(
        commands,
        "doctor",
        doctor,
        "report what this machine can run, and any problems",
        "examples:\n  unlocked doctor\n  unlocked doctor --json\n"
        "  unlocked doctor --address http://127.0.0.1:8265 --runs /mnt/shared/runs --uri http://mlflow:5000\n",
        at_first="looking at this machine",
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
            _check_deepspeed(),
        ]
    if arguments.json:
        print_json([{"check": name, "ok": ok, "finding": finding} for name, ok, finding in checks])
    else:
        from rich.text import Text

        from unlocked.rich_text import PlainTable, plain_console

        table = PlainTable("check", "", "finding")
        for name, ok, finding in checks:
            table.add_row(name, Text("ok", "green") if ok else Text("wrong", "red"), finding)
        plain_console().print(table)
    return 0 if all(ok for _, ok, _ in checks) else 1


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


def _check_deepspeed() -> Check:
    """Optional: only one that is installed can be wrong."""
    from unlocked.deepspeed_package import import_deepspeed, missing

    why = missing()
    if why is not None:
        return "deepspeed", "not installed" in why, f"parallel.engine=deepspeed is not to be had: {why}"
    try:
        package = import_deepspeed()
    except Exception as error:  # of a build for another torch, say
        return "deepspeed", False, f"cannot be imported: {reason(error)}: pip install --force-reinstall deepspeed"
    on = package.accelerator.get_accelerator().device_name()
    return "deepspeed", True, f"{package.__version__} on {on}: ZeRO 0 to 3 with torch's optimisers, nothing compiled"


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
