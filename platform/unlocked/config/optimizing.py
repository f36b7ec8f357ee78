"""Which optimisers a run can have, beside their own options: what depends on its scheme, its modules and its data."""

from __future__ import annotations

from unlocked.config.nets import nets_of
from unlocked.engines import HERE, engine_of
from unlocked.errors import ConfigError
from unlocked.schema.facts import all_fields, fact_of, value_of
from unlocked.schema.keys import Config


def check_optimizing(config: Config) -> None:
    """Raises `ConfigError`, one line."""
    from unlocked.optim import searches

    if searches(config.optimizer.name):
        _check_search(config)
    if nets_of(config) and config.train.accumulate > 1:
        raise ConfigError(
            f"train.accumulate: {config.train.accumulate}, but phases of {config.model['name']} add up gradients and "
            f"step in an order of their own; take a larger data.batch_size"
        )
    if config.optimizer.clip_global is not None:
        _check_global(config)
    if config.train.adversary.attack != "none":
        _check_adversary(config)
    if config.train.compile:
        _check_compile(config)
    if config.train.precision == "fp16":
        _check_fp16(config)
    _check_engine(config)
    if config.data.easy_by == "loss" and nets_of(config):
        raise ConfigError(
            f"data.easy_by: loss, but an example has several losses in {config.model['name']}; leave it out"
        )
    if config.optimizer.schedule == "plateau" and nets_of(config):
        raise ConfigError(
            f"optimizer.schedule: plateau follows one metric of one net; the nets of {config.model['name']} learn "
            f"against each other or in turns"
        )
    for option in ("steps", "evaluate_steps"):
        if (value := getattr(config.train, option)) is not None and config.sweep.pruner is not None:
            raise ConfigError(f"train.{option}: {value}, but sweep.pruner ends trials by epochs; leave one of them out")
    from unlocked.config.schema import schema

    for key, field in all_fields(schema()):
        fact = fact_of(field)
        if fact is not None and fact.named == "optimizer" and key != "optimizer.name":
            name = value_of(config, key)
            if name is not None and searches(name):
                raise ConfigError(f"{key}: {name} needs one loss of all examples; this model learns from minibatches")


def _check_adversary(config: Config) -> None:
    """Of what the examples of an adversary are made from: dL/dx of the whole net."""
    from unlocked.optim import searches
    from unlocked.schemes import SCHEMES

    why, parallel = f"train.adversary.attack: {config.train.adversary.attack}", config.parallel
    if not SCHEMES.get(config.scheme.name).exact:
        able = [each for each in SCHEMES if SCHEMES.get(each).exact]
        raise ConfigError(
            f"{why} climbs the loss along dL/dx, which goes through all modules at the weights that then learn; under "
            f"{config.scheme.name} no module has it, and what is sent down in its place is the slope of another "
            f"function: use {', '.join(able)}"
        )
    if nets_of(config):
        raise ConfigError(f"{why}, but the nets of {config.model['name']} learn by several losses")
    if parallel.modules > 1:
        raise ConfigError(
            f"{why} takes passes of its own through the whole net: parallel.modules must be 1, got {parallel.modules}; "
            f"what {config.scheme.name} learns is the same however the net is cut"
        )
    if engine_of(parallel).steps_itself:
        raise ConfigError(f"{why} needs whole weights at any time; parallel.engine={HERE} has them")
    if searches(config.optimizer.name):
        raise ConfigError(f"{why} changes the loss at every step, and {config.optimizer.name} compares its values")


def _check_fp16(config: Config) -> None:
    """Of gradients that each module scales on their way through it."""
    from unlocked.optim import searches
    from unlocked.schemes import SCHEMES

    why, parallel, scheme = "train.precision: fp16", config.parallel, config.scheme
    if (reason := SCHEMES.get(scheme.name).why_no_fp16) is not None:
        raise ConfigError(f"{why} cannot be used with {scheme.name}: {reason}; use bf16")
    if nets_of(config):
        raise ConfigError(
            f"{why}, but phases of {config.model['name']} may learn from the slope of a slope, which one factor does "
            f"not scale; use bf16"
        )
    if scheme.time.synthetic:
        raise ConfigError(f"{why}, but scheme.time injects gradients inside a module's pass; use bf16")
    if searches(config.optimizer.name):
        raise ConfigError(f"{why} leaves out steps whose gradients overflow, which {config.optimizer.name} cannot")
    if config.optimizer.clip_global is not None and parallel.modules > 1:
        raise ConfigError(f"{why}, but an overflow in one module would be in optimizer.clip_global of all; use bf16")
    if parallel.schedule != "locked":
        raise ConfigError(
            f"{why}, but the pipeline of parallel.schedule={parallel.schedule} runs backward passes of its own; "
            f"use bf16"
        )


def _check_compile(config: Config) -> None:
    """Of blocks that run as one piece of compiled code each."""
    from unlocked.schemes import SCHEMES

    name, parallel = config.scheme.name, config.parallel
    if (why := SCHEMES.get(name).why_no_compile(config)) is not None:
        raise ConfigError(f"train.compile: true cannot be used with {name}: {why}")
    if nets_of(config):
        raise ConfigError(
            f"train.compile: true, but phases of {config.model['name']} may learn from the slope of a slope (a "
            f"gradient penalty), which compiled code does not have"
        )
    if parallel.schedule != "locked":
        raise ConfigError(
            f"train.compile: true, but the pipeline of parallel.schedule={parallel.schedule} may take a block's "
            f"backward pass apart, which compiled code runs as one piece; use locked"
        )
    if engine_of(parallel).steps_itself:
        raise ConfigError(
            f"train.compile: true, but parallel.engine={parallel.engine} gathers weights and sends gradients by hooks "
            f"inside the passes, which would be compiled with them; parallel.engine=ray has replicas, too"
        )


def _check_engine(config: Config) -> None:
    """What the engine does to weights and steps."""
    from unlocked.optim import searches
    from unlocked.optim.by_number import moves_numbers_alone

    engine, name = engine_of(config.parallel), config.optimizer.name
    why = f"optimizer.name: {name}"
    if engine.steps_itself and searches(name):
        raise ConfigError(f"{why} evaluates the loss several times in a step; parallel.engine={HERE} does")
    if engine.cuts_weights(config) and not moves_numbers_alone(config.optimizer):
        raise ConfigError(
            f"{why} moves a number by more than its own gradients, and parallel.engine={config.parallel.engine} as "
            f"configured cuts weights into pieces; take another, such as adam"
        )


def _check_global(config: Config) -> None:
    """Of the norm over all modules."""
    from unlocked.schemes import SCHEMES

    why = f"optimizer.clip_global: {config.optimizer.clip_global:g}"
    remedy = "optimizer.clip_norm is of each module"
    if not SCHEMES.get(config.scheme.name).exact:
        able = [each for each in SCHEMES if SCHEMES.get(each).exact]
        raise ConfigError(
            f"{why} is of all modules' gradients for one minibatch, and under {config.scheme.name} a module moves "
            f"before the others have theirs; {', '.join(able)} waits for them, and {remedy}"
        )
    if nets_of(config):
        raise ConfigError(f"{why}, but the nets of {config.model['name']} learn in turns; {remedy}")


def _check_search(config: Config) -> None:
    """Of an optimiser that evaluates the loss several times in a step."""
    from unlocked.schemes import SCHEMES

    name, parallel = config.optimizer.name, config.parallel
    why = f"optimizer.name: {name} compares losses and gradients of one function"
    able = [each for each in SCHEMES if SCHEMES.get(each).exact]
    if config.scheme.name not in able:
        raise ConfigError(
            f"{why}, and {config.scheme.name} injects what is not the gradient of a loss; {', '.join(able)} does"
        )
    if nets_of(config):
        raise ConfigError(f"{why}, and the losses of {config.model['name']} change with the other nets")
    if parallel.modules > 1 or parallel.replicas > 1:
        what = "modules" if parallel.modules > 1 else "replicas"
        raise ConfigError(f"{why} of all weights: parallel.{what} must be 1, got {getattr(parallel, what)}")
    if config.pretrain.epochs:
        raise ConfigError(f"{why}, and blocks that pretrain each have one of their own")
    if config.scheme.time.synthetic:
        raise ConfigError(f"{why}, and synthetic gradients through time are none of a loss")
    if config.train.accumulate > 1:
        raise ConfigError(f"{why}: train.accumulate must be 1, got {config.train.accumulate}")
    for option in ("clip_value", "clip_norm", "clip_global", "groups", "l1", "l2", "max_norm", "noise"):
        if getattr(config.optimizer, option):
            raise ConfigError(f"{why}, which optimizer.{option} would change; leave it out")
