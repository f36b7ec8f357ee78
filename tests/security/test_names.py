"""Addresses and hosts as people write them into commands and configurations."""

from __future__ import annotations

import pytest

from unlocked.errors import ConfigError
from unlocked.security import is_host, refuse_address, refuse_cluster, refuse_place, refuse_store


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:8265",
        "https://head.example",
        "http://[::1]:8265/",
        "http://my_host:1",
        "http://a:b@h:65535/x",
        "http://localhost:5000",
    ],
)
def test_an_address_is_accepted(address):
    refuse_address("--uri", address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        " ",
        "http",
        "http:",
        "http:/",
        "http://",
        "http://:99999",
        "http://h:99999",
        "http://h:0",
        "http://h:-1",
        "http://h:port",
        "http://h:",
        "ftp://x",
        "x",
        "8265",
        "127.0.0.1:8265",
        "http:host:80",
        "http://two words:80",
        "http://h:80 ",
        " http://h:80",
        "http://h\n:80",
        "http://[::1:80",
        "http://256.1.1.1:80",
        "http://-x",
        "http://a..b",
        "http://h:" + "9" * 5000,
        "http://" + "h" * 300,
        "http://:80",
    ],
)
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


@pytest.mark.parametrize(
    "uri",
    [
        "http://h:5000",
        "https://ann:pw@h",
        "sqlite:///runs/mlflow.db",
        "sqlite:////srv/mlflow.db",
        "postgresql:///runs",
        "postgresql+psycopg2://ann:p/w@db:5432/runs",
        "mysql://db/runs",
        "mssql+pyodbc:///?odbc_connect=x",
    ],
)
def test_a_store_is_accepted(uri):
    refuse_store("tracking.uri", uri)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "nonsense",
        "http://",
        "http://h:99999",
        "sqlite://",
        "sqlite:///",
        "mysql://",
        "sqlite:runs",
        "postgresql://db:0/runs",
        "file:///runs",
        "postgresql://ann:pw@:1/runs",
    ],
)
def test_what_names_no_store_is_one_line(uri):
    with pytest.raises(ConfigError, match=r"^tracking\.uri: ") as refused:
        refuse_store("tracking.uri", uri)
    assert "\n" not in str(refused.value)
    assert "pw" not in str(refused.value)


@pytest.mark.parametrize("address", ["auto", "127.0.0.1:6379", "ray://head.example:10001", "[::1]:6379"])
def test_an_address_of_a_cluster_is_accepted(address):
    refuse_cluster("parallel.address", address)


@pytest.mark.parametrize(
    "address", ["", "local", "h h:1", "head.example", "h:99999", "h:", ":6379", "http://h:1", "ray://"]
)
def test_what_is_no_address_of_a_cluster_is_one_line(address):
    with pytest.raises(ConfigError, match=r"^parallel\.address: .*expected HOST:PORT, ray://HOST:PORT or auto$"):
        refuse_cluster("parallel.address", address)


@pytest.mark.parametrize(
    ("host", "port", "said"),
    [
        ("127.0.0.1", 99999, "--port: must be from 1 to 65535, got 99999"),
        ("::", 0, "--port: must be from 1 to 65535, got 0"),
        ("h", -1, "--port: must be from 1 to 65535, got -1"),
        ("two words", 80, "--host: 'two words' is no host"),
        ("", 80, "--host: '' is no host"),
    ],
)
def test_where_no_server_can_listen(host, port, said):
    with pytest.raises(ConfigError) as refused:
        refuse_place("--host", host, "--port", port)
    assert said in str(refused.value)
