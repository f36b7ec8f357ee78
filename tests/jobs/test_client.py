"""What a cluster says of itself over HTTP, without a cluster."""

from __future__ import annotations

import pytest

from unlocked.jobs.client import Cluster


@pytest.fixture
def two_nodes(monkeypatch):
    """A cluster whose second node was lost, as Ray 2.60 tells of it."""
    import ray.util.state
    from ray.util.state.exception import RayStateApiException

    nodes = [
        {"node_id": "a", "state": "ALIVE", "resources_total": {"CPU": 2.0}},
        {"node_id": "b", "state": "DEAD", "resources_total": {"CPU": 4.0}},
    ]

    def list_nodes(filters, limit, raise_on_missing_output=True):
        if raise_on_missing_output:
            raise RayStateApiException(
                "Failed to retrieve all 2 nodes from the cluster because they are not reachable due to data truncation."
            )
        return [node for node in nodes if all(node[key] == value for key, _, value in filters)]

    monkeypatch.setattr(ray.util.state, "list_nodes", list_nodes)
    cluster = object.__new__(Cluster)  # without asking anybody
    cluster.address = "http://127.0.0.1:8265"
    return cluster


def test_a_lost_node_is_left_out_and_in_nobodys_way(two_nodes):
    assert [node["node_id"] for node in two_nodes.nodes()] == ["a"]
    assert two_nodes.capacity() == {"CPU": 2.0, "GPU": 0.0}
