"""One published file over HTTP: whole and with the right checksum, or not there at all."""

from __future__ import annotations

import hashlib
import http.client
import sys
import urllib.error
import urllib.request
from pathlib import Path

from unlocked.errors import DataError
from unlocked.files import written_whole
from unlocked.network import spare_loopback

CHUNK = 1 << 18
TIMEOUT = 30.0  # seconds without a byte


def download(url: str, target: Path, md5: str) -> Path:
    """Fetch `url` to `target` by way of a temporary file beside it; progress goes to stderr.

    Raises `DataError` with the reason when the server cannot be reached or answers with an error, when the
    MD5 is not `md5` (an empty one is not checked), or when the folder cannot be written. Two processes that
    fetch the same file at once do no harm: each renames a whole one.
    """
    try:
        with written_whole(target) as part:
            size, digest = _receive(url, part)
            if md5 and digest != md5:
                raise DataError(
                    f"{url}: the {size} bytes have MD5 {digest}, not the published {md5}; "
                    f"they were not kept; try again, or put the file into {target.parent}"
                )
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) if not isinstance(error, urllib.error.HTTPError) else None
        raise DataError(
            f"{url}: cannot be downloaded to {target.parent} ({reason or error}); check the "
            "network, or put the file there by hand"
        ) from None
    return target


def _receive(url: str, part: Path) -> tuple[int, str]:
    spare_loopback()
    digest = hashlib.md5(usedforsecurity=False)
    request = urllib.request.Request(url, headers={"User-Agent": "unlocked"})
    size = 0
    with urllib.request.urlopen(request, timeout=TIMEOUT) as reply, part.open("xb") as out:
        total = int(reply.headers.get("Content-Length") or 0)
        print(f"downloading {url}" + (f" ({total / 1e6:.1f} MB)" if total else ""), file=sys.stderr)
        while chunk := reply.read(CHUNK):
            out.write(chunk)
            digest.update(chunk)
            size += len(chunk)
            if sys.stderr.isatty():
                share = f" of {total / 1e6:.1f}" if total else ""
                print(f"\r  {size / 1e6:.1f}{share} MB", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return size, digest.hexdigest()
