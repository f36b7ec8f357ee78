"""What this user wrote is told apart from what somebody else put into a run folder."""

import stat
from pathlib import Path

import pytest

from unlocked.security import is_signed, sign
from unlocked.security.ownership import key_path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_signed_value_is_recognised_after_a_round_trip_in_any_order_of_keys():
    signed = sign({"uri": "http://127.0.0.1:5000", "imports": ["my_model"]})
    assert is_signed(dict(reversed(signed.items())))
    assert sign(signed) == signed


@pytest.mark.parametrize(
    "change", [{"uri": "http://attacker"}, {"extra": 1}, {"signature": "0" * 64}, {"signature": 5}, {"signature": "ä"}]
)
def test_a_changed_value_is_not(change: dict):
    assert not is_signed({**sign({"uri": "http://127.0.0.1:5000"}), **change})


def test_the_signature_of_another_user_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    theirs = sign({"uri": "x"})
    monkeypatch.setenv("HOME", str(tmp_path / "other"))
    assert not is_signed(theirs)  # no key at all
    sign({})
    assert not is_signed(theirs)


def test_the_key_is_readable_by_its_owner_alone():
    sign({})
    assert stat.S_IMODE(key_path().stat().st_mode) == 0o600
