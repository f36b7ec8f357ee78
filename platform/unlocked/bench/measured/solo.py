"""A module that runs alone, on noise: what no scheme with this cut can beat without doing less work."""

from __future__ import annotations

import time

import torch

from unlocked.bench.measured.measure import peak_rss_mb
from unlocked.engine.module import ModuleRunner
from unlocked.engine.segments import SegmentStats
from unlocked_models.contract.batch import Batch

INPUTS = 4  # drawn beforehand and taken in turn, as data is: not always the same lines of the cache


def run_alone(module: ModuleRunner, steps: int) -> SegmentStats:
    """Forward, backward and update of the stage's module, without links and without waiting.

    The last module has the loss; the others get a gradient that has their output's shape and is there at
    once. No data is read, no label encoded, no synthetic gradient computed.
    """
    learner, spec = module.learner, module.learner.spec
    batch_size = module.plan.config.data.batch_size
    generator = torch.Generator().manual_seed(spec.index)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(batch_size, *shape, generator=generator, dtype=module.dtype).to(module.device)

    def ids(below: int, *shape: int) -> torch.Tensor:
        return torch.randint(below, (batch_size, *shape), generator=generator).to(module.device)

    example = spec.example
    xs = [
        ids(example.vocabulary, *example.in_shape) if example.vocabulary else noise(*example.in_shape)
        for _ in range(INPUTS)
    ]
    inputs = xs if spec.is_first else [noise(*spec.in_shape) for _ in range(INPUTS)]
    gradients = [noise(*spec.out_shape) / batch_size for _ in range(INPUTS)]
    labels = noise(*example.y_shape) if example.y_real else ids(example.n_outputs, *example.y_shape)
    begin = time.perf_counter()
    for t in range(steps):
        h_in = inputs[t % INPUTS]
        if not spec.is_first:
            h_in = h_in.detach().requires_grad_()  # the module below wants its gradient
        batch = Batch(xs[t % INPUTS], labels)
        h, local = learner.run_chain(h_in, batch)
        if spec.is_last:
            loss = learner.task.loss(h, learner.task.target(batch))
            (loss if local is None else loss + local).backward()
        elif local is not None:
            torch.autograd.backward([h, local], [gradients[t % INPUTS], None])
        elif h.requires_grad:
            h.backward(gradients[t % INPUTS])
        learner.update()
    return SegmentStats(0, steps, time.perf_counter() - begin, 0.0, 0.0)


def memory(module: ModuleRunner) -> float:
    """The worker's peak of resident memory, MB."""
    return peak_rss_mb()
