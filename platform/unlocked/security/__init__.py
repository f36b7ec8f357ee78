"""What keeps a shared machine safe: Ray's token, secrets out of everything shown, names that stay where they belong."""

from unlocked.security.names import (
    PORTS,
    STORE_PORTS,
    is_host,
    is_loopback,
    refuse_address,
    refuse_cluster,
    refuse_name,
    refuse_place,
    refuse_store,
    without_controls,
)
from unlocked.security.ownership import is_signed, sign
from unlocked.security.redact import MASK, RedactingStream, is_secret, redact, unmask, variable_of
from unlocked.security.token import authenticate, ensure_secret, token_path

__all__ = [
    "MASK",
    "PORTS",
    "STORE_PORTS",
    "RedactingStream",
    "authenticate",
    "ensure_secret",
    "is_host",
    "is_loopback",
    "is_secret",
    "is_signed",
    "redact",
    "refuse_address",
    "refuse_cluster",
    "refuse_name",
    "refuse_place",
    "refuse_store",
    "sign",
    "token_path",
    "unmask",
    "variable_of",
    "without_controls",
]
