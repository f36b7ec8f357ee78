"""Synthetic gradients through time: what comes after the end of a window, for truncated backpropagation.

Jaderberg et al. 2017, arXiv:1608.05343, section 3.1. A recurrent network is unrolled for a window of T steps; the
next window starts in the state s_T in which this one ended. Truncated backpropagation takes dL/ds_T of all later
windows to be zero. Here

    M(s_T)                 is injected in its place, times `scale`
    M learns by || M(s_T) - t ||^2,   t = the gradient that the next window finds at the state it starts in

t holds the next window's own loss and what M says of all later ones: bootstrapped, so credit travels further than any
window. M must learn faster than the network, or what it has learned is of weights long gone: the later window's own
weights fit whatever can be foreseen from s_T, and only what they have not yet fitted is left to be injected. So M has a
rate of its own, may see its states normalised over the minibatch (what tells one from another is small beside what they
share), may take from targets what is longer than `clip` (gradients through time have long tails), and may learn before
it is heard (`ramp`).

What the network has forgotten by s_T, M(s_T) cannot ask it to keep. With `context: start` it is M(s_T, s_0): s_0, the
state in which the window began, still has it.

The auxiliary loss asks the network itself to foresee its synthetic gradient: a linear layer A on its output at
the first step of a window learns, with weight `auxiliary`, by || A(out_1) - M(s_T) ||^2, and so does the network below
it. (The paper predicts the next boundary's from the last one's state; there that state's graph is gone, so we predict
over the same distance from the first step that is in the graph.)

This is orthogonal to how gradients cross modules: every recurrent layer that carries its state has its own M, in
whichever module it is and under whichever scheme.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unlocked.optim import build_optimizer
from unlocked.schema.keys import Config, OptimizerConfig, TimeConfig
from unlocked.schemes.sg import SGConfig, SyntheticGradient
from unlocked.schemes.state import Holder
from unlocked.seeding import derive_seed

States = list[Tensor | None]  # of every carrying layer; None if a stream begins


class TimeGradients(Holder):
    """The M of every carrying layer of one module, and what they learn from.

    Args:
        layers: those that carry, in order.
        place: of the module in the chain: M starts the same wherever it runs.
        terms: per example of which the loss is the mean; M speaks per term.
        like: a tensor on the device and in the dtype of the weights.
    """

    def __init__(self, config: Config, layers: Sequence[Any], place: int, terms: int, like: Tensor):
        time = config.scheme.time
        self._scale, self._auxiliary, self._clip, self._ramp = time.scale, time.auxiliary, time.clip, time.ramp
        self._sees_start = time.context == "start"
        self._terms, self._layers = terms, layers
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive_seed(config.seed, "time", place))
            models = nn.ModuleList(_Model(time, layer.state_size) for layer in layers).to(like)
            foresee = nn.ModuleList(nn.Linear(layer.width, layer.state_size) for layer in layers).to(like)
        self.models, self.foresee = self.holds("models", models), self.holds("foresee", foresee)
        parameters = [*self.models.parameters(), *(self.foresee.parameters() if time.auxiliary else ())]
        optimizer = build_optimizer(OptimizerConfig(lr=time.lr or config.optimizer.lr), parameters)
        self.optimizer = self.holds("optimizer", optimizer)
        # of every window whose backward pass is to come: the states it began with, those that the one before it began
        # with, and what was injected at its end
        self._windows: deque[tuple[States, States, list[Tensor]]] = deque()
        self._before: States = [None] * len(layers)
        self._left = 0  # windows so far
        self._repeated: deque[list[Tensor]] = deque()  # injections of windows that a checkpoint runs again
        self._outputs: list[Tensor | None] = [None] * len(layers)
        for i, layer in enumerate(layers):
            layer.register_forward_hook(self._note(i))

    def _note(self, i: int) -> Callable[..., None]:
        def hook(layer: nn.Module, inputs: Any, output: Tensor) -> None:
            self._outputs[i] = output

        return hook

    def enter(self) -> States:
        """The states that a window begins with, as leaves: its backward pass finds their gradients."""
        for layer in self._layers:
            if layer.carried is not None:
                layer.carried = layer.carried.detach().requires_grad_()
        return [layer.carried for layer in self._layers]

    def leave(self, starts: States, last: bool) -> Tensor | None:
        """What stands for all later windows in the loss of this one: its gradient at s_T is the injected one. None
        after the last window of a stream: nothing follows, and that is known."""
        scale = self._scale * (min(1.0, self._left / self._ramp) if self._ramp else 1.0)
        before, self._before = self._before, [None if s is None else s.detach() for s in starts]
        self._left += 1
        if last:
            self._windows.append((starts, before, []))
            return None
        ends = [layer.carried for layer in self._layers]
        if self._repeated:
            predictions = self._repeated.popleft()
        else:
            with torch.no_grad():
                predictions = [self._predict(i, *both) for i, both in enumerate(zip(ends, starts, strict=True))]
        self._windows.append((starts, before, predictions))
        terms = [
            (prediction * s).sum() * (scale / (len(s) * self._terms))
            for prediction, s in zip(predictions, ends, strict=True)
        ]
        if self._auxiliary:
            for A, output, prediction in zip(self.foresee, self._outputs, predictions, strict=True):
                assert output is not None
                terms.append((A(output[:, 0]) - prediction).square().sum() * (self._auxiliary / len(prediction)))
        self._outputs = [None] * len(self._outputs)
        return torch.stack(terms).sum()

    def learn(self, step: Callable[[torch.optim.Optimizer], object]) -> Tensor | None:
        """After the backward pass of the oldest window: M learns from the gradients at its start. The squared error per
        example, None if the window began a stream."""
        starts, before, _ = self._windows.popleft()
        errors = []
        for i, (s, start) in enumerate(zip(starts, before, strict=True)):
            if s is not None and s.grad is not None:
                target = s.grad * (len(s) * self._terms)
                if self._clip is not None:
                    target = target * (self._clip / target.norm(dim=1, keepdim=True)).clamp(max=1)  # of a zero: inf, 1
                errors.append((self._predict(i, s.detach(), start) - target).square().sum() / len(s))
        loss = torch.stack(errors).sum() if errors else None
        if loss is not None:
            loss.backward()
        step(self.optimizer)
        return loss

    def _predict(self, i: int, s: Tensor, start: Tensor | None) -> Tensor:
        """What the M of layer i says of a window that ended in s and began in `start`, None if a stream began."""
        beside = ((torch.zeros_like(s) if start is None else start),) if self._sees_start else ()
        out: Tensor = self.models[i](s, *beside)
        return out

    def state(self) -> dict[str, Any]:
        return {
            **super().state(),
            "left": self._left - len(self._windows),
            "before": self._windows[0][1] if self._windows else self._before,
            "injected": [injected for *_, injected in self._windows if injected],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Windows whose backward pass is to come are to be run again, in their order."""
        super().load_state(state)
        self._left, self._before = state["left"], state["before"]
        self._windows.clear()
        self._repeated = deque(state["injected"])


class _Model(nn.Module):
    """M of a layer whose state has `size` numbers; sees where a window ended and, if asked for, where it began."""

    def __init__(self, time: TimeConfig, size: int):
        super().__init__()
        context = (size,) if time.context == "start" else ()
        # of the minibatch alone: M is only ever asked about training data
        self.norm = (
            nn.BatchNorm1d(size * (1 + len(context)), affine=False, track_running_stats=False)
            if time.norm == "batch"
            else nn.Identity()
        )
        self.net = SyntheticGradient(SGConfig(hidden=time.hidden, norm="none"), (size,), context)

    def forward(self, *states: Tensor) -> Tensor:
        out: Tensor = self.net(*self.norm(torch.cat(states, 1)).chunk(len(states), 1))
        return out
