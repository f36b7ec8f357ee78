"""Several nets in a configuration: keys that each may have of its own, and how many modules and workers all need."""

from __future__ import annotations

from types import NoneType

from unlocked.config.schemes import flatten
from unlocked.engines import engine_of
from unlocked.errors import ConfigError
from unlocked.schema.keys import Config
from unlocked_models.contract.registry import MODELS, unknown

OF_A_NET = ("optimizer", "scheme", "parallel.modules", "parallel.partition")  # keys that nets may differ in


def check_nets(config: Config) -> None:
    """Names of nets, and keys that can differ between them; their values are checked as the run's are."""
    known = nets_of(config)
    for net, entry in config.nets.items():
        if not known:
            raise ConfigError(f"nets.{net}: {config.model['name']} is a model of one net; leave nets out")
        if net not in known:
            raise ConfigError(f"nets: {unknown('net', net, known)}")
        if not isinstance(entry, (dict, NoneType)):
            raise ConfigError(f"nets.{net}: {entry!r} is not keys and values, such as {{optimizer: {{lr: 1e-3}}}}")
        for key in flatten(entry or {}):
            if not any(key == own or key.startswith(f"{own}.") for own in OF_A_NET):
                raise ConfigError(f"nets.{net}.{key}: all nets of a run share it; keys of one: {', '.join(OF_A_NET)}")


def nets_of(config: Config) -> tuple[str, ...]:
    """Names, if the model has several nets."""
    return MODELS.facts(config.model["name"])["nets"] or ()


def modules_of(config: Config) -> int:
    """Of all nets of a run."""
    run = config.parallel.modules
    own = [flatten(config.nets.get(net) or {}).get("parallel.modules", run) for net in nets_of(config)]
    return sum(n if isinstance(n, int) else run for n in own) if own else run  # what is no number is refused elsewhere


def workers_of(config: Config) -> int:
    """Processes that the modules of all nets and replicas train in, if the engine has workers."""
    of_modules = modules_of(config) // config.parallel.held() * config.parallel.replicas
    return engine_of(config.parallel).processes(config, of_modules)
