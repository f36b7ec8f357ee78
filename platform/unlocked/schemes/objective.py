"""What stands above a net: all that a scheme needs of it is the loss and e = dL/dh_K.

The objective of most nets is the loss of their task. That of a generator is a loss of another net's output:
`Through(discriminator, loss)` gives e by the exact vector-Jacobian product through that net, which learns nothing from
it. So between nets the gradient is exact under every scheme; inside a net it is the scheme's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from unlocked.tasks import Task
from unlocked_models.contract.batch import Batch


class Objective(ABC):
    """Called with a net's output and its minibatch: the loss `()` and its gradient at the output, both without graph.

    >>> loss, e = OfTask(Classification())(torch.zeros(2, 4), Batch(None, torch.tensor([0, 3])))
    >>> e.shape
    torch.Size([2, 4])
    """

    @abstractmethod
    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """The loss of a minibatch, in the graph of `output` and of nothing else that learns."""

    def __call__(self, output: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        output = output.detach().requires_grad_()
        loss = self.loss(output, batch)
        (e,) = torch.autograd.grad(loss, output)
        return loss.detach(), e


class OfTask(Objective):
    """The task's loss of a minibatch, or of one of the equal parts of a `whole`: a replica's, a microbatch's."""

    def __init__(self, task: Task):
        self._task = task

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        return self._task.loss_of(output, batch)


class Loss(Objective):
    """Any function of the output and the minibatch."""

    def __init__(self, function: Callable[[Tensor, Batch], Tensor]):
        self._function = function

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        return self._function(output, batch)


class Net(Protocol):
    """What a gradient passes through: a `Chain`, or a net whose modules several learners hold."""

    def __call__(self, h: Tensor, batch: Batch) -> Tensor: ...

    def modules(self) -> Iterable[nn.Module]: ...


class Through(Objective):
    """`objective` of the output of `net`, which is given the output of the net that learns.

    The weights of `net` get no gradient and its running statistics stay as they are.
    """

    def __init__(self, net: Net, objective: Objective):
        self._net, self._objective = net, objective

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        with left_alone(self._net):
            return self._objective.loss(self._net(output, batch), batch)


@contextmanager
def left_alone(net: Net) -> Iterator[None]:
    """Inside it a pass through the net makes no graph to its weights, and moves copies of its buffers."""
    layers = list(net.modules())
    weights = [p for layer in layers for p in layer.parameters(recurse=False) if p.requires_grad]
    buffers = [(layer._buffers, dict(layer._buffers)) for layer in layers if layer._buffers]
    for p in weights:
        p.requires_grad_(False)
    for held, own in buffers:  # copies, not values put back: the backward pass may need those of its forward pass
        held.update({name: buffer if buffer is None else buffer.clone() for name, buffer in own.items()})
    try:
        yield
    finally:
        for p in weights:
            p.requires_grad_()
        for held, own in buffers:
            held.update(own)
