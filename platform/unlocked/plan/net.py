"""The blocks of a net as a plan looks at them: each kind is built once, and nothing of them is kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from unlocked.blame import knowing_of_ctrl_c, place, said
from unlocked.config import Config
from unlocked.errors import ConfigError, UnlockedError, reason
from unlocked.plan.blocks import build_blocks, shapes_alone
from unlocked_models.contract.batch import Example
from unlocked_models.contract.chain import Chain

# Parameters below which a plan runs two examples through the real blocks: the first operation on "meta" makes torch
# import a second's worth of modules, more than such a pass costs. Also numbers that its blocks give of two examples,
# below which that pass may also go backward.
SMALL = 20_000_000


class Net:
    """`name`: of one of several nets of a model; None: of its only one."""

    def __init__(self, config: Config, example: Example, name: str | None = None):
        self._config, self._example, self._name = config, example, name

    @cached_property
    def meta(self) -> list[nn.Module]:
        """Without memory: names, shapes and types of everything."""
        with shapes_alone():
            return self._build()

    @cached_property
    def real(self) -> list[nn.Module]:
        """With the weights that a run begins with."""
        with torch.device("cpu"):
            return self._build()

    @cached_property
    def small(self) -> bool:
        return sum(p.numel() for block in self.meta for p in block.parameters()) < SMALL

    @property
    def device(self) -> torch.device:
        return torch.device("cpu" if self.small else "meta")

    @property
    def blocks(self) -> list[nn.Module]:
        """For dry passes, on `device`."""
        return self.real if self.small else self.meta

    def for_training(self, shapes: Sequence[tuple[int, ...]]) -> list[nn.Module]:
        """For passes in training mode, which change them; `shapes`: of outputs that are kept."""
        return self.blocks if 2 * sum(map(math.prod, shapes)) <= SMALL else self.meta

    def weights(self) -> dict[str, tuple[int, ...]]:
        """Shapes of weights and buffers by their keys in a checkpoint."""
        return {key: tuple(x.shape) for key, x in Chain(self.meta).state_dict().items() if isinstance(x, Tensor)}

    def _build(self) -> list[nn.Module]:
        try:
            with knowing_of_ctrl_c() as is_ctrl_c:
                return build_blocks(self._config, self._example, self._name)
        except UnlockedError:
            raise
        except BaseException as error:  # a user's model may raise anything
            if is_ctrl_c(error):
                raise
            raise ConfigError(cannot_build(self._config.model["name"], error)) from None


def cannot_build(model: str, error: BaseException) -> str:
    """One line of what building `model` raised: where a user's own code failed, or what ours says of a key."""
    why, at = reason(error), place(error)
    if why.startswith("model."):
        return why
    return f"model.name: {model} failed at {at}: {said(error)}" if at is not None else f"model: {why}"
