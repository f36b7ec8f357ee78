"""Starting workers: what cannot be placed is said at once, and Ray leaves our signals alone."""

from __future__ import annotations

import signal

import pytest

from unlocked.config import load_config
from unlocked.errors import ConfigError, RunFailed
from unlocked.launch.cluster import given_address, start_ray
from unlocked.launch.ray_group import RayGroup
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data


def start(*overrides: str) -> RayGroup:
    config = load_config("quickstart", ["parallel.partition=null", *overrides])
    data = load_data(config)
    return RayGroup(make_plan(config, data), data)


@pytest.mark.ray
@pytest.mark.timeout(60)
def test_more_workers_than_the_cluster_has_processors_are_refused(cluster):
    with pytest.raises(ConfigError, match="parallel: 10 workers need 10 CPU, the cluster has 8"):
        start("parallel.modules=5", "parallel.replicas=2")


@pytest.mark.ray
@pytest.mark.timeout(60)
def test_a_place_that_does_not_come_free_is_waited_for_no_longer_than_the_time_limit(warm):
    with pytest.raises(RunFailed, match=r"no place for 5 workers .* came free within 2 s"):  # four of eight are taken
        start("parallel.modules=5", "parallel.timeout=2")


def test_sigterm_still_saves_the_run_after_ray_has_started(monkeypatch):
    import ray

    def init(**_):
        signal.signal(signal.SIGTERM, lambda *_: None)

    ours = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    start_ray(2, None)
    assert signal.getsignal(signal.SIGTERM) is ours


def test_a_cluster_that_does_not_answer_is_one_line(monkeypatch):
    import ray

    def init(**_):
        raise ConnectionError("ray client connection timeout\nand more lines")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr("unlocked.launch.cluster.listens", lambda host, port: (host, port) == ("10.0.0.1", 6379))
    with pytest.raises(RunFailed) as failure:
        start_ray(2, "10.0.0.1:6379")
    assert str(failure.value) == (
        "parallel.address: no Ray cluster answers at 10.0.0.1:6379: ray client connection timeout"
    )


def test_a_ray_that_a_busy_machine_starts_too_slowly_is_one_line(monkeypatch):
    def start(_: int) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("unlocked.launch.private_ray.start", start)
    with pytest.raises(RunFailed, match=r"^parallel.address: Ray could not start here: The current node timed out"):
        start_ray(2, None)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "[::1]:1"])
def test_an_address_where_nobody_listens_is_one_line_and_ray_is_not_asked(monkeypatch, address):
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray would try for minutes"))
    said = f"no Ray cluster answers at {address}; start one with: unlocked cluster up"
    with pytest.raises(RunFailed) as failure:
        start_ray(2, address)
    assert str(failure.value) == f"parallel.address: {said}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(RunFailed) as failure:
        start_ray(2, None)
    assert str(failure.value) == f"RAY_ADDRESS: {said}"


@pytest.mark.parametrize(
    ("written", "running", "said"),
    [
        ("127.0.0.1:1", ["127.0.0.1:2"], "the last one that was started, 127.0.0.1:1, has ended"),
        (None, [], "none was started"),
        (None, ["127.0.0.1:1"], "none was started"),
    ],
)
def test_auto_without_a_cluster_here_is_one_line(monkeypatch, written, running, said):
    import ray
    from ray._private import services

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray would try for minutes"))
    monkeypatch.setattr(services, "find_bootstrap_address", lambda folder: written)
    monkeypatch.setattr(services, "find_gcs_addresses", lambda: set(running))
    with pytest.raises(RunFailed) as failure:
        start_ray(2, "auto")
    assert str(failure.value) == (
        f"parallel.address: auto: no Ray cluster runs on this machine ({said}); start one with: unlocked cluster up"
    )


def test_an_environment_that_names_no_cluster_is_one_line(monkeypatch):
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "http://h:1")
    with pytest.raises(ConfigError, match=r"^RAY_ADDRESS: 'http://h:1' .*expected HOST:PORT"):
        start_ray(2, None)
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert given_address() is None
