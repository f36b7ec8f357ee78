"""Secrets kept out of everything that is shown or stored: logs, parameters of runs, metadata of jobs."""

from __future__ import annotations

import os
import re
from typing import TextIO

_SHORTEST = 8  # characters; what is shorter is no secret worth its name, and would be found in ordinary words
_PATTERNS = (
    (re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*://)[^/\s'\"<>]*@"), r"\g<1>***@"),
    # SQLAlchemy takes a password with a slash in it, so outside the web everything up to the @ is one
    (re.compile(r"((?!https?:)\b[A-Za-z][A-Za-z0-9+.\-]*://)[^/\s:@'\"]*:[^\s@'\"<>]*@"), r"\g<1>***@"),
    (re.compile(r"([?&](?:\w*password|\w*token|secret)=)[^&\s'\"]*", re.IGNORECASE), r"\g<1>***"),
    (re.compile(r"(\bBearer\s+)[\w.~+/=-]+", re.IGNORECASE), r"\g<1>***"),
)
# `token` alone: a tokenizer's `tokens` and a model's `max_tokens` are no secrets
_SECRET_NAME = re.compile(r"passw(or)?d|secret|credential|api_?key|access_?key|private_?key|(^|[_.])token$",
                          re.IGNORECASE)


def redact(text: str) -> str:
    """`text` without passwords in addresses, tokens in queries and headers, and the secrets of this environment.

    >>> redact("http://ann:pw@host:5000/?token=abc")
    'http://***@host:5000/?token=***'
    """
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST and value in text and is_secret(name):
            text = text.replace(value, "***")
    return text


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

    def __getattr__(self, name: str):
        return getattr(self._stream, name)
