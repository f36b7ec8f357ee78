"""Secrets are masked by their place in a text, by the name of their key, and by their value."""

from __future__ import annotations

import io

import pytest

from unlocked.security import RedactingStream, is_secret, redact
from unlocked.tracking import Recorder, flatten


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("MLFLOW_TRACKING_PASSWORD", True),
        ("AWS_SECRET_ACCESS_KEY", True),
        ("RAY_AUTH_TOKEN", True),
        ("data.options.api_key", True),
        ("data.options.token", True),
        ("HF_TOKEN", True),
        ("data.options.tokens", False),
        ("max_tokens", False),
        ("model.hidden", False),
        ("tracking.uri", False),
        ("RAY_AUTH_TOKEN_PATH", False),
        ("tokenizer", False),
    ],
)
def test_names_of_secrets_are_known_from_those_of_tokens(name, secret):
    assert is_secret(name) is secret


def test_the_secrets_of_the_environment_are_masked_wherever_they_are_printed(monkeypatch):
    monkeypatch.setenv("DATABASE_PASSWORD", "correct horse")
    monkeypatch.setenv("SHORT_PASSWORD", "on")
    out = io.StringIO()
    print("connecting with correct horse on port 1", file=RedactingStream(out))
    assert out.getvalue() == "connecting with *** on port 1\n"


def test_an_authorization_header_is_masked():
    assert redact("sent Authorization: Bearer abc.def-123 to it") == "sent Authorization: Bearer *** to it"


def test_a_runs_params_and_its_spool_hold_no_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("STORE_SECRET", "s3cr3t-value")
    tree = {
        "data": {"options": {"password": "pw-1", "api_key": None, "tokens": "bpe", "note": "is s3cr3t-value"}},
        "tracking": {"uri": "https://ann:pw-2@host"},
    }
    params = flatten(tree)
    assert params["data.options.password"] == "***"
    assert params["data.options.api_key"] == "null"
    assert params["data.options.tokens"] == "bpe"
    recorder = Recorder(tmp_path)
    recorder.start(params, {})
    recorder.close()
    written = next(tmp_path.rglob("spool.jsonl")).read_text()
    assert "is ***" in written
    for secret in ("pw-1", "pw-2", "s3cr3t"):
        assert secret not in written
