"""A module whose weights, gradients and optimiser states are shared out over its replicas: ZeRO, by DeepSpeed.

Rajbhandari et al. 2020, "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models". Stage 1 shares out the
states of the optimiser, stage 2 the gradients too, stage 3 the weights too; stage 0 is data parallelism.

Every optimiser of a learner (of its blocks, and of each model beside them) becomes one DeepSpeed engine over the group
of the module's replicas. The scheme goes on calling `backward` as it likes: what DeepSpeed does at the end of its own
`engine.backward` is queued at the first gradient of each backward pass. States are saved and loaded whole, in torch's
own form, and nothing of DeepSpeed's checkpoints is used, so any engine and any number of replicas goes on with them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from unlocked.deepspeed_package import import_deepspeed
from unlocked.engine.module import ModuleRunner
from unlocked.engine.segments import SegmentStats
from unlocked.engine.zero_costs import Traffic, held, tensors_in
from unlocked.schemes.state import Holder
from unlocked.zero_keys import GRADIENTS, WEIGHTS, stage_of


class Mesh:
    """What DeepSpeed asks of a model-parallel library: here, the group of a module's replicas."""

    def __init__(self, replicas: Any, alone: Any):
        """`alone`: the group of this worker alone."""
        self._replicas, self._alone = replicas, alone

    def get_data_parallel_group(self) -> Any:
        return self._replicas

    def get_data_parallel_world_size(self) -> int:
        return dist.get_world_size(self._replicas)

    def get_data_parallel_rank(self) -> int:
        return dist.get_rank(self._replicas)

    def get_data_parallel_group_ranks(self) -> list[int]:
        return dist.get_process_group_ranks(self._replicas)

    def get_model_parallel_group(self) -> Any:
        return self._alone

    def get_model_parallel_world_size(self) -> int:
        return 1

    def get_model_parallel_rank(self) -> int:
        return 0


class Sharded:
    """One optimiser and the weights that it moves, as a DeepSpeed engine."""

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        mesh: Mesh,
        settings: Mapping[str, Any],
        rows: int,
        clip_norm: float | None,
        passes: int = 1,
    ):
        """`rows`: examples of a minibatch, of each replica; `passes`: minibatches of one step."""
        deepspeed = import_deepspeed()
        self.weights: list[nn.Parameter] = [p for group in optimizer.param_groups for p in group["params"]]
        self.form = [  # of the optimiser's own state, before its weights become shares
            {**group, "params": [self._number(p) for p in group["params"]]} for group in optimizer.param_groups
        ]
        self.stage = stage_of(settings)
        self.module, self.optimizer = module, optimizer
        config = configured(settings, rows, clip_norm, sum(p.numel() for p in self.weights))
        self.engine = deepspeed.initialize(
            model=module, optimizer=optimizer, config=config, mpu=mesh, dist_init_required=False
        )[0]
        self._queued, self.measures, self.gradients = False, False, 0
        if passes > 1 and self.stage >= GRADIENTS:  # else the learner divides the gradients, which are all there
            self.engine.optimizer.override_loss_scale(float(passes))
        if self.stage >= GRADIENTS:
            for p in self.weights:
                p.register_post_accumulate_grad_hook(self._first_gradient)

    def _number(self, p: nn.Parameter) -> int:
        return next(i for i, each in enumerate(self.weights) if each is p)

    # training -------------------------------------------------------------------------------------------

    def _first_gradient(self, _: Tensor) -> None:
        """When this backward pass ends, the last gradients are to be sent: as `engine.backward` does."""
        if not self._queued:
            self._queued = True
            self.engine.optimizer.clear_backward_seen_flag()  # it adds to what an earlier pass of this step gave
            torch.autograd.Variable._execution_engine.queue_callback(self._backward_ended)

    def _backward_ended(self) -> None:
        self._queued = False
        self.engine._backward_epilogue()

    def step(self) -> bool:
        """False if gradients were not finite on a replica, so that all left the step out."""
        if self.measures:
            self.measures, self.gradients = False, held(self._gradients())
        self.engine.step()
        return not (self.stage and self.engine.optimizer.overflow)

    # what it holds ---------------------------------------------------------------------------------------

    def _gradients(self) -> Iterator[Tensor]:
        """Between a backward pass and the step."""
        yield from (p.grad for p in self.weights if p.grad is not None)
        if self.stage == WEIGHTS:
            yield from tensors_in(self.engine.optimizer.averaged_gradients)
        elif self.stage == GRADIENTS:
            yield from tensors_in(self.engine.optimizer.all_grad_tensors)

    def bytes(self) -> dict[str, int]:
        """Of this worker, by category; `copies`: of the weights, which are what the optimiser moves from stage 1 on."""
        whole = [p for p in self.weights if p.numel()]
        shares = [p.ds_tensor for p in self.weights] if self.stage == WEIGHTS else []  # type: ignore[attr-defined]
        return {
            "weights": held([*whole, *shares]),
            "gradients": self.gradients,
            "states": held(tensors_in([*self.optimizer.state.values()])),
            "copies": held(self._shares()) if self.stage else 0,
        }

    # state ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def gathered(self, write: bool = False) -> Iterator[None]:
        """All weights whole; `write`: those of the first replica are then shared out again."""
        if self.stage < WEIGHTS:
            yield
            return
        weights = list(self.module.parameters())  # with those that learn nothing
        with import_deepspeed().zero.GatheredParameters(weights, modifier_rank=0 if write else None):
            yield

    def state(self) -> dict[str, Any]:
        """As `optimizer.state_dict()` of an optimiser that nothing is shared of; every replica asks at once."""
        if not self.stage:
            return self.optimizer.state_dict()
        from deepspeed.utils import safe_get_full_optimizer_state

        shares = self._shares()
        if _kept(self.optimizer, shares):
            self._link()
        kept: dict[int, dict[str, Any]] = {}
        for name, example in _kept(self.optimizer, shares).items():
            whole = isinstance(example, Tensor) and example.dim() > 0
            for i, p in enumerate(self.weights):
                value = safe_get_full_optimizer_state(p, name).cpu() if whole else _copied(example)
                kept.setdefault(i, {})[name] = value
        return {"state": kept, "param_groups": self._groups()}

    def load_state(self, state: dict[str, Any]) -> None:
        """What `state` gave, or an unsharded optimiser."""
        if not self.stage:
            self.optimizer.load_state_dict(state)
            return
        for group, given in zip(self._live_groups(), state["param_groups"], strict=True):
            group.update({key: value for key, value in given.items() if key != "params"})
        kept = state["state"]
        self.optimizer.state.clear()
        if not kept:
            return
        for share in self._shares():
            self.optimizer.state[share] = {
                name: torch.zeros_like(share) if isinstance(value, Tensor) and value.dim() else _copied(value)
                for name, value in kept[0].items()
            }
        self._link()
        for i, p in enumerate(self.weights):
            for name, value in kept[i].items():
                if isinstance(value, Tensor) and value.dim():
                    self._set(p, value.to(self.engine.device), name)

    def _set(self, p: nn.Parameter, value: Tensor, name: str) -> None:
        """This replica's share of a state of one weight. At stage 3 the last share is filled up with zeros if the
        weight cannot be cut evenly: DeepSpeed does so for weights alone."""
        from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

        if self.stage < WEIGHTS:
            safe_set_full_optimizer_state(p, value, name)
            return
        group, size = p.ds_process_group, p.ds_tensor.numel()  # type: ignore[attr-defined]
        filled = F.pad(value.flatten(), (0, size * dist.get_world_size(group) - value.numel()))
        safe_set_local_optimizer_state(p, filled.split(size)[dist.get_rank(group)], name)

    def _link(self) -> None:
        """DeepSpeed finds states by weight; of several groups it does so after the step of the first, too early."""
        if self.stage < WEIGHTS:
            self.engine.optimizer._hp_optimizer_states_linked = False
            self.engine.optimizer._lazy_init_hp_params_optimizer_state()

    def weights_loaded(self) -> None:
        """The copies that the optimiser moves are those of the weights again."""
        if self.stage:
            self.engine.optimizer.refresh_fp32_params()

    def _shares(self) -> list[Tensor]:
        """What this replica's optimiser moves."""
        inner = self.engine.optimizer
        found: list[Tensor] = (
            inner.fp32_partitioned_groups_flat if self.stage == WEIGHTS else inner.single_partition_of_fp32_groups
        )
        return found

    def _live_groups(self) -> list[dict[str, Any]]:
        return self.optimizer.param_groups

    def _groups(self) -> list[dict[str, Any]]:
        return [
            {**{key: value for key, value in live.items() if key in form}, "params": form["params"]}
            for live, form in zip(self._live_groups(), self.form, strict=True)
        ]


def configured(settings: Mapping[str, Any], rows: int, clip_norm: float | None, numbers: int) -> dict[str, Any]:
    """The user's settings with what follows from keys of ours.

    Args:
        rows: examples of a minibatch, of each replica.
        numbers: of the weights. Buffers are no longer than these, where DeepSpeed would take gigabytes.
    """
    zero = dict(settings.get("zero_optimization", {}))
    even = 2 * -(-numbers // 2)  # which it asks of the second
    zero.setdefault("reduce_bucket_size", max(2, min(even, 500_000_000)))
    zero.setdefault("allgather_bucket_size", max(2, min(even, 500_000_000)))
    return {
        **settings,
        "zero_optimization": zero,
        "train_micro_batch_size_per_gpu": rows,
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,  # a scheme calls backward as often as it likes, then steps
        "gradient_clipping": clip_norm or 0.0,
        "steps_per_print": None,
        "zero_allow_untested_optimizer": True,  # any of torch's: nothing is compiled
        "zero_force_ds_cpu_optimizer": False,
    }


def _kept(optimizer: torch.optim.Optimizer, shares: list[Tensor]) -> dict[str, Any]:
    """What the optimiser keeps of its first share, by name; nothing before its first step."""
    return dict(optimizer.state.get(shares[0], {})) if shares else {}


def _copied(value: Any) -> Any:
    return value.detach().cpu().clone() if isinstance(value, Tensor) else value


class ZeroRunner(ModuleRunner):
    """A module of which each replica holds a share."""

    passes = staticmethod(torch.no_grad)  # gathered weights are also of later passes: no inference tensors

    def shard(self, replicas: Any, alone: Any) -> None:
        """Every replica of the module calls this at once. `replicas`: their group; `alone`: that of this worker."""
        config, learner = self.plan.config, self.learner
        mesh = Mesh(replicas, alone)
        rows = config.data.batch_size // config.parallel.replicas
        self._sharded: dict[torch.optim.Optimizer, Sharded] = {}
        for optimizer in learner.optimizers():
            module = _module_of(optimizer, learner.inner_modules())
            own = optimizer is learner.optimizer
            clip, passes = (config.optimizer.clip_norm, config.train.accumulate) if own else (None, 1)
            self._sharded[optimizer] = Sharded(module, optimizer, mesh, config.parallel.deepspeed, rows, clip, passes)
        _hold_shares(learner, self._sharded)
        learner.steps_instead = self._step
        self._traffic = _traffic()

    def begin(self, start: int, stop: int, checkpoint_at: int) -> None:
        super().begin(start, stop, checkpoint_at)
        self._sent_before = self._traffic.bytes
        for sharded in self._sharded.values():
            sharded.measures = True

    def end(self, start: int, stop: int) -> SegmentStats:
        for name, held_bytes in self.bytes().items():
            self.learner.record(f"memory/{name}_mib", torch.tensor(held_bytes / 2**20))
        sent = (self._traffic.bytes - self._sent_before) / (stop - start)
        self.learner.record("traffic/sent_mib", torch.tensor(sent / 2**20))
        return super().end(start, stop)

    def bytes(self) -> dict[str, int]:
        """Of what this worker holds, by category; gradients: between a backward pass and the step of this segment."""
        found = [sharded.bytes() for sharded in self._sharded.values()]
        return {name: sum(each[name] for each in found) for name in (found[0] if found else ())}

    def _step(self, optimizer: torch.optim.Optimizer) -> bool:
        return self._sharded[optimizer].step()

    def weights(self) -> dict[str, Tensor]:
        with _gathered(self._sharded.values()):
            return super().weights()

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        with _gathered(self._sharded.values(), write=True):
            super().load_weights(weights)
        self._weights_loaded()

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self._weights_loaded()

    def _weights_loaded(self) -> None:
        for sharded in self._sharded.values():
            sharded.weights_loaded()

    def nonfinite(self) -> str | None:
        """Of this replica's share."""
        for module in self.learner.inner_modules():
            for name, value in module.named_parameters():
                if not bool(getattr(value, "ds_tensor", value).isfinite().all()):
                    return name
        return None


@cache
def _traffic() -> Traffic:
    """Of this process."""
    import deepspeed.comm.comm

    return Traffic(deepspeed.comm.comm.cdb)


def _module_of(optimizer: torch.optim.Optimizer, modules: Sequence[nn.Module]) -> nn.Module:
    """The module whose weights it moves; several in one, if it moves those of several."""
    moved = {id(p) for group in optimizer.param_groups for p in group["params"]}
    theirs = [module for module in modules if any(id(p) in moved for p in module.parameters())]
    return theirs[0] if len(theirs) == 1 else nn.ModuleList(theirs)


@contextlib.contextmanager
def _gathered(sharded: Iterable[Sharded], write: bool = False) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for each in sharded:
            stack.enter_context(each.gathered(write))
        yield


def _hold_shares(holder: Holder, sharded: Mapping[torch.optim.Optimizer, Sharded]) -> None:
    """What is held is saved and loaded whole."""
    for name, thing in holder.held():
        if isinstance(thing, Holder):
            _hold_shares(thing, sharded)
        elif isinstance(thing, torch.optim.Optimizer):
            holder.holds(name, thing, sharded[thing].state, sharded[thing].load_state)
        elif isinstance(thing, nn.Module):
            of = {id(p) for p in thing.parameters()}
            mine = [each for each in sharded.values() if any(id(p) in of for p in each.weights)]
            holder.holds(name, thing, partial(_saved, thing, mine), partial(_loaded, thing, mine))


def _saved(module: nn.Module, sharded: Sequence[Sharded]) -> dict[str, Any]:
    with _gathered(sharded):
        return {name: value.detach().clone() for name, value in module.state_dict().items()}


def _loaded(module: nn.Module, sharded: Sequence[Sharded], state: Mapping[str, Any]) -> None:
    with _gathered(sharded, write=True):
        module.load_state_dict(state)
