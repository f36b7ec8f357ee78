"""The MLflow dashboard: on this machine's loopback, and beyond it only behind MLflow's own login.

Beyond loopback MLflow's basic-auth app asks everybody for a name and a password. Its users, their administrator's
password and the key of its sessions lie in the folder `.login` beside the runs, readable by their owner alone.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from unlocked.errors import ConfigError, UnlockedError
from unlocked.files import write_whole
from unlocked.network import free_port, spare_loopback
from unlocked.search_path import child_environment
from unlocked.security import ensure_secret, is_loopback, redact, refuse_place
from unlocked.tracking.dashboard_app import NAME, write_entry
from unlocked.tracking.environment import MLFLOW_ENVIRONMENT
from unlocked.tracking.store import opening
from unlocked.tracking.uris import NO_DATABASE, NOBODY, reachable, resolve_uri, sqlite_path, sqlite_uri
from unlocked.tracking.views import has_trials, links

_LOOPBACK = ("127.0.0.1", "localhost")


def serve(
    uri: str | Path,
    host: str = "127.0.0.1",
    port: int = 5000,
    say: Callable[[str], None] = print,
    allowed_hosts: Sequence[str] = (),
    browse: Callable[[str], object] | None = None,
) -> int:
    """Show the runs of `uri` (an address, or the runs root) in MLflow's dashboard until Ctrl-C.

    `allowed_hosts`: names by which browsers may ask for it, beside loopback's and `host`; others are refused.
    `browse`: is given the link of Results once the dashboard is up.
    A tracking server's address is only told: it has a dashboard of its own.
    """
    text = str(uri)
    address = resolve_uri(text, Path()) if "://" in text else resolve_uri(None, Path(text))
    if address.startswith(("http://", "https://")):
        if not reachable(address, timeout=3.0):
            raise UnlockedError(NOBODY.format(redact(address)))
        say(f"MLflow runs at {redact(address)}")
        return 0
    check(address, host, port, allowed_hosts)
    environment = {**child_environment(), **MLFLOW_ENVIRONMENT, "PYTHONWARNINGS": "ignore"}
    if not is_loopback(host):
        folder = _login_folder(address, Path(text))
        environment |= login(folder)
        say(f"login: admin, password in {folder / 'password'}; it travels as plain text: put TLS or a tunnel in front")
    with opening(address):  # a run may be creating the tables right now
        command = server_command(address, host, port, allowed_hosts)
        page, studied = latest_page(address)
    url = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{port}"
    say(f"starting MLflow for {redact(address)} ...")
    with tempfile.TemporaryDirectory(prefix="unlocked-ui-") as place, _sigterm_as_ctrl_c():
        if is_loopback(host) and _takes_our_page():  # beyond it MLflow's login is the application
            entry = str(write_entry(Path(place)))
            known = environment.get("PYTHONPATH")
            environment["PYTHONPATH"] = os.pathsep.join([entry, *([known] if known else [])])
            command += ["--app-name", NAME]
        server = subprocess.Popen(command, env=environment, start_new_session=True)
        try:
            _wait_until_up(server, url)
            found = links(url, page, with_trials=studied)
            for name, link in found:
                say(f"{name:<18}{link}")
            say("(Ctrl-C ends it)")
            if browse is not None:
                browse(dict(found).get("Results", found[0][1]))
            return server.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            _end(server)


def latest_page(address: str) -> tuple[str | None, bool]:
    """The experiment that was last written to, by its id, and whether it has a study; None if there is none but
    MLflow's own."""
    spare_loopback()
    for name, value in MLFLOW_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow.tracking import MlflowClient

    try:
        client = MlflowClient(address)
        known = {each.experiment_id: each for each in client.search_experiments() if each.name != "Default"}
        runs = client.search_runs([*known], max_results=1, order_by=["attributes.start_time DESC"]) if known else []
        found = str(runs[0].info.experiment_id) if runs else None
        return found, found is not None and has_trials(known[found].tags)
    except Exception:  # the server will say what is wrong with its store
        return None, False


def _takes_our_page() -> bool:
    """Whether this MLflow is served by the application that ours passes requests on to."""
    return importlib.util.find_spec("mlflow.server.fastapi_app") is not None


def check(address: str, host: str, port: int, allowed_hosts: Sequence[str] = ()) -> None:
    """Raise in one line what would go wrong: an open host without a login, a missing database, a taken port."""
    refuse_place("--host", host, "--port", port)
    for name in allowed_hosts:
        refuse_place("--allow-host", name, "--port", port)
    if not is_loopback(host) and importlib.util.find_spec("flask_wtf") is None:
        raise ConfigError(
            f"--host {host}: beyond this machine MLflow needs its login (pip install 'mlflow[auth]'), or anyone who "
            f"reaches it could delete runs; or use 127.0.0.1 and a tunnel (ssh -L {port}:127.0.0.1:{port} THIS_MACHINE)"
        )
    database = sqlite_path(address)
    if database is not None and not database.exists():
        raise UnlockedError(NO_DATABASE.format(database))
    if not _is_free(port):
        raise UnlockedError(f"--port {port}: already in use; port {free_port()} is free")


def server_command(address: str, host: str, port: int, allowed_hosts: Sequence[str] = ()) -> list[str]:
    """The `mlflow server` call: one worker, only requests that name this very place, beyond loopback a login."""
    own = [] if host in (*_LOOPBACK, "0.0.0.0", "::") else [host]
    hosts = [*_LOOPBACK, *own, *allowed_hosts]
    names = [name for host in hosts for name in (host, f"{host}:{port}")]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", address]
    command += ["--host", host, "--port", str(port), "--workers", "1", "--allowed-hosts", ",".join(names)]
    command += ["--uvicorn-opts", "--log-level warning"]
    if not is_loopback(host):
        command += ["--app-name", "basic-auth"]
    return [*command, "--cors-allowed-origins", ",".join(f"http://{name}:{port}" for name in hosts)]


def login(folder: Path) -> dict[str, str]:
    """Variables for MLflow's basic-auth app, whose secrets and users are kept in `folder`; made if missing."""
    password, key = ensure_secret(folder / "password"), ensure_secret(folder / "session-key")
    folder.chmod(0o700)  # its users' database is MLflow's to create
    settings = folder / "basic_auth.ini"
    users = sqlite_uri(folder.absolute() / "users.db").replace("%", "%%")  # configparser's own sign
    write_whole(
        settings,
        "[mlflow]\ndefault_permission = NO_PERMISSIONS\nadmin_username = admin\n"
        f"database_uri = {users}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n",
    )
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(settings.absolute()),
        "MLFLOW_AUTH_ADMIN_PASSWORD": password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": key,
    }


def _login_folder(address: str, runs: Path) -> Path:
    """Beside the database file; in the runs folder, or here, where the database is a server's."""
    database = sqlite_path(address)
    return (database.parent if database is not None else runs if runs.is_dir() else Path()) / ".login"


def _wait_until_up(server: subprocess.Popen[bytes], url: str, timeout: float = 120.0) -> None:
    deadline = time.monotonic() + timeout
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is on this machine
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise UnlockedError(f"MLflow ended with exit code {server.returncode}; its own words are above")
        with contextlib.suppress(OSError), direct.open(f"{url}/health", timeout=2):
            return
        time.sleep(0.2)
    raise UnlockedError(f"MLflow did not answer at {url} within {timeout:.0f} s")


@contextlib.contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # no other may say what a signal does
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server and its worker; in a session of their own, Ctrl-C prints no traceback of theirs."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(timeout=5)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
