"""The blocks of a plan's net, and the learner of one of its modules."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from unlocked.compiling import missing
from unlocked.config import Config
from unlocked.errors import ConfigError, RunFailed, reason
from unlocked.plan.plan import Plan
from unlocked.schemes import DTYPES, ModuleLearner, ModuleSpec
from unlocked.seeding import derive_seed
from unlocked.tasks.phases import NET
from unlocked_models.contract.batch import Example
from unlocked_models.contract.chain import Chain, as_blocks, build
from unlocked_models.contract.nets import nets_of
from unlocked_models.contract.registry import MODELS
from unlocked_models.layers.activations import ACTIVATIONS
from unlocked_models.layers.activations import gain as gain_of
from unlocked_models.layers.initialisers import INITIALISERS, fill_weights
from unlocked_models.layers.sequences import first_embedding


def build_blocks(
    config: Config, example: Example, net: str | None = None, only: Collection[int] | None = None
) -> list[nn.Module]:
    """All blocks of the net, initialised from the run's seed alone: every worker builds the same.

    A builder that yields its blocks has each drawn from a seed of its own, and of those that are not in `only` shapes
    alone, on "meta". Blocks that come as a list are drawn one after the other, whatever `only` says.
    """

    @contextmanager
    def each(i: int) -> Iterator[None]:
        torch.default_generator.manual_seed(derive_seed(config.seed, "init", net or NET, i))
        with nullcontext() if only is None or i in only else shapes_alone():
            yield

    options = {key: value for key, value in config.model.items() if key != "name"}
    given = config.model["name"], example.in_shape, example.n_outputs
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(config.seed, "init"))
        if net is None:
            blocks = build(*given, example=example, each=each, **options)
        else:
            blocks = as_blocks(nets_of(*given, example=example, **options)[net].blocks, each)
        _fill(config, blocks, net)
    for layer in (layer for block in blocks for layer in block.modules()):
        if getattr(layer, "inplace", False) is True:  # it would overwrite what the module below holds
            layer.inplace = False  # type: ignore[assignment]
    return blocks


def _fill(config: Config, blocks: Sequence[nn.Module], net: str | None) -> None:
    """By `init`, if it names an initialiser; draws of each block by a seed of its own, so that any cut has the same."""
    if not config.init:
        return
    options = {key: value for key, value in config.init.items() if key != "name"}
    fill = INITIALISERS.get(config.init["name"])(**options)
    if fill is not None:
        option = inspect.signature(MODELS.get(config.model["name"])).parameters.get("activation")
        activation = config.model.get("activation", None if option is None else option.default)
        gain = gain_of(activation) if activation in ACTIVATIONS else 1.0

        def begin(i: int) -> None:
            torch.default_generator.manual_seed(derive_seed(config.seed, "init", net or NET, i, "weights"))

        fill_weights(blocks, fill, gain, begin)


@contextmanager
def shapes_alone() -> Iterator[None]:
    """Blocks that are made here are on "meta": shapes and types, without memory."""
    with torch.device("meta"), _NothingDrawn():
        yield


class _NothingDrawn(TorchFunctionMode):
    """On "meta" there is nothing to draw or to scale, but torch imports a second's worth of modules to do so."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        of = args[0] if args else kwargs.get("tensor")
        if isinstance(of, Tensor) and of.is_meta:
            if func == Tensor.normal_ or getattr(func, "__module__", None) == nn.init.__name__:
                return of
            if func == Tensor.mul and isinstance(args[1], float):
                return torch.empty_like(of)
        if func == torch.randn and "device" not in kwargs:
            kwargs.pop("generator", None)
            func = torch.empty
        return func(*args, **kwargs)


def named_weights(plan: Plan) -> dict[str, Tensor]:
    """As a checkpoint names them, freshly initialised: of several nets each begins with that of its own."""
    if plan.nets:
        return {f"{net}.{key}": x for net, its in plan.nets.items() for key, x in named_weights(its).items()}
    return Chain(build_blocks(plan.config, plan.example, plan.net)).state_dict()


def count_parameters(blocks: Sequence[nn.Module]) -> list[int]:
    """Of each block; one that several share counts for the first."""
    counted: set[int] = set()
    numbers = []
    for block in blocks:
        own = {id(p): p.numel() for p in block.parameters() if id(p) not in counted}
        counted |= own.keys()
        numbers.append(sum(own.values()))
    return numbers


def build_net(plan: Plan, modules: Sequence[int]) -> list[nn.Module]:
    """The blocks of the net, for the learners of these modules in one process; of the others perhaps shapes alone."""
    mine = [i for k in modules for i in range(plan.specs[k].start, plan.specs[k].stop)]
    with _in_memory(plan, modules[0]):
        blocks = _build_only(plan, mine) if len(mine) < len(plan.parameters) else None
        blocks = blocks or build_blocks(plan.config, plan.example, plan.net)
    if count_parameters(blocks) != plan.parameters:
        raise ConfigError(
            f"model.name: {plan.config.model['name']} differs from call to call: its builder gave blocks "
            f"of {plan.parameters} parameters, and now of {count_parameters(blocks)}; it has to depend on "
            f"its arguments alone"
        )
    return blocks


def _build_only(plan: Plan, mine: Sequence[int]) -> list[nn.Module] | None:
    """None if one of these blocks cannot be made without the values of another module's."""
    try:
        blocks = build_blocks(plan.config, plan.example, plan.net, mine)
    except NotImplementedError:  # torch's word for a tensor without values
        return None
    held = (tensor for i in mine for tensor in (*blocks[i].parameters(), *blocks[i].buffers()))
    return None if any(tensor.is_meta for tensor in held) else blocks


def build_beside(plan: Plan, other: ModuleLearner) -> ModuleLearner:
    """One more learner of the weights of another, with its optimiser and their average."""
    learner = plan.scheme(other.spec, other.chain, plan.make_task(), plan.config, plan.lag)
    if other.optimizer is not None:
        learner.optimizer = learner.holds("optimizer", other.optimizer)
    if (average := other.average) is not None:
        learner.average = learner.holds("average", average, average.state, average.load_state)
    return learner


def freeze_vectors(config: Config, chain: Chain, spec: ModuleSpec) -> None:
    """Of a net that begins with word vectors, which learn nothing if `transfer.freeze` says so."""
    if config.transfer.vectors is not None and config.transfer.freeze and spec.is_first:
        embedding = first_embedding(list(chain))
        if embedding is not None:
            embedding.weight.requires_grad_(False)


def build_learner(
    plan: Plan, module: int, device: torch.device, blocks: Sequence[nn.Module] | None = None
) -> ModuleLearner:
    """The learner of one module, on its device, in training mode; `blocks`: of `build_net`, if several share them."""
    config, spec = plan.config, plan.specs[module]
    if config.train.compile and (why := missing(device.type)) is not None:
        raise ConfigError(f"train.compile: true, but {why}")
    mine = _apart(build_net(plan, [module]) if blocks is None else blocks, spec)
    with _in_memory(plan, module):
        chain = Chain(mine).to(device, DTYPES[config.train.precision]).train()
        chain.freeze(min(max(plan.frozen - spec.start, 0), len(mine)), plan.frozen_parts)
        freeze_vectors(config, chain, spec)
        return plan.scheme(spec, chain, plan.make_task(), config, plan.lag)


@contextmanager
def _in_memory(plan: Plan, module: int) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        raise RunFailed(
            f"module {module} of {plan.config.model['name']} does not fit into the memory of its worker: "
            f"{reason(error)}"
        ) from None


def _apart(blocks: Sequence[nn.Module], spec: ModuleSpec) -> Sequence[nn.Module]:
    """Those of one module; a copy, if they share a layer with another's."""
    mine, others = blocks[spec.start : spec.stop], [*blocks[: spec.start], *blocks[spec.stop :]]
    theirs = {id(layer) for block in others for layer in block.modules()}
    shared = any(id(layer) in theirs for block in mine for layer in block.modules())
    return copy.deepcopy(mine) if shared else mine


def device_of(plan: Plan) -> torch.device:
    """The device of the worker that asks."""
    wanted = plan.config.parallel.device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("parallel.device: cuda, but this worker sees no GPU")
    return torch.device("cuda", 0) if wanted == "cuda" else torch.device("cpu")
