"""Every key a configuration may hold, with its type, default, meaning and range: the one schema of the platform."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omegaconf import MISSING

from unlocked.schema.facts import (
    LONGEST_WAIT,
    MOST,
    MOST_SEED,
    MOST_THREADS,
    MOST_WIDTH,
    MOST_WORKERS,
    group,
    key,
)


@dataclass
class DataConfig:
    """The data set and how it is split."""

    name: str = key(MISSING, "`unlocked list data`")
    batch_size: int = key(64, "examples per optimiser step, over all replicas", low=1, high=MOST)
    validation: float = key(0.1, "fraction of the training examples held out; 0: none", low=0, below=1)
    examples: int | None = key(
        None, "training examples to keep, drawn class by class if there are classes; null: all", low=1, high=MOST
    )
    seed: int = key(0, "of the split alone, so that runs of every seed share one test set", low=0, high=MOST_SEED)
    root: str | None = key(None, "folder of data files; null: $UNLOCKED_DATA or ./data")
    download: bool = key(False, "fetch missing files from their published address")
    transforms: list[Any] = key(
        [], "of minibatches, in order: names, or {name: crop, size: 4}; `unlocked list transforms`"
    )
    easy_first: float | None = key(
        None,
        "share of the run over which examples come in, easy ones first",
        above=0,
        high=1,
    )
    easy_by: str = key(
        "data",
        "what is easy: data: by its `difficulty`, or by length; loss: by the present loss, before every epoch",
        choices=("data", "loss"),
    )
    options: dict[str, Any] = key({}, "a data set's own keywords")


@dataclass
class TimeConfig:
    """Synthetic gradients through time, at the ends of a recurrent net's windows (model.carry), under any scheme."""

    synthetic: bool = key(False, "false: truncated backpropagation through time")
    hidden: list[int] = key([], "widths of the hidden layers of M; empty: linear", low=1, high=MOST_WIDTH)
    context: str = key(
        "none",
        "start: M sees the state in which its window began beside the one in which it ended",
        choices=("none", "start"),
    )
    norm: str = key(
        "none",
        "of the states that M sees, whose differences are small beside their mean",
        choices=("batch", "none"),
    )
    clip: float | None = key(None, "longest gradient, per example and term, that M learns from; null: any", above=0)
    lr: float | None = key(None, "of M; null: optimizer.lr", above=0)
    scale: float = key(1.0, "of the injected gradient", above=0)
    ramp: int = key(
        0, "minibatches over which it grows from 0 to `scale`: M learns before it is heard", low=0, high=MOST
    )
    auxiliary: float = key(0.0, "weight of the loss by which the network foresees its synthetic gradient", low=0)


@dataclass
class SchemeConfig:
    """How each module gets the gradient at its output; registered schemes add their options as further keys here."""

    name: str = key("backprop", "`unlocked list schemes`")
    lag: int | str = key(
        "auto",
        "minibatches by which messages are late; auto: the smallest lag at which no worker waits for one",
        choices=("auto",),
        low=0,
    )
    time: TimeConfig = group(TimeConfig)

    if TYPE_CHECKING:  # an option of a registered scheme

        def __getattr__(self, name: str) -> Any: ...


@dataclass
class OptimizerConfig:
    """The optimiser of every module, and its learning rate over time; registered optimisers add their options."""

    name: str = key(
        "adam", "`unlocked list optimizers`: all of torch.optim, a few more, and your own", named="optimizer"
    )
    lr: float = key(1.0e-3, "learning rate; every scheme has its own best one", above=0)
    weight_decay: float | None = key(None, "null: the optimiser's default", low=0)
    momentum: float | None = key(None, "null: the optimiser's default, of sgd and rmsprop none", low=0, below=1)
    nesterov: bool | None = key(None, "look ahead by the momentum; null: the optimiser's default")
    betas: list[float] | None = key(None, "null: the optimiser's default", low=0, below=1, entries=2)
    eps: float | None = key(None, "null: the optimiser's default", above=0)
    schedule: str = key(
        "constant",
        "of the rate over the steps, of M's and I's too; linear and cosine: to zero at the last",
        choices=(
            *("constant", "step", "exponential", "inverse", "linear", "cosine", "restarts", "one_cycle"),
            "plateau",
        ),
    )
    decay: float = key(0.1, "factor of schedules step, exponential and plateau", above=0, below=1)
    decay_every: int | None = key(
        None,
        "steps between two factors, to half the rate (inverse), of the first cycle (restarts); null: a third of all",
        low=1,
        high=MOST,
    )
    cycle_growth: int = key(1, "of restarts: each cycle is as many times as long as the one before", low=1, high=100)
    plateau_patience: int = key(3, "evaluations without a better one after which plateau decays", low=1, high=MOST)
    warmup: int = key(0, "steps of linear warm-up, of M's and I's rates too", low=0, high=MOST)
    clip_value: float | None = key(None, "largest entry of a gradient, before clip_norm; null: any", above=0)
    clip_norm: float | None = key(
        None, "per module, never of M or I: no worker knows the others' gradients; null: none", above=0
    )
    clip_global: float | None = key(
        None, "the same over all modules, of backprop, whose modules wait for each other anyway; null: none", above=0
    )

    groups: list[Any] = key(
        [], 'of parameters with options of their own: [{pattern: "*.bias", lr: 0.01, weight_decay: 0}]'
    )
    l1: float = key(0.0, "of the weights, added to the loss that a module follows, not to the one shown", low=0)
    l2: float = key(0.0, "likewise, l2 w^2 / 2; with l1 an elastic net; weight_decay is the optimiser's own", low=0)
    max_norm: float | None = key(None, "longest incoming weights of a unit, after every step; null: any", above=0)
    noise: float = key(0.0, "variance of Gaussian noise on gradients at the first step", low=0)
    noise_decay: float = key(0.55, "its variance at step t is noise / (1 + t)^noise_decay", low=0)

    if TYPE_CHECKING:  # an option of a registered optimiser

        def __getattr__(self, name: str) -> Any: ...


@dataclass
class AdversaryConfig:
    """Adversarial training, of backprop: minibatches of inputs that are moved to where the loss is high."""

    attack: str = key(
        "none",
        "fgsm: one step along the signs of dL/dx; pgd: several, from a random start",
        choices=("none", "fgsm", "pgd"),
    )
    epsilon: float = key(0.1, "largest change of an input, a share of the range of the training data", above=0, high=1)
    steps: int = key(7, "of pgd", low=1, high=1000)
    step: float | None = key(None, "length of one of pgd, a share of epsilon; null: 2.5 / steps", above=0)
    clean: float = key(0.0, "share of the loss that is of the inputs as they are", low=0, below=1)


@dataclass
class TrainConfig:
    """The loop: how long, how often what is measured, and in which precision."""

    epochs: int = key(10, "passes over the training split", low=1, high=MOST)
    log_every: int = key(50, "steps between metrics; nothing leaves the device in between", low=1, high=MOST)
    steps: int | None = key(None, "minibatches of the run, in place of epochs", low=1, high=MOST)
    evaluate_every: int = key(1, "epochs", low=1, high=MOST)
    evaluate_steps: int | None = key(None, "steps between evaluations, in place of evaluate_every", low=1, high=MOST)
    probe_every: int = key(1, "epochs between gradient alignment probes; 0: never", low=0, high=MOST)
    checkpoint_every: int = key(1, "epochs", low=1, high=MOST)
    curriculum: float | None = key(
        None,
        "below these val/bits, of control from this val/return on, the data's `level` is raised by one; returns may be "
        "below 0",
    )
    patience: int | None = key(
        None, "stop after this many evaluations without a better validation metric", low=1, high=MOST
    )
    accumulate: int = key(1, "minibatches whose mean gradient makes one step of the optimiser", low=1, high=MOST)
    average: float | None = key(
        None,
        "decay of a moving average of the weights, which is evaluated and saved in their place; null: none",
        above=0,
        below=1,
    )
    recompute: bool = key(
        False, "activations inside blocks are computed again in the backward pass, not kept: less memory, more time"
    )
    compile: bool = key(
        False, "blocks by torch.compile in training: faster after the first steps; needs a compiler of C++"
    )
    precision: str = key(
        "fp32",
        "bf16, fp16: by autocast; fp16 scales gradients",
        choices=("fp32", "bf16", "fp16", "fp64"),
    )
    adversary: AdversaryConfig = group(AdversaryConfig)


# Pipelines whose workers hold several modules each: torch's multi-stage schedules
MULTI_STAGE = ("interleaved", "interleaved_zero_bubble", "zero_bubble")


@dataclass
class TransferConfig:
    """Weights to begin with: the first blocks of another run, parts trained apart, a plain file, or word vectors."""

    run: str | None = key(None, "folder of a run, of any model and task; its best checkpoint, else its last")
    blocks: int | None = key(
        None, "how many, from the input up, of the same shapes here; null: all that fit, but the last", low=1
    )
    parts: dict[str, Any] = key(
        {}, "of a net of parts that are trained apart: {PART: folder of the run whose blocks it begins with}"
    )
    file: str | None = key(None, "a safetensors file of any torch model; what was taken and what was not is told")
    names: dict[str, Any] = key(
        {}, 'of its tensors, or prefixes, and their names here: {"features.0": "0.1"}; null: left out'
    )
    vectors: str | None = key(
        None,
        "of words, for the first embedding: a file in word2vec's text format, or the folder of such a run",
    )
    freeze: bool = key(False, "transferred weights do not learn: no gradients, running statistics kept")


@dataclass
class PretrainConfig:
    """A first segment of the run, in which blocks learn by a local scheme, with no labels and no feedback.

    Its options stand under `scheme.`, as any scheme's. Hinton et al. 2006, Bengio et al. 2007, Vincent et al. 2010.
    """

    scheme: str = key("denoise", "by which blocks learn alone: denoise, cd, pcd, or one of your own", named="scheme")
    epochs: int = key(0, "of every block; 0: no pre-training", low=0, high=MOST)
    order: str = key(
        "greedy",
        "greedy: block after block, each on those below it as they have become; together: all at once",
        choices=("greedy", "together"),
    )
    blocks: int | None = key(None, "how many, from the input up; null: as many as the scheme trains", low=1)
    lr: float | None = key(None, "null: optimizer.lr; it is constant, whatever optimizer.schedule is", above=0)


@dataclass
class ParallelConfig:
    """Modules, the workers that hold them, and how messages travel between them."""

    modules: int = key(1, "contiguous slices of the net, each trained by the scheme", low=1, high=MOST_WORKERS)
    modules_per_worker: int | None = key(
        None, "neighbours in one process; null: 1, or 2 in pipelines in turn or in a V", low=1, high=MOST_WORKERS
    )
    replicas: int = key(1, "copies of every module over which the data is split", low=1, high=MOST_WORKERS)
    engine: str = key("auto", "auto: in process for one worker, Ray for more", choices=("auto",), named="engine")
    device: str = key("auto", "auto: cuda if there is a GPU", choices=("auto", "cpu", "cuda"))
    partition: list[int] | None = key(None, "blocks per module; null: balanced by cost", low=1, high=MOST_WIDTH)
    threads: int | None = key(
        None,
        "torch threads per worker; null: torch's default in process, 1 on Ray workers",
        low=1,
        high=MOST_THREADS,
    )
    schedule: str = key(
        "locked",
        "of backprop: each module waits (locked), or a pipeline",
        choices=("locked", "gpipe", "1f1b", *MULTI_STAGE),
    )
    microbatches: int | None = key(
        None,
        "of a pipeline; batch norm and dropout then per microbatch; null: 1 or 2 a worker",
        low=1,
        high=MOST,
    )
    link: str = key(
        "auto",
        "auto: shared memory between CPU workers of one machine; group: gloo or nccl",
        choices=("auto", "group"),
    )
    place: str = key(
        "pack",
        "workers on the nodes; replicas: one replica's modules together, apart from the others'",
        choices=("pack", "spread", "replicas"),
    )
    memory: float | None = key(
        None, "MiB that a worker may hold, as a dry run counts it: a run that needs more does not start", above=0
    )
    address: str | None = key(None, "of a running Ray cluster; null: $RAY_ADDRESS, else a private one here")
    max_failures: int = key(2, "restarts of the whole group from the last checkpoint", low=0, high=MOST)
    timeout: float = key(
        300.0,
        "seconds, at most a year, a worker may take for one step, or wait for a message or its place",
        above=0,
        high=LONGEST_WAIT,
    )

    if TYPE_CHECKING:  # an option of a registered engine

        def __getattr__(self, name: str) -> Any: ...

    def held(self) -> int:
        """Modules of one worker."""
        return self.modules_per_worker or (2 if self.schedule in MULTI_STAGE else 1)

    def workers_per_replica(self) -> int:
        return self.modules // self.held()

    def microbatch_count(self) -> int:
        return self.microbatches or self.workers_per_replica() * (2 if self.schedule in ("gpipe", "zero_bubble") else 1)


@dataclass
class TrackingConfig:
    """What a run leaves, and where."""

    runs: str = key("runs", "folder of run folders")
    uri: str | None = key(None, "MLflow; null: SQLite in the runs folder; off: files only")
    experiment: str = key("unlocked", "MLflow's experiment that runs are kept in")
    figures: bool = key(True, "drawn when a run ends, which takes longer than a very small run")
    timeline: int = key(
        0, "steps of which it is recorded when each module computed, communicated and waited", low=0, high=10_000
    )
    mirror: str | None = key(None, "storage that keeps copies of runs to go on with: s3://bucket/runs, file:///...")


@dataclass
class PlotConfig:
    """The plot of a study: mean and spread over its seeds."""

    x: str | None = key(None, "a key with numbers, such as scheme.lag: lines over it; null: bars")
    y: str | None = key(None, "a metric; null: sweep.metric")
    lines: list[str] = key([], "keys or dimensions that make a line each; empty: all of them")


DIMENSION_KEYS = ("choice", "low", "high", "step", "log", "when")  # of one entry of sweep.space


@dataclass
class ResourcesConfig:
    """Of one trial that trains in one process; one with workers takes a CPU (or GPU) for each of them.

    Trials at once get just that; one at a time has all of this machine, which must have as much.
    """

    cpu: float = key(
        1.0,
        "of trials at once also the torch threads, rounded down, if parallel.threads is null",
        low=0.01,
        high=MOST_WORKERS,
        or_zero=True,
    )
    gpu: float = key(0.0, "fractions let trials share one", low=0.01, high=MOST_WORKERS, or_zero=True)


@dataclass
class SweepConfig:
    """A study of many runs; read by `unlocked sweep` alone."""

    sampler: Any = key("grid", "grid | random | tpe | gp | cmaes | qmc | a class of optuna.samplers, or {name: ...}")
    pruner: Any = key(
        None, "asha | hyperband | median | percentile | patient | a class of optuna.pruners, or {name: ...}"
    )
    trials: int | None = key(None, "of a search, those of earlier commands included", low=1, high=MOST)
    hours: float | None = key(
        None, "of one command, at most a year, after which no trial is started", above=0, high=LONGEST_WAIT / 3600
    )
    space: dict[str, Any] = key({}, "dimension: choices or a range; see `unlocked sweep --help`")
    refused: str = key(
        "stop",
        "a grid with combinations that cannot run: it does not start, or leaves them out",
        choices=("stop", "skip"),
    )
    enqueue: list[Any] = key([], "points to begin a search with: {dimension: value}")
    metric: Any = key(
        "val/accuracy", "by which trials are ranked; val/ is that of the last evaluation; several: a list"
    )
    direction: Any = key("auto", "auto | maximize | minimize; auto: down for losses, errors, bits and waiting, else up")
    constraints: dict[str, Any] = key({}, "metric: {min: ..., max: ...}")
    repeats: int = key(1, "seeds per trial, from `seed` on; their mean counts", low=1, high=MOST_WORKERS)
    concurrent: int = key(1, "trials at once, on Ray if more than one", low=1, high=MOST_WORKERS)
    resources: ResourcesConfig = group(ResourcesConfig)
    retries: int = key(1, "of a trial whose process died; its own errors are final", low=0, high=MOST)
    storage: str | None = key(None, "of the study; null: a journal in its folder; else a database that Optuna takes")
    plot: PlotConfig = group(PlotConfig)

    def metrics(self) -> list[str]:
        return self.metric if isinstance(self.metric, list) else [self.metric]

    def directions(self) -> list[str]:
        return self.direction if isinstance(self.direction, list) else [self.direction] * len(self.metrics())


@dataclass
class Config:
    """A run, or with `sweep` a study of many."""

    name: str = key("run", "of the run: its folder begins with it")
    seed: int = key(0, "seeds every random draw except the data's split", low=0, high=MOST_SEED)
    task: str | None = key(None, "null: the data's own", named="task")
    objective: dict[str, Any] = key({}, "that task's own keywords: a loss, a temperature")
    metrics: list[Any] = key(
        [],
        "of every evaluation, beside the task's own: [top_5, f1], or one of your own and its options; `list metrics`",
    )
    callbacks: list[Any] = key(
        [], "that follow the run: names, or {name: stop_at, value: 0.95}; `list callbacks`, or one of your own"
    )
    data: DataConfig = group(DataConfig)
    model: dict[str, Any] = key({}, "name, and that model's own keywords")
    init: dict[str, Any] = key(
        {}, "of the weights of any model: name, and that initialiser's own keywords; empty: the model's own"
    )
    scheme: SchemeConfig = group(SchemeConfig)
    optimizer: OptimizerConfig = group(OptimizerConfig)
    train: TrainConfig = group(TrainConfig)
    transfer: TransferConfig = group(TransferConfig)
    pretrain: PretrainConfig = group(PretrainConfig)
    parallel: ParallelConfig = group(ParallelConfig)
    tracking: TrackingConfig = group(TrackingConfig)
    nets: dict[str, Any] = key(
        {}, "of a model of several nets: {NAME: {optimizer: {...}, scheme: {...}}}, over the run's"
    )
    schemes: dict[str, Any] = key({}, "scheme: {key: value}, applied if the run has this scheme")
    expect: dict[str, Any] = key({}, "scheme: {metric: {min: ..., max: ...}} that a study checks")
    sweep: SweepConfig = group(SweepConfig)
