"""The project as one archive for the cluster: what git would keep, and never data, runs, weights or secrets."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import subprocess
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unlocked.errors import ConfigError

LIMIT = 100 * 2**20  # bytes: what the head node of a Ray cluster accepts in one request

# whatever git says of them; matched against every part of a path
SECRETS = (
    ".env",
    ".env.*",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "id_rsa*",
    "id_ecdsa*",
    "id_ed25519*",
    ".netrc",
    ".pgpass",
    ".pypirc",
    ".htpasswd",
    "auth_token",
    "credentials",
    "credentials.*",
    "service-account*.json",
    ".ssh",
    ".aws",
    ".gcloud",
    ".kube",
    ".ray",
    ".login",
)
OUTPUTS = (".git", ".venv", "__pycache__", "mlruns", "*.safetensors", "*.pt", "*.ckpt", "*.db", "*.sqlite")
AT_THE_TOP = ("data", "runs")  # deeper down they may be packages of code


@dataclass(frozen=True)
class Package:
    path: Path
    files: list[str]  # relative to the project, sorted
    bytes: int  # before compression
    left_out: list[str]  # secrets and outputs that git would have kept

    @property
    def name(self) -> str:
        return self.path.name


def pack(project: Path, into: Path, never: Sequence[Path] = (), along: Mapping[str, Path] | None = None) -> Package:
    """The archive of a project in the folder `into`, named by its content: equal projects give equal archives.

    `never`: more folders to leave out, such as the one of runs. `along`: files from anywhere, by their names in the
    archive, whatever git says of them. Raises `ConfigError`, one line, for a project above `LIMIT`, naming its largest
    files, where git is missing, and for a file of `along` that has the name of a secret or an output.
    """
    project = project.resolve()
    files: dict[str, Path] = {}
    left_out: list[str] = []
    forbidden = [path.resolve() for path in never]
    for name in _kept_by_git(project):
        path = project / name
        if not path.is_file() or not path.resolve().is_relative_to(project):
            continue  # a folder of another repository, a deleted file, a link that leads out
        if _is_place_of_data(name) or any(path.resolve().is_relative_to(folder) for folder in forbidden):
            continue
        if _is_private(name):
            left_out.append(name)
        else:
            files[name] = path
    for name, path in (along or {}).items():
        if _is_private(name) and path.suffix == ".py":
            raise ConfigError(f"--import: {path} has the name of a secret or an output, which never travels; rename it")
        if not _is_private(name):
            files[name] = path
    files = dict(sorted(files.items()))
    sizes = {name: path.stat().st_size for name, path in files.items()}
    _refuse_large(project, sizes)
    archive = into / f"unlocked-{_digest(files)}.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, path in files.items():
            entry = zipfile.ZipInfo(name)  # of 1980: when a file was touched is no part of its content
            entry.external_attr = (path.stat().st_mode & 0o777) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(entry, path.read_bytes())
    return Package(archive, list(files), sum(sizes.values()), left_out)


def _kept_by_git(project: Path) -> list[str]:
    """Files that git tracks or would, sorted; a project that is no repository is looked at as if it were one."""
    listing = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        inside = _git(["rev-parse", "--is-inside-work-tree"], project)
        if inside.returncode == 0:
            found = _git(listing, project)
        else:
            with tempfile.TemporaryDirectory() as empty:
                _git(["init", "--quiet", empty], project)
                found = _git([f"--git-dir={empty}/.git", f"--work-tree={project}", *listing], project)
    except FileNotFoundError:
        raise ConfigError("submit: git is needed to tell what belongs to the project (.gitignore)") from None
    if found.returncode:
        raise ConfigError(f"submit: git cannot list {project}: {found.stderr.decode().strip().splitlines()[-1]}")
    return sorted({os.fsdecode(name) for name in found.stdout.split(b"\0") if name})


def _git(arguments: Sequence[str], project: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["git", "--no-optional-locks", *arguments],
        cwd=project,
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def _is_place_of_data(name: str) -> bool:
    top, *below = Path(name).parts
    return top in AT_THE_TOP and bool(below)


def _is_private(name: str) -> bool:
    return any(fnmatch.fnmatch(part.lower(), pattern) for part in Path(name).parts for pattern in SECRETS + OUTPUTS)


def _refuse_large(project: Path, sizes: dict[str, int]) -> None:
    total = sum(sizes.values())
    if total > LIMIT:
        largest = sorted(sizes, key=sizes.__getitem__, reverse=True)[:3]
        named = ", ".join(f"{name} ({sizes[name] / 2**20:.0f} MiB)" for name in largest)
        raise ConfigError(
            f"submit: {project} holds {total / 2**20:.0f} MiB in {len(sizes)} files, a job may bring "
            f"{LIMIT / 2**20:.0f} MiB; put what it does not need into .gitignore (largest: {named})"
        )


def _digest(files: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for name, path in files.items():
        mode, content = path.stat().st_mode & 0o777, path.read_bytes()
        digest.update(f"{mode:o} {hashlib.sha256(content).hexdigest()} ".encode() + os.fsencode(name) + b"\0")
    return digest.hexdigest()[:32]
