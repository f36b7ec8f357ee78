"""Every key a configuration may hold, with its type, default and meaning: the one schema of the platform."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class DataConfig:
    name: str = MISSING  # `unlocked list data`
    batch_size: int = 64  # examples per optimiser step, over all replicas
    validation: float = 0.1  # fraction of the training examples held out; 0: none
    seed: int = 0  # of the split alone, so that runs of every seed share one test set
    root: str | None = None  # folder of data files; null: $UNLOCKED_DATA or ./data
    download: bool = False  # fetch missing files from their published address
    augment: list[str] = field(default_factory=list)  # for images: flip, crop, shift, cutout
    options: dict[str, Any] = field(default_factory=dict)  # a data set's own keywords


@dataclass
class SGConfig:
    """The synthetic-gradient model M_k of dni and cdni."""

    kind: str = "auto"  # auto | linear | mlp | conv; auto: conv on feature maps, else mlp if hidden, else linear
    hidden: list[int] = field(default_factory=list)  # widths (mlp) or channels (conv) of the hidden layers
    rank: int | None = None  # linear only: factor the weight through this many units
    kernel: int = 3  # conv only, odd: resolution is kept
    norm: str = "batch"  # batch | none, in the hidden layers
    embedding: int = 32  # width in which cdni's M sees a target that is a token
    lr: float | None = None  # null: optimizer.lr
    optimizer: str = "adam"  # SGD with momentum does not train M


@dataclass
class InputModelConfig:
    """The model I_k of synthetic inputs."""

    hidden: list[int] = field(default_factory=list)  # widths, or channels for feature maps; empty: linear
    kernel: int = 3  # of convolutions, odd
    embedding: int = 64  # width of a token where inputs are tokens
    lr: float | None = None  # null: optimizer.lr


@dataclass
class TimeConfig:
    """Synthetic gradients through time, where windows of a recurrent network end (model.carry), under any scheme."""

    synthetic: bool = False  # false: truncated backpropagation through time
    hidden: list[int] = field(default_factory=list)  # widths of the hidden layers of M; empty: linear
    context: str = "none"  # none | start: M sees the state in which its window began beside the one in which it ended
    norm: str = "none"  # batch | none, of the states that M sees: what tells them apart is small beside their mean
    clip: float | None = None  # longest gradient, per example and term, that M learns from; null: any
    lr: float | None = None  # of M; null: optimizer.lr
    scale: float = 1.0  # of the injected gradient
    ramp: int = 0  # minibatches over which it grows from 0 to `scale`: M learns before it is heard
    auxiliary: float = 0.0  # weight of the loss by which the network foresees its synthetic gradient


@dataclass
class FeedbackConfig:
    """The fixed random matrices B_l of dfa."""

    distribution: str = "uniform"  # uniform | normal
    scale: float = 1.0  # times 1/sqrt(size of the hidden layer)
    seed: int | None = None  # null: from the run's seed
    granularity: str = "block"  # feedback behind: block | module | layer inside; macro | micro of Launay et al. 2020
    shared_positions: bool = False  # one B_l for all positions of a sequence, where the output has none
    shared_layers: bool = False  # one matrix for all layers, each of which takes as much of it as it is wide


@dataclass
class SchemeConfig:
    name: str = "backprop"  # `unlocked list schemes`
    lag: int | str = "auto"  # minibatches; auto: the smallest lag at which no worker waits for a message
    sg: SGConfig = field(default_factory=SGConfig)
    synthetic_inputs: bool = False  # dni, cdni: modules also run without waiting for the activations below
    inputs: InputModelConfig = field(default_factory=InputModelConfig)
    time: TimeConfig = field(default_factory=TimeConfig)
    feedback: FeedbackConfig = field(default_factory=FeedbackConfig)


@dataclass
class OptimizerConfig:
    name: str = "adam"  # adam | adamw | sgd | rmsprop
    lr: float = 1.0e-3
    weight_decay: float | None = None
    momentum: float | None = None
    nesterov: bool | None = None
    betas: list[float] | None = None
    eps: float | None = None
    schedule: str = "constant"  # constant | linear | cosine: to zero at the last step; scales M's and I's rates too
    warmup: int = 0  # steps of linear warm-up, of M's and I's rates too
    clip_norm: float | None = None  # per module, never of M or I: no worker knows the others' gradients


@dataclass
class TrainConfig:
    epochs: int = 10
    log_every: int = 50  # steps between metrics; nothing leaves the device in between
    evaluate_every: int = 1  # epochs
    probe_every: int = 1  # epochs between gradient alignment probes; 0: never
    checkpoint_every: int = 1  # epochs
    curriculum: float | None = None  # below these val/bits the data's `level` is raised by one, after an evaluation
    patience: int | None = None  # stop after this many evaluations without a better validation metric
    precision: str = "fp32"  # fp32 | bf16 (autocast) | fp64


# Pipelines whose workers hold several modules each: torch's multi-stage schedules
MULTI_STAGE = ("interleaved", "interleaved_zero_bubble", "zero_bubble")


@dataclass
class TransferConfig:
    """Weights to begin with, from the first blocks of another run."""

    run: str | None = None  # folder of a run, of whichever model and task; its best checkpoint, else its last
    blocks: int | None = None  # how many, from the input up, of the same shapes here; null: all that fit, but the last
    freeze: bool = False  # they learn nothing: no gradients, running statistics kept


@dataclass
class PretrainConfig:
    """Greedy layer-wise pre-training: before the first step each block learns to give its input back, clean.

    Bengio et al. 2007, Vincent et al. 2010: from the input up, each as a denoising autoencoder of one layer.
    """

    epochs: int = 0  # of every block; 0: no pre-training
    blocks: int | None = None  # how many, from the input up; null: up to the code, else all but the last
    noise: str = "masking"  # none | gaussian | masking, on the block's input
    level: float = 0.2  # of the noise: its deviation, or the fraction set to zero
    lr: float | None = None  # null: optimizer.lr


@dataclass
class ParallelConfig:
    modules: int = 1  # contiguous slices of the net, each trained by the scheme
    modules_per_worker: int | None = None  # neighbours in one process; null: 1, or 2 in pipelines in turn or in a V
    replicas: int = 1  # copies of every module over which the data is split
    engine: str = "auto"  # auto | inprocess | ray; auto: in process for one worker, Ray for more
    device: str = "auto"  # auto | cpu | cuda
    partition: list[int] | None = None  # blocks per module; null: balanced by cost
    threads: int | None = None  # torch threads per worker; null: torch's default in process, 1 on Ray workers
    schedule: str = "locked"  # of backprop; pipelined: gpipe, 1f1b, interleaved, interleaved_zero_bubble, zero_bubble
    microbatches: int | None = None  # of a pipeline; batch norm and dropout then per microbatch; null: 1 or 2 a worker
    link: str = "auto"  # auto | group; auto: shared memory between CPU workers of one machine; group: gloo or nccl
    place: str = "pack"  # workers on the nodes: pack | spread | replicas (one's modules together, apart from others')
    address: str | None = None  # of a running Ray cluster; null: $RAY_ADDRESS, else a private one here
    max_failures: int = 2  # restarts of the whole group from the last checkpoint
    timeout: float = 300.0  # seconds a worker may take for one step, or wait for a message or its place

    def held(self) -> int:
        """Modules of one worker."""
        return self.modules_per_worker or (2 if self.schedule in MULTI_STAGE else 1)

    def workers_per_replica(self) -> int:
        return self.modules // self.held()

    def on_workers(self) -> bool:
        """Whether modules train in Ray workers instead of the process that was started."""
        return self.engine == "ray" or (self.engine == "auto" and self.workers_per_replica() * self.replicas > 1)

    def microbatch_count(self) -> int:
        return self.microbatches or self.workers_per_replica() * (2 if self.schedule in ("gpipe", "zero_bubble") else 1)


@dataclass
class TrackingConfig:
    runs: str = "runs"  # folder of run folders
    uri: str | None = None  # MLflow; null: SQLite in the runs folder; off: files only
    experiment: str = "unlocked"
    figures: bool = True  # drawn when a run ends, which takes longer than a very small run
    mirror: str | None = None  # storage that keeps copies of runs to go on with: s3://bucket/runs, file:///...


@dataclass
class PlotConfig:
    """The plot of a study: mean and spread over its seeds."""

    x: str | None = None  # a key with numbers, such as scheme.lag: lines over it; null: bars
    y: str | None = None  # a metric; null: sweep.metric
    lines: list[str] = field(default_factory=list)  # keys or dimensions that make a line each; empty: all of them


DIMENSION_KEYS = ("choice", "low", "high", "step", "log", "when")  # of one entry of sweep.space


@dataclass
class ResourcesConfig:
    """Of one trial that trains in one process; one with workers takes a CPU (or GPU) for each of them.

    Trials at once get just that; one at a time has all of this machine, which must have as much.
    """

    cpu: float = 1.0  # of trials at once also the torch threads, rounded down, where parallel.threads is null
    gpu: float = 0.0  # fractions let trials share one


@dataclass
class SweepConfig:
    """A study of many runs; read by `unlocked sweep` alone."""

    sampler: Any = "grid"  # grid | random | tpe | gp | cmaes | qmc | a class of optuna.samplers, or {name: ...}
    pruner: Any = None  # asha | hyperband | median | percentile | patient | a class of optuna.pruners, or {name: ...}
    trials: int | None = None  # of a search, those of earlier commands included
    hours: float | None = None  # of one command, after which no trial is started
    space: dict[str, Any] = field(default_factory=dict)  # dimension: choices or a range; see `unlocked sweep --help`
    enqueue: list[Any] = field(default_factory=list)  # points to begin a search with: {dimension: value}
    metric: Any = "val/accuracy"  # what best means; val/ is that of the last evaluation; several: a list
    direction: Any = "auto"  # auto | maximize | minimize; auto: down for losses, errors, bits and waiting, else up
    constraints: dict[str, Any] = field(default_factory=dict)  # metric: {min: ..., max: ...}
    repeats: int = 1  # seeds per trial, from `seed` on; their mean counts
    concurrent: int = 1  # trials at once, on Ray when more than one
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    retries: int = 1  # of a trial whose process died; its own errors are final
    storage: str | None = None  # of the study; null: a journal in its folder; else a database that Optuna takes
    plot: PlotConfig = field(default_factory=PlotConfig)

    def metrics(self) -> list[str]:
        return self.metric if isinstance(self.metric, list) else [self.metric]

    def directions(self) -> list[str]:
        return self.direction if isinstance(self.direction, list) else [self.direction] * len(self.metrics())


@dataclass
class Config:
    name: str = "run"
    seed: int = 0
    task: str | None = None  # null: what the data says
    data: DataConfig = field(default_factory=DataConfig)
    model: dict[str, Any] = field(default_factory=dict)  # name, and that model's own keywords
    scheme: SchemeConfig = field(default_factory=SchemeConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    transfer: TransferConfig = field(default_factory=TransferConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    schemes: dict[str, Any] = field(default_factory=dict)  # scheme: {key: value} that it is trained with
    expect: dict[str, Any] = field(default_factory=dict)  # scheme: {metric: {min: ..., max: ...}} that a study checks
    sweep: SweepConfig = field(default_factory=SweepConfig)
