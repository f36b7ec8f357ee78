"""Keys of DeepSpeed's own under `parallel.deepspeed`: checked by its own models, and against keys of ours.

What a key of ours says already is refused there, so that nothing is said twice, or overridden in silence.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from unlocked.deepspeed_package import import_deepspeed, missing
from unlocked.errors import ConfigError, in_one_line
from unlocked.schema.keys import Config
from unlocked_models.contract.registry import unknown

WHOLE, STATES, GRADIENTS, WEIGHTS = range(4)  # stages: what is shared out, with all before it
KEY = "parallel.deepspeed"
TAKEN = ("zero_optimization", "communication_data_type", "prescale_gradients", "gradient_predivide_factor")
_OURS = {
    "train_batch_size": "data.batch_size says it",
    "train_micro_batch_size_per_gpu": "it follows from data.batch_size and parallel.replicas",
    "gradient_accumulation_steps": "train.accumulate says it",
    "managed_gradient_accumulation": "train.accumulate says it",
    "optimizer": "optimizer.name says it",
    "scheduler": "optimizer.schedule says it",
    "gradient_clipping": "optimizer.clip_norm says it",
    "fp16": "train.precision=fp16 says it",
    "bf16": "train.precision=bf16 says it",
    "bfloat16": "train.precision=bf16 says it",
    "torch_autocast": "train.precision=bf16 says it",
    "amp": "train.precision=bf16 says it",
    "steps_per_print": "train.log_every says it",
    "tensorboard": "metrics go to tracking.uri",
    "wandb": "metrics go to tracking.uri",
    "comet": "metrics go to tracking.uri",
    "csv_monitor": "metrics go to tracking.uri",
    "checkpoint": "checkpoints are this platform's own, which load no code",
    "load_universal_checkpoint": "checkpoints are this platform's own, which load no code",
    "zero_allow_untested_optimizer": "it is set: every optimiser of torch is taken",
    "zero_force_ds_cpu_optimizer": "it is set: every optimiser of torch is taken",
    "data_efficiency": "the data are this platform's own: train.curriculum, data.transforms",
    "curriculum_learning": "train.curriculum says it",
    "activation_checkpointing": "train.recompute says it",
    "pipeline": "pipelines are torch's: parallel.engine=ray parallel.schedule=1f1b",
    "tensor_parallel": "a module is cut along its blocks alone: parallel.modules",
    "sequence_parallel_size": "a module is cut along its blocks alone: parallel.modules",
    "autotuning": "unlocked sweep searches",
    "elasticity": "parallel.replicas says it",
    "gradient_allreduce_op": "replicas learn from the mean of their gradients",
}
_OF_WHOLE_GRADIENTS = {"clip_value": None, "clip_global": None, "l1": 0.0, "l2": 0.0, "max_norm": None, "noise": 0.0}
_COMPILED = (
    "zero_quantized_weights",
    "zero_quantized_nontrainable_weights",
    "zero_quantized_gradients",
    "zenflow",
)


def stage_of(settings: Mapping[str, Any]) -> int:
    zero = settings.get("zero_optimization")
    return int((zero.get("stage") if isinstance(zero, Mapping) else None) or WHOLE)


def whole_below(settings: Mapping[str, Any]) -> int:
    """At stage 3, smaller weights are kept whole, too."""
    zero = settings.get("zero_optimization")
    return int(zero.get("stage3_param_persistence_threshold", 100_000) if isinstance(zero, Mapping) else 100_000)


def refuse(config: Config) -> None:
    """Raises `ConfigError`, one line, for what DeepSpeed cannot do, does not know, or what is not its to say."""
    settings = config.parallel.deepspeed
    if (why := missing()) is not None:
        raise ConfigError(f"parallel.engine: {config.parallel.engine}, but {why}")
    _refuse_names(settings)
    if settings:
        _check(json.dumps(settings, sort_keys=True), config.parallel.device)
    stage = stage_of(settings)
    if stage and config.train.precision == "fp64":
        raise ConfigError(f"train.precision: fp64, but from stage 1 on ZeRO keeps weights and states in fp32 ({KEY})")
    if not stage and config.train.precision == "fp16":
        raise ConfigError(
            f"train.precision: fp16, but at stage 0 DeepSpeed steps by gradients that overflowed; take stage 1 or "
            f"above, or parallel.engine=ray, which has replicas too ({KEY})"
        )
    if stage == WEIGHTS and config.train.average is not None:
        raise ConfigError(f"train.average: {config.train.average:g}, but at stage 3 no replica has the weights ({KEY})")
    for key, default in _OF_WHOLE_GRADIENTS.items():
        if (value := getattr(config.optimizer, key)) != default:
            raise ConfigError(
                f"optimizer.{key}: {value:g} changes whole gradients, which ZeRO does not keep; leave it out"
            )


def refuse_steps(config: Config, per_epoch: int) -> None:
    """Raises `ConfigError` if a segment may end between minibatches of one step: a checkpoint would lack gradients."""
    n, train = config.train.accumulate, config.train
    if n == 1 or stage_of(config.parallel.deepspeed) < GRADIENTS:
        return
    why = f"from stage 2 on no checkpoint can be taken between the {n} minibatches of a step ({KEY})"
    for name in ("log_every", "evaluate_steps", "steps"):
        steps = getattr(train, name)
        if steps is not None and steps % n:
            raise ConfigError(f"train.{name}: {steps} is not a multiple of train.accumulate={n}, and {why}")
    if per_epoch % n:
        raise ConfigError(f"train.accumulate: {n} does not divide the {per_epoch} steps of an epoch, and {why}")


def _refuse_names(settings: Mapping[str, Any]) -> None:
    for name in settings:
        if name in _OURS:
            raise ConfigError(f"{KEY}.{name}: {_OURS[name]}; leave it out")
        if name not in TAKEN:
            near = difflib.get_close_matches(name, [*TAKEN, *_OURS], n=1)
            if near and near[0] in _OURS:
                raise ConfigError(f"{KEY}.{name}: unknown key; {near[0]} is not needed: {_OURS[near[0]]}")
            raise ConfigError(f"{KEY}.{name}: {unknown('key', name, TAKEN)}")


@cache
def _check(settings: str, device: str) -> None:
    """By DeepSpeed's own models."""
    given = json.loads(settings)
    import_deepspeed(device)
    from deepspeed.runtime.config import DtypeEnum
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    zero = given.get("zero_optimization", {})
    if not isinstance(zero, dict):
        raise ConfigError(f"{KEY}.zero_optimization: {zero!r} is not keys and values, such as {{stage: 2}}")
    _check_model(DeepSpeedZeroConfig, zero, f"{KEY}.zero_optimization")
    kind = given.get("communication_data_type", "fp32")
    try:
        DtypeEnum(kind)
    except ValueError:
        raise ConfigError(f"{KEY}.communication_data_type: {kind!r} is no type; take fp32, bf16 or fp16") from None
    if not isinstance(given.get("prescale_gradients", False), bool):
        raise ConfigError(f"{KEY}.prescale_gradients: {given['prescale_gradients']!r} is not true or false")
    factor = given.get("gradient_predivide_factor", 1.0)
    if isinstance(factor, bool) or not isinstance(factor, int | float) or factor <= 0:
        raise ConfigError(f"{KEY}.gradient_predivide_factor: must be a number greater than 0, got {factor!r}")
    stage = stage_of(given)
    for name, lowest in (("offload_optimizer", STATES), ("offload_param", WEIGHTS)):
        offload = zero.get(name) or {}
        if offload and stage < lowest:
            raise ConfigError(f"{KEY}.zero_optimization.{name}: needs stage {lowest} or above, not {stage}")
        if offload.get("device") == "nvme":
            raise ConfigError(
                f"{KEY}.zero_optimization.{name}.device: nvme needs DeepSpeed's compiled asynchronous reads, which "
                f"nothing here builds; take cpu"
            )
    for name in _COMPILED:
        if zero.get(name) not in (None, False):
            raise ConfigError(
                f"{KEY}.zero_optimization.{name}: needs kernels that DeepSpeed compiles for a GPU; leave it out"
            )
    if zero.get("elastic_checkpoint") or zero.get("legacy_stage1"):
        raise ConfigError(f"{KEY}.zero_optimization: elastic_checkpoint and legacy_stage1 are no longer of DeepSpeed")


def _check_model(model: Any, given: Mapping[str, Any], key: str) -> None:
    from pydantic import ValidationError

    try:
        model(**given)
    except ValidationError as error:
        first = error.errors()[0]
        place = [str(each) for each in first["loc"]]
        if first["type"] == "extra_forbidden":
            kind = model
            for name in place[:-1]:
                kind = _model_at(kind, name)
            raise ConfigError(f"{key}.{'.'.join(place)}: {unknown('key', place[-1], _names(kind))}") from None
        said = in_one_line(first["msg"]).replace("3 or 3", "or 3")  # its stages have a largest of the same value
        raise ConfigError(f"{'.'.join([key, *place])}: {said[:1].lower()}{said[1:]}, got {first['input']!r}") from None
    except (AssertionError, ValueError, TypeError) as error:
        raise ConfigError(f"{key}: {in_one_line(str(error))}") from None


def _names(model: Any) -> list[str]:
    """As they are written: some begin with stage3_."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_at(model: Any, name: str) -> Any:
    """That of the keys below `name`."""
    from typing import get_args

    field = next(field for key, field in model.model_fields.items() if name in (key, field.alias))
    kinds = [field.annotation, *get_args(field.annotation)]
    return next(kind for kind in kinds if hasattr(kind, "model_fields"))
