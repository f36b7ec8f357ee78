"""Who takes part in `unlocked bench scaling`: one plan each, of the same network, batch size and cut.

    backprop_1_thread     the whole chain in one worker with one thread
    backprop_all_threads  the same with a thread per core: what decoupling competes with on one machine
    ideal                 the K modules forward, backward and update at once, with no messages and no
                          synthetic gradients: the ceiling of this cut
    locked                backprop over the K modules, each waiting for all others
    gpipe, 1f1b, ...      backprop over K workers by torch's pipeline schedules
    deepspeed_1f1b        the same by DeepSpeed's pipeline
    dni, cdni, dfa        over the K modules, at their own lag
    unlock                cdni with synthetic inputs: forward pass, update and backward pass unlocked

and variants: the configured scheme with other settings, to see what one of them costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unlocked.bench.measured.deepspeed_pipeline import LIKE, NAME, why_not
from unlocked.bench.measured.measure import cores
from unlocked.config import Config, with_values
from unlocked.data import DataSet
from unlocked.errors import ConfigError
from unlocked.plan.make import make_plan
from unlocked.plan.plan import Plan, load_data
from unlocked.schema.keys import MULTI_STAGE
from unlocked.schemes import SCHEMES
from unlocked_models.contract.registry import unknown

DECOUPLED = ("dni", "cdni", "dfa", "unlock")
PIPELINED = ("gpipe", "1f1b", NAME, *MULTI_STAGE)


@dataclass(frozen=True)
class Contenders:
    data: DataSet
    plans: dict[str, Plan]  # by name, in the order of the table
    left_out: dict[str, str]  # name -> why it cannot train this model


def contenders(
    config: Config, schemes: Sequence[str], schedules: Sequence[str], variants: Mapping[str, Config]
) -> Contenders:
    """The cut is the configuration's, else the one that balances cdni (the first scheme that fits): M's cost counts.

    Raises `ConfigError` for what cannot be measured at all; what does not fit this model is left out.
    """
    config = _checked(config, schemes, schedules)
    data = load_data(config)
    left_out: dict[str, str] = {}
    found: dict[str, Plan] = {}

    def add(name: str, base: Config, values: dict[str, Any]) -> None:
        try:
            found[name] = make_plan(_with(base, values), data)
        except ConfigError as error:
            left_out[name] = str(error)

    for name in sorted(schemes, key=lambda name: name != "cdni"):  # its cut is everybody's
        scheme = {"scheme.name": "cdni", "scheme.synthetic_inputs": True} if name == "unlock" else {"scheme.name": name}
        add(name, config, {"scheme.lag": "auto", **scheme})
        if name in found:
            cut = [spec.stop - spec.start for spec in found[name].specs]
            config = _with(config, {"parallel.partition": cut})
    for name, variant in variants.items():
        add(name, variant, {**_PLACE, "parallel.partition": config.parallel.partition})
    modules = config.parallel.modules
    locked = _with(config, {"scheme.name": "backprop", "scheme.lag": 0, "scheme.synthetic_inputs": False})
    for name in schedules:
        # several modules per worker: a finer cut
        uncut = {"parallel.partition": None, "parallel.modules": 2 * modules} if name in MULTI_STAGE else {}
        add(name, locked, {"parallel.schedule": LIKE if name == NAME else name, **uncut})
        if name == NAME and name in found and (why := why_not(found[name])) is not None:
            left_out[name] = why
            del found[name]
    one = _with(locked, {"parallel.modules": 1, "parallel.partition": None})
    plans = {
        "backprop_1_thread": make_plan(one, data),
        "backprop_all_threads": make_plan(_with(one, {"parallel.threads": cores()}), data),
        "ideal": make_plan(locked, data),
        "locked": make_plan(locked, data),
    }
    order = [*schedules, *schemes, *variants]
    return Contenders(data, {**plans, **{name: found[name] for name in order if name in found}}, left_out)


_PLACE = {"parallel.replicas": 1, "parallel.engine": "ray", "parallel.device": "cpu", "parallel.threads": 1}


def _checked(config: Config, schemes: Sequence[str], schedules: Sequence[str]) -> Config:
    if config.parallel.device == "cuda":
        raise ConfigError(
            "bench scaling: parallel.device: cuda, but all contenders hold their workers at once; it measures on CPUs"
        )
    known = ["unlock", *(name for name in SCHEMES if name != "backprop")]
    for name in schemes:
        if name not in known:
            raise ConfigError(f"bench scaling: {unknown('decoupled scheme', name, known)}")
    for name in schedules:
        if name not in PIPELINED:
            raise ConfigError(f"bench scaling: {unknown('schedule', name, list(PIPELINED))}")
    modules = config.parallel.modules
    if modules < 2:
        raise ConfigError(f"bench scaling: parallel.modules: {modules} leaves nothing to unlock; expected at least 2")
    return _with(config, _PLACE)


def _with(config: Config, values: dict[str, Any]) -> Config:
    return with_values(config, values, "bench scaling")
