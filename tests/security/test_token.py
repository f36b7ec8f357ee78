"""Ray's token: made once, for its owner alone, and shown by every process that speaks to a cluster."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from unlocked.errors import UnlockedError
from unlocked.security import authenticate, ensure_secret, token_path
from unlocked.security.token import is_disabled


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # so that the test's end takes back what `authenticate` sets
        monkeypatch.delenv(name)
    monkeypatch.delitem(sys.modules, "ray._raylet", raising=False)  # not imported yet, as in a fresh process
    return tmp_path


def test_a_new_token_is_its_owners_alone(home: Path, monkeypatch: pytest.MonkeyPatch):
    authenticate(create=True)
    assert token_path() == home / ".ray" / "auth_token"
    assert stat.S_IMODE(token_path().stat().st_mode) == 0o600
    assert len(token_path().read_text()) == 64
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert not is_disabled()


def test_a_token_that_others_can_read_is_closed_to_them_and_kept(home: Path):
    token_path().parent.mkdir()
    token_path().write_text("abc")
    token_path().chmod(0o644)  # as Ray writes it
    authenticate()
    assert token_path().read_text() == "abc"
    assert stat.S_IMODE(token_path().stat().st_mode) == 0o600


def test_no_token_is_invented_for_a_cluster_that_exists(home: Path):
    authenticate()
    assert not token_path().exists()


def test_who_switched_authentication_off_is_left_alone(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    authenticate(create=True)
    assert is_disabled()
    assert not token_path().exists()


def test_many_processes_at_once_agree_on_one_secret(tmp_path: Path):
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(ensure_secret(tmp_path / "s" / "secret")))]
    code = (
        "import sys; from pathlib import Path; from unlocked.security import ensure_secret; "
        "print(ensure_secret(Path(sys.argv[1])))"
    )
    others = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "s" / "secret")], text=True, stdout=subprocess.PIPE
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    said = {other.communicate(timeout=60)[0].strip() for other in others}
    for thread in threads:
        thread.join()
    assert {*found, *said} == {(tmp_path / "s" / "secret").read_text()}
    assert {path.name for path in (tmp_path / "s").iterdir()} == {"secret", ".secret.lock"}  # no draft


def test_a_secret_that_cannot_be_kept_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UnlockedError, match=r"file/secret: a secret must be readable by its owner alone: ") as caught:
        ensure_secret(tmp_path / "file" / "secret")
    assert "\n" not in str(caught.value)
