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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("password='two words'", "password='***'"),
        ('{"api_key": "abc", "tokens": "bpe"}', '{"api_key": "***", "tokens": "bpe"}'),
        (r"db.password: 'it\'s'", "db.password: '***'"),
        ("postgresql://ann:'p w'@host/db", "postgresql://***@host/db"),
        ("http://ann:p'w@host", "http://***@host"),
        ('http://host/?token="a b"&x=1', "http://host/?token=***&x=1"),
        ('Authorization: Bearer "abc"', "Authorization: Bearer ***"),
    ],
)
def test_secrets_in_quotes_are_masked(text, shown):
    assert redact(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "unknown token: 'zz'",
        "['http://h1:80','ann@h2']",
        '{"uri":"http://h:80","mail":"ann@host"}',
        '{"url":"http://h?token=***","b":"c"}',
        '{"header":"Bearer ***","b":"c"}',
        '{"password": "", "seed": "0"}',
        "tokenizer: 'bpe'",
    ],
)
def test_words_that_only_look_like_secrets_stay(text):
    assert redact(text) == text


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
