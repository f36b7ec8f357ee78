"""Experience replay: outputs of the nets before the one that learns, from earlier steps, in the place of some of now.

A discriminator that sees what was made long ago does not forget it (Pfau & Vinyals 2016, arXiv:1610.01945; Shrivastava
et al. 2017, section 2.3, for images). Each module of the net keeps the targets of what is replayed, and the first one
the outputs themselves: all draw from (seed, phase, pass) alone, so they agree without a message.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from unlocked.seeding import derive_seed, step_seed
from unlocked.tasks.phases import Replay
from unlocked_models.contract.batch import Batch


class Replayed:
    """The buffer of one module in one phase. Its state is a part of the module's."""

    def __init__(self, options: Replay, seed: int, phase: str):
        self._options, self._seed = options, derive_seed(seed, "replay", phase)
        self.h: Tensor | None = None  # (kept, *shape), of the first module alone
        self.y: Tensor | None = None

    def mix(self, u: int, h: Tensor, batch: Batch, holds_outputs: bool) -> tuple[Tensor, Batch]:
        """What the net learns from in pass u. After it the buffer has taken in some of the outputs of now."""
        generator, y = torch.Generator().manual_seed(step_seed(self._seed, u)), batch.y
        kept, n = 0 if self.y is None else len(self.y), len(y)
        some = int(self._options.share * n)
        now, then = torch.randperm(n, generator=generator)[:some], torch.randperm(kept, generator=generator)[:some]
        stored = torch.randperm(n, generator=generator)
        fresh = stored[: max(0, min(n, self._options.size - kept))]  # while there is room, all of them
        over = stored[len(fresh) : max(some, len(fresh))]
        at = torch.randperm(kept, generator=generator)[: len(over)]
        mixed, self.y = _exchange(y, self.y, now, then, fresh, over, at)
        if not holds_outputs:
            return h, replace(batch, y=mixed)
        mixed_h, self.h = _exchange(h, self.h, now, then, fresh, over, at)
        return mixed_h, replace(batch, y=mixed)

    def state(self) -> dict[str, Any]:
        return {"h": self.h, "y": self.y}

    def load_state(self, state: dict[str, Any]) -> None:
        self.h, self.y = state["h"], state["y"]


def _exchange(
    values: Tensor, kept: Tensor | None, now: Tensor, then: Tensor, fresh: Tensor, over: Tensor, at: Tensor
) -> tuple[Tensor, Tensor]:
    """`values` with those at `now` replaced by what is kept at `then`, and what is kept afterwards: also values at
    `fresh`, and those at `over` in the places `at`."""
    kept = values[:0].detach() if kept is None else kept
    rows = now[: len(then)]
    mixed = values.clone()
    mixed[rows] = kept[then]
    after = kept.clone()
    after[at] = values.detach()[over[: len(at)]]
    return mixed, torch.cat([after, values.detach()[fresh]])
