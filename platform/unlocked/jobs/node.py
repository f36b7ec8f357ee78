"""Ray's own command, for a node that only this machine reaches.

    python -m unlocked.jobs.node start ...       with `private_ray.LOOPBACK` in the environment

Ray replaces 127.0.0.1 by the machine's own address, unless it runs where it knows no clusters (`LOOPBACK`); there it
refuses a second node. A node needs both: to keep to loopback, and to join.
"""

from __future__ import annotations

from typing import Any


def main() -> None:
    from ray._private import ray_constants, services
    from ray.scripts.scripts import main as ray

    constants: Any = ray_constants
    constants.ENABLE_RAY_CLUSTER = True
    services.resolve_ip_for_localhost = lambda host: host
    ray()


if __name__ == "__main__":
    main()
