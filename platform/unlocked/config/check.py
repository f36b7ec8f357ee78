"""Ranges, names and combinations that types alone cannot express; nothing has started when they are checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unlocked import callbacks
from unlocked.config.nets import check_nets, modules_of, nets_of
from unlocked.config.optimizing import check_optimizing
from unlocked.config.schema import schema
from unlocked.config.schemes import DEFAULT
from unlocked.config.typed import text_keys
from unlocked.engines import AUTO, ENGINES, HERE, refuse_options_of_others
from unlocked.errors import ConfigError, in_one_line, reason
from unlocked.options import as_annotated, check_options, fits
from unlocked.schema.facts import all_fields, check_facts, default_of, fact_of, value_of
from unlocked.schema.keys import DIMENSION_KEYS, MULTI_STAGE, Config
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
        _check_bounds(f"expect.{scheme}", metrics)
    _check_sweep(config)


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
    _check_cut(config)
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
        _check_pipeline(config)


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


def _check_cut(config: Config) -> None:
    """Modules per worker, and blocks per module."""
    parallel = config.parallel
    schedule, held, partition = parallel.schedule, parallel.modules_per_worker, parallel.partition
    if schedule in MULTI_STAGE and held == 1:
        raise ConfigError(
            f"parallel.modules_per_worker: 1, but {schedule} needs at least 2 modules per worker; 1f1b has one"
        )
    if schedule == "zero_bubble" and held not in (None, 2):
        raise ConfigError(
            f"parallel.modules_per_worker: {held}, but zero_bubble folds the chain once into a V: "
            f"exactly 2 modules per worker; interleaved_zero_bubble takes more"
        )
    if schedule in ("gpipe", "1f1b") and parallel.held() > 1:
        raise ConfigError(
            f"parallel.modules_per_worker: {held}, but {schedule} has 1 module per worker; "
            f"{', '.join(MULTI_STAGE[:-1])} and {MULTI_STAGE[-1]} have several"
        )
    if (modules := modules_of(config)) % parallel.held():
        raise ConfigError(
            f"parallel.modules: {modules}{' in all nets' if nets_of(config) else ''} cannot be shared out, "
            f"{parallel.held()} to a worker"
            + ("" if held else f" as {schedule} has them")
            + "; it must be a multiple of parallel.modules_per_worker"
        )
    if partition is not None and len(partition) != parallel.modules:
        raise ConfigError(
            f"parallel.partition: {partition} cuts the chain into {len(partition)} modules, "
            f"parallel.modules is {parallel.modules}"
        )


def _check_pipeline(config: Config) -> None:
    from unlocked.schemes import SCHEMES

    parallel, model = config.parallel, config.model["name"]
    if nets_of(config):
        raise ConfigError(
            f"parallel.schedule: pipelines are of one net, whose one loss fills them with microbatches; each phase of "
            f"{model} has a loss of its own, and changes weights that the next one reads"
        )
    schedule, workers, microbatches = parallel.schedule, parallel.workers_per_replica(), parallel.microbatch_count()
    if config.scheme.name not in (able := [name for name in SCHEMES if vars(SCHEMES.get(name)).get("pipelines")]):
        raise ConfigError(
            f"parallel.schedule: {schedule} pipelines {' and '.join(able)}; scheme.name is {config.scheme.name}"
        )
    if workers == 1:
        raise ConfigError(
            f"parallel.schedule: {schedule} needs at least 2 workers with {parallel.held()} "
            f"module{'s' * (parallel.held() > 1)} each; parallel.modules is {parallel.modules}"
        )
    if schedule == "1f1b" and microbatches < workers:
        raise ConfigError(
            f"parallel.microbatches: {microbatches} is fewer than the {workers} workers, which 1f1b needs; "
            f"gpipe does not"
        )
    if schedule.startswith("interleaved") and microbatches % workers:
        raise ConfigError(
            f"parallel.microbatches: {microbatches} is not a multiple of the {workers} workers, which "
            f"{schedule} needs; zero_bubble, 1f1b and gpipe do not"
        )
    rows = config.data.batch_size // parallel.replicas
    if rows % microbatches:
        of = f"the {rows} examples of a minibatch{' in each replica' if parallel.replicas > 1 else ''}"
        if parallel.microbatches is None:
            raise ConfigError(
                f"parallel.microbatches: null is {microbatches} for {schedule} over {workers} workers, which does not "
                f"divide {of}; set it to a number that does"
            )
        raise ConfigError(f"parallel.microbatches: {microbatches} does not divide {of}")


def _check_sweep(config: Config) -> None:
    """The shape of a study; what its trials come to is checked by `sweep` before it starts the first."""
    sweep = config.sweep
    for name, entry in sweep.space.items():
        if entry is not None:  # else a dimension taken out again by a later layer
            _check_dimension(f"sweep.space.{name}", entry)
    for key, value in (("metric", sweep.metric), ("direction", sweep.direction)):
        words = value if isinstance(value, list) else [value]
        if (
            not words
            or not all(isinstance(word, str) for word in words)
            or len(set(sweep.metrics())) < len(sweep.metrics())
        ):
            raise ConfigError(f"sweep.{key}: expected a name or a list of distinct names, got {value!r}")
    directions = ["auto", "maximize", "minimize"]
    for word in sweep.directions():
        if word not in directions:
            raise ConfigError(f"sweep.direction: {unknown('direction', word, directions)}")
    if isinstance(sweep.direction, list) and len(sweep.direction) != len(sweep.metrics()):
        raise ConfigError(f"sweep.direction: {sweep.direction} for {len(sweep.metrics())} metrics")
    _check_bounds("sweep.constraints", sweep.constraints)
    for i, point in enumerate(sweep.enqueue):
        if not isinstance(point, dict):
            raise ConfigError(
                f"sweep.enqueue[{i}]: expected dimensions and their values, such as {{optimizer.lr: 1e-3}}, "
                f"got {point!r}"
            )
    if sweep.concurrent > 1 and sweep.resources.cpu == sweep.resources.gpu == 0:
        raise ConfigError(
            f"sweep.resources.cpu: 0, and no GPU, limits nothing: all {sweep.concurrent} trials of "
            f"sweep.concurrent would start on one machine; expected more than 0"
        )
    if sweep.repeats > 1 and "seed" in sweep.space:
        raise ConfigError("sweep.repeats: the seed is in the space; one of them says how trials are repeated")


def _check_bounds(key: str, metrics: Any) -> None:
    if not isinstance(metrics, dict):
        raise ConfigError(f"{key}: {metrics!r} is not metrics and bounds, such as {{test/accuracy: {{min: 0.9}}}}")
    for metric, bounds in metrics.items():
        if (
            not isinstance(bounds, dict)
            or not bounds
            or bounds.keys() - {"min", "max"}
            or not all(fits(bound, float) for bound in bounds.values())
        ):
            raise ConfigError(f"{key}.{metric}: expected {{min: 0.9}}, {{max: 100}} or both, got {bounds!r}")


def _check_dimension(key: str, entry: Any) -> None:
    if isinstance(entry, dict) and (strange := sorted(entry.keys() - set(DIMENSION_KEYS))):
        raise ConfigError(f"{key}: {unknown('entry', strange[0], list(DIMENSION_KEYS))}")
    if isinstance(entry, dict) and not isinstance(entry.get("when", {}), dict):
        raise ConfigError(f"{key}.when: {entry['when']!r} is not keys and values, such as {{scheme.name: cdni}}")
    if isinstance(entry, dict) and entry.keys() & {"low", "high", "step", "log"}:
        if "choice" in entry:
            raise ConfigError(f"{key}: choice and {sorted(entry.keys() - {'choice', 'when'})[0]} cannot go together")
        if not {"low", "high"} <= entry.keys():
            raise ConfigError(f"{key}: a range needs low and high")
        if not isinstance(entry.get("log", False), bool):
            raise ConfigError(f"{key}.log: must be true or false, got {entry['log']!r}")
        return
    choices = entry.get("choice") if isinstance(entry, dict) else entry
    if not isinstance(choices, (list, dict)):
        raise ConfigError(
            f"{key}: {choices!r} gives no choices; expected a list such as [1, 4], or "
            f"{{choice: [1, 4], when: {{scheme.name: cdni}}}}, or {{low: 1e-4, high: 0.1, log: true}}"
        )
    if not choices:
        raise ConfigError(f"{key}: the list of choices is empty")
