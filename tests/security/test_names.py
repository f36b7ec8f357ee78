"""Addresses and hosts as people write them into commands and configurations."""

from __future__ import annotations

import pytest

from unlocked.errors import ConfigError
from unlocked.security import is_host, refuse_address


@pytest.mark.parametrize("address", [
    "http://127.0.0.1:8265", "https://head.example", "http://[::1]:8265/", "http://my_host:1", "http://a:b@h:65535/x",
    "http://localhost:5000",
])
def test_an_address_is_accepted(address):
    refuse_address("--uri", address)


@pytest.mark.parametrize("address", [
    "", " ", "http", "http:", "http:/", "http://", "http://:99999", "http://h:99999", "http://h:0", "http://h:-1",
    "http://h:port", "http://h:", "ftp://x", "x", "8265", "127.0.0.1:8265", "http:host:80", "http://two words:80",
    "http://h:80 ", " http://h:80", "http://h\n:80", "http://[::1:80", "http://256.1.1.1:80", "http://-x", "http://a..b",
    "http://h:" + "9" * 5000, "http://" + "h" * 300, "http://:80",
])
def test_what_is_no_address_is_one_line_that_names_the_key(address):
    with pytest.raises(ConfigError, match=r"--uri: .*expected http://HOST:PORT or https://HOST:PORT") as refused:
        refuse_address("--uri", address)
    assert str(refused.value).count("\n") == 0


def test_a_password_in_a_refused_address_is_not_shown():
    with pytest.raises(ConfigError) as refused:
        refuse_address("--uri", "http://ann:hunter22@h:99999")
    assert "hunter22" not in str(refused.value)


def test_a_database_names_its_driver_behind_its_scheme():
    refuse_address("tracking.uri", "postgresql+psycopg2://db:5432/runs", ("http", "postgresql"))
    with pytest.raises(ConfigError, match=r"expected postgresql://HOST:PORT"):
        refuse_address("tracking.uri", "mysql://db:1/runs", ("postgresql",))


@pytest.mark.parametrize("host", ["a" * 64, "a b", "h/x", "h:80", "1.2.3.4.5", "é"])
def test_what_is_no_host(host):
    assert not is_host(host)
