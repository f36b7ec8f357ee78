"""Opens a page in the reader's browser, if they sit before the screen that it would appear on."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Mapping
from contextlib import suppress

_REMOTE = ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY")
_SCREENS = ("DISPLAY", "WAYLAND_DISPLAY")


def opens_here(environment: Mapping[str, str], platform: str = sys.platform) -> bool:
    """Whether this environment is of a session with a screen of its own, and nobody's from afar.

    >>> opens_here({"DISPLAY": ":0"}, "linux"), opens_here({}, "linux"), opens_here({}, "darwin")
    (True, False, True)
    >>> opens_here({"DISPLAY": "localhost:10.0", "SSH_CONNECTION": "10.0.0.1 22"}, "linux")
    False
    """
    if any(environment.get(name) for name in _REMOTE):
        return False
    return platform in ("darwin", "win32") or any(environment.get(name) for name in _SCREENS)


def show(url: str) -> bool:
    """Opens the page; whether it did. No browser that runs inside the terminal is taken."""
    if not opens_here(os.environ):
        return False
    with suppress(webbrowser.Error, OSError):
        browser = webbrowser.get()
        if type(browser) is not webbrowser.GenericBrowser:  # else w3m, lynx and their like
            return browser.open(url)
    return False
