"""Control: a net acts in an environment, and is judged by the rewards of its episodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from unlocked.data import DataSet, RawData
from unlocked.data.arrays import wrong
from unlocked.data.loading.checks import Arrays
from unlocked.data.sets.environments import EXTRA, Environment, scale_of
from unlocked.errors import RunFailed
from unlocked.tasks.base import Rows, Task, register_task
from unlocked.tasks.predicting import Columns
from unlocked_models.contract.batch import Batch, Example
from unlocked_models.contract.chain import Chain


@dataclass(frozen=True)
class Episodes:
    """One for each start: the sum of its rewards, its length and its last observation."""

    returns: np.ndarray  # (n,)
    steps: np.ndarray  # (n,)
    last: np.ndarray  # (n, observations)


@register_task("control")
class Control(Task):
    """Acting in an environment of gymnasium; `return` is the mean sum of an episode's rewards, the loss its negative.

    A net maps an observation to a value for each discrete action, of which the largest is taken, or to continuous
    actions, clipped to what the environment allows. Nothing says which action was right.
    """

    monitor = "return"
    higher_is_better = True
    also = ("steps",)
    climbs = "return"
    only_tried: ClassVar[str | None] = (
        "its loss is of what the environment makes of the net's actions, which has no derivative, and no action has a "
        "right answer"
    )

    def __init__(self) -> None:
        self._made: tuple[Environment, list[Any]] | None = None  # environments of this process, one for each start

    def check(self, name: str, raw: RawData, splits: dict[str, Arrays]) -> list[str]:
        """`y (n,)` is the seed of each start; `class_names` has the actions."""
        for part, (x, y, _) in splits.items():
            if y.shape != (len(x),) or y.dtype.kind not in "iu":
                raise wrong(name, f"y_{part} is {y.dtype} of shape {y.shape}; it needs a seed for each start")
        if raw.class_names is None:
            raise wrong(name, "class_names is missing: it names the actions")
        return list(raw.class_names)

    def output_shape(self, example: Example) -> tuple[int, ...]:
        return (example.n_outputs,)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        raise AssertionError("no loss of an action exists; schemes that need one are refused")

    def tried(self, chain: Chain, h_in: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss, and the last observations."""
        found = self.episodes(chain, batch)
        return torch.tensor(-found.returns.mean()), torch.from_numpy(found.last)

    def observe(self, chain: Chain, h_in: Tensor, output: Tensor, batch: Batch) -> Tensor:
        """`(batch, 2)`: return and length of each episode."""
        found = self.episodes(chain, batch)
        return torch.from_numpy(np.stack([found.returns, found.steps], 1))

    def metrics(self, kept: Tensor, target: Tensor) -> dict[str, float]:
        returns, steps = kept.double().mean(0).tolist()
        return {"loss": -returns, "return": returns, "steps": steps}

    def episodes(self, chain: Chain, batch: Batch) -> Episodes:
        """All starts of a minibatch side by side, each to its end: one pass of the net for a step of all of them."""
        made, n = Environment.of(batch[EXTRA]), len(batch.y)
        envs = self._environments(made, n)
        scale, discrete = scale_of(envs[0]), hasattr(envs[0].action_space, "n")
        like = batch.x if batch.x is not None else torch.empty(0)
        pairs = zip(envs, batch.y.tolist(), strict=True)
        last = np.stack([env.reset(seed=seed)[0] for env, seed in pairs]).astype(np.float32)
        returns, steps, live = np.zeros(n), np.zeros(n), np.arange(n)
        with torch.no_grad():
            while len(live):
                seen = torch.from_numpy(last[live] / scale).to(like)
                out = chain(seen, Batch(seen, batch.y[torch.from_numpy(live)])).double().cpu().numpy()
                acts = out.argmax(1).tolist() if discrete else self._clipped(out, envs[0].action_space)
                on = []
                for i, act in zip(live.tolist(), acts, strict=True):
                    observed, reward, ended, cut, _ = envs[i].step(act)
                    if np.shape(observed) != last.shape[1:]:
                        raise RunFailed(
                            f"data.options.environment: an observation of {made.id} has the shape "
                            f"{np.shape(observed)}, its space {last.shape[1:]}"
                        )
                    last[i] = observed
                    returns[i] += reward
                    steps[i] += 1
                    if not (ended or cut):
                        on.append(i)
                live = np.array(on, dtype=int)
        return Episodes(returns, steps, (last / scale).astype(np.float64))

    @staticmethod
    def _clipped(out: np.ndarray, space: Any) -> list[np.ndarray]:
        return list(np.clip(np.nan_to_num(out), space.low, space.high).astype(np.float32))

    def _environments(self, spec: Environment, n: int) -> list[Any]:
        """Those of the last minibatch, if they are of this kind, and more if they are too few."""
        if self._made is None or self._made[0] != spec:
            self._made = (spec, [])
        made = self._made[1]
        made += [spec.make() for _ in range(n - len(made))]
        return made[:n]

    def predicted(self, output: Tensor, batch: Batch, data: DataSet) -> Columns | None:
        """Of observations: the value of each action."""
        return {name: output[:, i].double().tolist() for i, name in enumerate(data.class_names)}

    def context_shape(self, example: Example) -> tuple[int, ...]:
        return ()

    def context(self, rows: Rows, example: Example, like: Tensor) -> Tensor:
        raise AssertionError("no scheme that conditions on a target trains a net that acts")
