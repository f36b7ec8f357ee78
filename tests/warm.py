"""python -S warm.py SOCKET -m MODULE WORDS...     as `python -m MODULE WORDS...`, without the seconds of its imports

The process forks from one that has imported everything (`python warm.py SOCKET`, by the fixture `warm_python`). It has
the caller's streams, folder, environment and signals; its exit code is the caller's. Not for a test of how a process
starts: options and variables that Python itself reads, such as PYTHONPATH, change nothing any more.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
from typing import Any

PRELOADED = (
    "mlflow.store.tracking.sqlalchemy_store",
    "sklearn.datasets",
    "torch._dynamo",  # optimisers import it
    "unlocked.cli.main",
    "unlocked.loop.train",
    "unlocked.tracking.writer",
    "unlocked_models",
)
SIGNALS = (signal.SIGINT, signal.SIGTERM)


# The caller -----------------------------------------------------------------------------------------------


def call(address: str, words: list[str]) -> None:
    """Ends this process as the other one ends."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.connect(address)
        for number in SIGNALS:
            signal.signal(number, lambda number, _: server.send(bytes([number])))
        asked = {"words": words, "folder": os.getcwd(), "environment": dict(os.environ)}
        message = os.memfd_create("asked")
        os.write(message, json.dumps(asked).encode())
        socket.send_fds(server, [b"."], [0, 1, 2, message])
        code = int(server.recv(64) or -signal.SIGKILL)  # nothing: somebody killed the server
    if code < 0:
        if -code in SIGNALS:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


# The server -----------------------------------------------------------------------------------------------


def serve(address: str) -> dict[str, Any]:
    """Returns in every process that is to do what a caller asked, and in no other."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(address)
    listener.listen()
    print("warm", flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        if listener in select.select([listener, 0], [], [])[0]:
            caller, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                return keep(caller)
            caller.close()
        elif not os.read(0, 1):  # the suite is over
            os._exit(0)


def keep(caller: socket.socket) -> dict[str, Any]:
    """In a process between the two: passes signals on, and the exit code back; what the caller asked, in the other."""
    _, streams, _, _ = socket.recv_fds(caller, 1, 4)
    message = streams.pop()
    asked = json.loads(os.pread(message, os.fstat(message).st_size, 0))
    child = os.fork()
    if child == 0:
        caller.close()
        os.close(message)
        become(asked, streams)
        return asked
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(child)
    while ended not in (ready := select.select([ended, caller], [], [])[0]):
        if caller in ready:
            number = caller.recv(1)
            os.kill(child, number[0] if number else signal.SIGKILL)  # the caller was killed
            if not number:
                break
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(OSError):
        caller.send(str(code).encode())
    os._exit(0)


def become(asked: dict[str, Any], streams: list[int]) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115


if __name__ == "__main__":
    if len(sys.argv) > 2:
        call(sys.argv[1], sys.argv[2:])

    import importlib
    import runpy

    for name in PRELOADED:
        importlib.import_module(name)
    dash_m, module, *words = serve(sys.argv[1])["words"]
    assert dash_m == "-m"
    sys.argv = [module, *words]
    sys.path[0] = os.getcwd()
    runpy.run_module(module, run_name="__main__", alter_sys=True)
