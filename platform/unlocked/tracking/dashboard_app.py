"""MLflow's own server application, whose page begins as model training, with the assistant's panel closed.

MLflow 3.17 opens every browser's first page as a tool for language-model agents, with an assistant beside it, and keeps
what the reader chose instead in that browser (`localStorage`), and so it does with the colours of groups of runs. The
page is served here with a line of script that writes these choices down, each if the reader has made none: groups by
scheme get the schemes' colours. Its server finds this as an `mlflow.app` of the name `NAME`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from unlocked.colors import named_schemes

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]

NAME = "unlocked-dashboard"
CHOICES = {"mlflow.workflowType_v1": '"machine_learning"', "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true"}
COLORS, GROUP = "experimentRunColors", "tag.scheme.{}"  # where, and by which name of a group
SCRIPT = (
    "<script>try{for(const [k,v] of Object.entries("
    + json.dumps(CHOICES)
    + "))if(localStorage.getItem(k)===null)localStorage.setItem(k,v);"
    + f"localStorage.setItem('{COLORS}',JSON.stringify({{..."
    + json.dumps({GROUP.format(name): color for name, color in named_schemes().items()})
    + f",...JSON.parse(localStorage.getItem('{COLORS}')||'{{}}')}}))"
    + "}catch(e){}</script>"
)  # fmt: skip
# a page that is narrower than its figures and commands would push a run's facts and tags out of it
STYLE = "<style>img[src*='get-artifact']{max-width:100%;height:auto}pre{white-space:pre-wrap}</style>"


class Dashboard:
    """Passes every request on; adds the script to the page itself."""

    def __init__(self, inner: Callable[[Scope, Receive, Send], Awaitable[None]]):
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/" or scope["method"] != "GET":
            await self._inner(scope, receive, send)
            return
        # the page as a browser has kept it may be MLflow's own
        asked = [(name, value) for name, value in scope["headers"] if not name.lower().startswith(b"if-")]
        begun: list[Scope] = []
        body = bytearray()

        async def hold(message: Scope) -> None:
            if message["type"] == "http.response.start":
                begun.append(message)
                return
            body.extend(message.get("body", b""))
            if not message.get("more_body", False):
                page = with_script(bytes(body))
                headers = [each for each in begun[0]["headers"] if each[0].lower() not in (b"content-length", b"etag")]
                headers.append((b"content-length", str(len(page)).encode()))
                await send({**begun[0], "headers": headers})
                await send({"type": "http.response.body", "body": page})

        await self._inner({**scope, "headers": asked}, receive, hold)


def with_script(page: bytes) -> bytes:
    """The page with the script before its own, and the style; anything else as it is."""
    return page.replace(b"<head>", b"<head>" + (SCRIPT + STYLE).encode(), 1)


def write_entry(folder: Path) -> Path:
    """Writes into `folder` what Python's package metadata calls an entry point, by which MLflow finds the application.

    So it is found from a checkout, too, whatever was installed when. `folder` belongs on the path of the server.
    """
    place = folder / f"{NAME.replace('-', '_')}-1.dist-info"
    place.mkdir(parents=True, exist_ok=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1\n")
    (place / "entry_points.txt").write_text(f"[mlflow.app]\n{NAME} = {__name__}:app\n")
    return folder


def __getattr__(name: str) -> Any:  # MLflow's server is imported by its own process alone
    if name == "app":
        from mlflow.server.fastapi_app import app

        return Dashboard(app)
    raise AttributeError(name)
