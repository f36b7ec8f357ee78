"""Secrets kept out of everything that is shown or stored: logs, parameters of runs, metadata of jobs."""

from __future__ import annotations

import os
import re
from typing import Any, TextIO

from unlocked.errors import ConfigError

MASK = "***"
_LOGINS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
_SHORTEST = 8  # characters; what is shorter is no secret worth its name, and would be found in ordinary words
_PATTERNS = (
    (re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*://)[^/\s'\"<>]*@"), r"\g<1>***@"),
    # SQLAlchemy takes a password with a slash in it, so outside the web everything up to the @ is one
    (re.compile(r"((?!https?:)\b[A-Za-z][A-Za-z0-9+.\-]*://)[^/\s:@'\"]*:[^\s@'\"<>]*@"), r"\g<1>***@"),
    # a password in quotes, or with one; not what lies between two addresses of a list
    (re.compile(r"(\b[A-Za-z][A-Za-z0-9+.\-]*://)[^/\s:@'\"]*:(['\"])[^'\"\n]+\2@"), r"\g<1>***@"),
    (re.compile(r"(\b[A-Za-z][A-Za-z0-9+.\-]*://)[^/\s:@'\"]*:[^\s@'\"<>]*['\"][^\s@'\"<>,;:)}\]]+@"), r"\g<1>***@"),
    (re.compile(r"([?&](?:\w*password|\w*token|secret)=)(?:(['\"])[^'\",]+\2|[^&\s'\"]*)", re.IGNORECASE), r"\g<1>***"),
    (re.compile(r"(\bBearer\s+)(?:(['\"])[\w.~+/=-]+\2|[\w.~+/=-]+)", re.IGNORECASE), r"\g<1>***"),
)
_QUOTED = re.compile(r"([\w.]+)(['\"]?\s*[=:]\s*)(['\"])((?:\\.|(?!\3)[^\\\n])+)\3")  # name = 'value', "name": "value"
# `token` alone: a tokenizer's `tokens` and a model's `max_tokens` are no secrets
_SECRET_NAME = re.compile(
    r"passw(or)?d|secret|credential|api_?key|access_?key|private_?key|(^|[_.])token$", re.IGNORECASE
)


def redact(text: str) -> str:
    """`text` without passwords in addresses, tokens in queries and headers, values in quotes behind the name of a
    secret, and the secrets of this environment.

    >>> redact("http://ann:pw@host:5000/?token=abc")
    'http://***@host:5000/?token=***'
    >>> redact("host=db password='a b'")
    "host=db password='***'"
    """
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    text = _QUOTED.sub(_masked, text)
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST and value in text and is_secret(name):
            text = text.replace(value, "***")
    return text


def _masked(found: re.Match[str]) -> str:
    name, between, quote, _ = found.groups()
    is_word = name.lower() == "token" and between.startswith(":")  # unknown token: 'x'
    return f"{name}{between}{quote}{MASK}{quote}" if is_secret(name) and not is_word else found[0]


def unmask(key: str, address: str) -> str:
    """The whole address that a file holds without its password; run folders keep none.

    It is taken from the environment, from a variable named after the `key` (tracking.uri: UNLOCKED_TRACKING_URI); of a
    web address also from MLflow's own, which stand for the login. Raises `ConfigError` that names the variable.
    """
    if MASK not in address:
        return address
    variable = variable_of(key)
    given = os.environ.get(variable)
    if given is not None and redact(given) == address:
        return given
    web = address.startswith(("http://", "https://"))
    if web and given is None and any(os.environ.get(name) for name in _LOGINS):
        return address.replace(f"{MASK}@", "")
    wrong = f"${variable} names another address" if given is not None else "its password is not kept in files"
    login = f", or {_LOGINS[0]} and {_LOGINS[1]}" if web and key == "tracking.uri" else ""
    raise ConfigError(
        f"{key}: {address!r}: {wrong}; set the environment variable {variable} to the whole address{login}"
    )


def variable_of(key: str) -> str:
    """The environment variable that holds the whole address of a configuration's `key`.

    >>> variable_of("tracking.uri")
    'UNLOCKED_TRACKING_URI'
    """
    return f"UNLOCKED_{key.upper().replace('.', '_')}"


def is_secret(name: str) -> bool:
    """Whether a variable or key of this name holds a secret.

    >>> [is_secret(name) for name in ("AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN", "data.options.tokens")]
    [True, True, False]
    """
    return _SECRET_NAME.search(name) is not None


class RedactingStream:
    """A text stream that redacts whatever is printed through it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(redact(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
