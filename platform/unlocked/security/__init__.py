"""What keeps a shared machine safe: Ray's token, secrets out of everything shown, names that stay where they belong."""

from unlocked.security.names import PORTS, is_host, is_loopback, refuse_address, refuse_name
from unlocked.security.ownership import is_signed, sign
from unlocked.security.redact import RedactingStream, is_secret, redact
from unlocked.security.token import authenticate, ensure_secret, token_path

__all__ = ["PORTS", "RedactingStream", "authenticate", "ensure_secret", "is_host", "is_loopback", "is_secret",
           "is_signed", "redact", "refuse_address", "refuse_name", "sign", "token_path"]
