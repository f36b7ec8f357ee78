"""Addresses of this machine."""

import doctest
import urllib.request

import pytest

from unlocked import network
from unlocked.network import LOOPBACK, spare_loopback


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, []),
        ({"no_proxy": "a.example, b.example"}, ["a.example", "b.example"]),
        ({"NO_PROXY": ".a"}, [".a"]),
        ({"no_proxy": "a.example", "NO_PROXY": "b.example"}, ["a.example"]),
        ({"no_proxy": "::1"}, []),
        ({"no_proxy": "*"}, ["*"]),
    ],
)
def test_loopback_needs_no_proxy_and_what_the_user_exempts_stays_exempt(given, kept):
    environment = dict(given)
    spare_loopback(environment)
    names = environment["no_proxy"].split(",")
    assert environment["NO_PROXY"] == environment["no_proxy"]
    assert set(names) == ({"*"} if kept == ["*"] else {*kept, *LOOPBACK})
    assert len(names) == len(set(names))
    again = dict(environment)
    spare_loopback(again)
    assert again == environment


def test_python_and_requests_go_to_this_machine_themselves(monkeypatch):
    from requests.utils import should_bypass_proxies

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "intra.example")
    monkeypatch.setenv("NO_PROXY", "intra.example")
    spare_loopback()
    for host in ("127.0.0.1", "localhost", "intra.example"):
        assert urllib.request.proxy_bypass(f"{host}:8265")
        assert should_bypass_proxies(f"http://{host}:8265", None)
    assert not urllib.request.proxy_bypass("example.org")


def test_the_examples_in_the_docstrings_run():
    outcome = doctest.testmod(network)
    assert outcome.attempted > 0
    assert outcome.failed == 0
