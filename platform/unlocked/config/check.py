"""Ranges, names and combinations that types alone cannot express; nothing has started when they are checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unlocked import callbacks
from unlocked.config.cutting import check_cut, check_pipeline
from unlocked.config.nets import check_nets, nets_of
from unlocked.config.optimizing import check_optimizing
from unlocked.config.schema import schema
from unlocked.config.schemes import DEFAULT
from unlocked.config.sweep import check_bounds, check_sweep
from unlocked.config.typed import text_keys
from unlocked.engines import AUTO, ENGINES, HERE, refuse_options_of_others
from unlocked.errors import ConfigError, in_one_line, reason
from unlocked.options import as_annotated, check_options
from unlocked.schema.facts import all_fields, check_facts, default_of, fact_of, value_of
from unlocked.schema.keys import Config
from unlocked.security import refuse_cluster, refuse_name, refuse_store
from unlocked_models.contract.registry import GIVEN, MODELS, Registry, unknown
from unlocked_models.layers.initialisers import INITIALISERS

STARTS = ("run", "parts", "file", "vectors")  # of `transfer`: where weights that a run begins with come from


def check_values(config: Config) -> None:
    """Everything that can be said without looking at the data. Raises `ConfigError`, one line."""
    from unlocked.data import check_data_options, check_transforms

    _check_texts(config)
    refuse_name("name", config.name)
    refuse_name("tracking.experiment", config.tracking.experiment)
    if config.tracking.uri not in (None, "off"):
        refuse_store("tracking.uri", config.tracking.uri)
    if config.parallel.address is not None:
        refuse_cluster("parallel.address", config.parallel.address)
    check_facts(config, schema())
    _check_names(config)
    name, options = config.model["name"], {key: value for key, value in config.model.items() if key != "name"}
    check_options("model", name, MODELS.get(name), options, skip=2, hidden=GIVEN)
    _check_init(config)
    _check_objective(config)
    check_data_options(config.data.name, config.data.options, ConfigError)
    check_transforms(config.data.transforms, ConfigError)
    callbacks.make_callbacks(config.callbacks)
    _check_combinations(config)
    check_nets(config)
    for scheme, metrics in config.expect.items():
        check_bounds(f"expect.{scheme}", metrics)
    check_sweep(config)


def task_of(config: Config) -> str:
    """The configured task, else the data's own."""
    from unlocked.data import task_of_data

    return config.task or task_of_data(config.data.name, config.data.options)


def with_floats(config: Config) -> None:
    """Makes options of the model, the task and the data set, once checked, of the types that their functions name."""
    from unlocked.data import DATA, with_float_options
    from unlocked.tasks import TASKS, chosen, own_loss

    if (task := task_of(config)) in TASKS:
        config.objective = own_loss.with_floats(task, config.objective)
        config.metrics = chosen.with_float_options(config.metrics)
    if config.init:
        config.init = as_annotated(INITIALISERS.get(config.init["name"]), config.init)
    config.model = as_annotated(MODELS.get(config.model["name"]), config.model)
    config.data.options = as_annotated(DATA.get(config.data.name), config.data.options)
    config.data.transforms = with_float_options(config.data.transforms)
    config.callbacks = callbacks.with_float_options(config.callbacks)


def settle_engine(config: Config) -> None:
    """`auto`: in one process for several nets, which wait for each other in every step."""
    if nets_of(config) and config.parallel.engine == AUTO:
        config.parallel.engine = HERE


def _check_texts(config: Config) -> None:
    """Python's word for null is no file and no address, and no system call takes a NUL."""
    for key, may_be_null in text_keys():
        value = value_of(config, key)
        if value is not None and "\0" in value:
            raise ConfigError(f"{key}: {value!r} has a NUL in it; leave it out")
        if may_be_null and value is not None and value.lower() == "none":
            raise ConfigError(f"{key}: {value!r} is a word of Python; null means no value (and ./{value} a file)")


def _check_names(config: Config) -> None:
    # registries fill on import of their packages; here, so that reading the schema stays cheap
    from unlocked.data import DATA
    from unlocked.optim import OPTIMIZERS
    from unlocked.schemes import SCHEMES
    from unlocked.tasks import TASKS

    if not config.model.get("name"):
        raise ConfigError(f"model.name: a value is required (known: {', '.join(MODELS.names())})")
    named: list[tuple[str, Registry[Any], str, tuple[str, ...]]] = [
        ("data.name", DATA, config.data.name, ()),
        ("model.name", MODELS, config.model["name"], ()),
        ("scheme.name", SCHEMES, config.scheme.name, ()),
    ]
    registries: dict[str, Registry[Any]] = {
        "engine": ENGINES,
        "optimizer": OPTIMIZERS,
        "scheme": SCHEMES,
        "task": TASKS,
    }
    for key, field in all_fields(schema()):
        fact = fact_of(field)
        if fact is not None and fact.named is not None and (name := value_of(config, key)) is not None:
            named.append((key, registries[fact.named], name, fact.choices))
    named += [
        (key, SCHEMES, name, ()) for key in ("schemes", "expect") for name in getattr(config, key) if name != DEFAULT
    ]
    for key, registry, name, others in named:
        if name not in others and (not isinstance(name, str) or name not in registry):
            raise ConfigError(f"{key}: {unknown(registry.kind, name, [*others, *registry.names()])}")


def refusal(scheme: str, family: str, task: str | None = None, also: Sequence[str] = ()) -> str | None:
    """What a scheme cannot train, and the mathematical reason: nets of a family, or for a task. `also`: further
    families of the model, under whose schemes it trains too."""
    from unlocked.schemes import SCHEMES
    from unlocked.tasks import TASKS

    of_family = refused(scheme, family, also)
    if of_family is not None:
        return f"the {family} family: {in_one_line(of_family)}"
    if task is None or task not in TASKS:
        return None
    kind = TASKS.get(task)
    of_task = kind.refuses.get(scheme)
    if of_task is None and not SCHEMES.get(scheme).proposes:
        of_task = kind.only_tried
    return None if of_task is None else f"for {task}: {in_one_line(of_task)}"


def refused(scheme: str, family: str, also: Sequence[str] = ()) -> str | None:
    """The reason why a scheme trains no net that is of these families alone."""
    from unlocked.schemes import SCHEMES

    refuses = SCHEMES.get(scheme).refuses
    return refuses.get(family) if all(refuses.get(other) is not None for other in also) else None


def _check_objective(config: Config) -> None:
    from unlocked.tasks import TASKS, own_loss
    from unlocked.tasks.chosen import check_chosen

    task = task_of(config)
    if task not in TASKS:  # of a data set of a user's, which says so when it is loaded
        return
    own_loss.check_objective(task, config.objective)
    check_chosen(config.metrics, TASKS.get(task))
    try:
        own_loss.make_task(task, own_loss.with_floats(task, config.objective))
    except ConfigError:
        raise
    except Exception as error:  # a user's task may raise anything
        raise ConfigError(f"objective: {task} failed: {reason(error)}") from None


def _check_init(config: Config) -> None:
    if not config.init:
        return
    name, options = config.init.get("name"), {key: value for key, value in config.init.items() if key != "name"}
    if not isinstance(name, str) or name not in INITIALISERS:
        raise ConfigError(f"init.name: {unknown('initialiser', name, INITIALISERS.names())}")
    make = INITIALISERS.get(name)
    check_options("init", name, make, options, skip=0)
    try:
        fill = make(**options)
    except ValueError as error:
        raise ConfigError(f"init: {reason(error)}") from None
    own = config.model.get("init", "default")
    if fill is not None and own != "default":
        raise ConfigError(f"init.name: {name} would replace the weights of model.init {own}; set one of them")


def _check_combinations(config: Config) -> None:
    from unlocked.optim import check_optimizer
    from unlocked.schemes import SCHEMES, declared

    lag, scheme = config.scheme.lag, config.scheme
    kind = SCHEMES.get(scheme.name)
    if lag not in ("auto", 0) and kind.why_no_lag is not None:
        raise ConfigError(f"scheme.lag: {lag} cannot be used with {scheme.name}: {kind.why_no_lag}")
    if config.train.recompute and kind.why_no_recompute is not None:
        raise ConfigError(f"train.recompute: true cannot be used with {scheme.name}: {kind.why_no_recompute}")
    if config.train.recompute and config.parallel.schedule != "locked":
        raise ConfigError(
            f"train.recompute: true, but the pipeline of parallel.schedule={config.parallel.schedule} runs backward "
            f"passes of its own; use locked"
        )
    facts = MODELS.facts(config.model["name"])
    why = refusal(scheme.name, facts["family"], task_of(config), facts["also"])
    if why is not None:
        raise ConfigError(f"scheme.name: {scheme.name} cannot train {why}")
    for key, option in declared().items():
        fact, value = fact_of(option.field), getattr(scheme, key)
        if fact is not None and fact.binding and scheme.name not in option.owners and value != default_of(option.field):
            shown = str(value).lower() if isinstance(value, bool) else value
            raise ConfigError(f"scheme.{key}: {shown} needs {' or '.join(option.owners)}, not {scheme.name}")
    kind.check(config)
    check_optimizer(config.optimizer)
    check_optimizing(config)
    check_cut(config)
    _check_start(config)
    if config.train.patience is not None and config.data.validation == 0:
        raise ConfigError(f"train.patience: {config.train.patience} needs a validation split; data.validation is 0")
    if config.data.batch_size % config.parallel.replicas:
        raise ConfigError(
            f"parallel.replicas: {config.parallel.replicas} does not divide data.batch_size {config.data.batch_size}"
        )
    time = config.scheme.time
    if time.synthetic and time.norm == "batch" and config.data.batch_size == config.parallel.replicas:
        raise ConfigError("scheme.time.norm: batch needs a minibatch of at least 2 examples, of every replica")
    refuse_options_of_others(config.parallel)
    if config.parallel.engine != AUTO:
        engine = ENGINES.get(config.parallel.engine)()
        engine.refuse(config)
        if engine.shares_candidates and not kind.proposes:
            able = " or ".join(name for name in SCHEMES if SCHEMES.get(name).proposes)
            raise ConfigError(
                f"parallel.engine: {config.parallel.engine} shares out candidates, and {scheme.name} proposes none; "
                f"set scheme.name={able}, or another engine"
            )
    if config.parallel.schedule != "locked":
        check_pipeline(config)


def _check_start(config: Config) -> None:
    """What the run begins with."""
    transfer, pretrain = config.transfer, config.pretrain
    blocks_of, given = transfer.run or transfer.file, [k for k in STARTS if getattr(transfer, k) not in (None, {})]
    if transfer.blocks and blocks_of is None:
        raise ConfigError(
            f"transfer.blocks: {transfer.blocks} needs transfer.run, the folder of a run, or transfer.file"
        )
    if transfer.freeze and not given:
        raise ConfigError(
            "transfer.freeze: True needs transfer.run, the folder of a run, transfer.parts, transfer.file or "
            "transfer.vectors"
        )
    for part, run in transfer.parts.items():
        if not isinstance(run, str):
            raise ConfigError(f"transfer.parts.{part}: expected the folder of a run, got {run!r}")
    if transfer.names and transfer.file is None:
        raise ConfigError("transfer.names: needs transfer.file, whose tensors are called so")
    for old, new in transfer.names.items():
        if float in (type(old), type(new)):  # 0.10 would be 0.1
            raise ConfigError(f'transfer.names: {old}: {new}: is read as a number; put names in quotes, such as "0.1"')
        if new is not None and not isinstance(new, str | int):
            raise ConfigError(f"transfer.names: {old}: expected a name, or null for what is left out, got {new!r}")
    if len(given) > 1:
        raise ConfigError(f"transfer.{given[1]}: would replace weights of transfer.{given[0]}; set one of them")
    for key in given:
        if pretrain.epochs:
            raise ConfigError(
                f"pretrain.epochs: {pretrain.epochs} would replace the weights of transfer.{key}; set one of them"
            )
    if pretrain.epochs:
        _check_pretraining(config)
    if transfer.freeze and config.parallel.schedule != "locked":
        raise ConfigError(
            f"transfer.freeze: true, but parallel.schedule={config.parallel.schedule} propagates through "
            f"every module; pipelines take parallel.schedule=locked"
        )


def _check_pretraining(config: Config) -> None:
    from unlocked.schemes import SCHEMES, BlockLearner

    name = config.pretrain.scheme
    if not issubclass(SCHEMES.get(name), BlockLearner):
        able = [each for each in SCHEMES if issubclass(SCHEMES.get(each), BlockLearner)]
        raise ConfigError(f"pretrain.scheme: {name} trains no block alone; schemes that do: {', '.join(able)}")
    facts = MODELS.facts(config.model["name"])
    why = refused(name, facts["family"], facts["also"])
    if why is not None:
        raise ConfigError(f"pretrain.scheme: {name} cannot train {config.model['name']}: {in_one_line(why)}")
    SCHEMES.get(name).check(config)
