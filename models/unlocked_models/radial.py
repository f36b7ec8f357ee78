"""Radial basis functions: units that answer to inputs near a centre (Broomhead & Lowe 1988; Moody & Darken 1989)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from unlocked_models.contract import checks
from unlocked_models.contract.registry import register_model

BASES: dict[str, Callable[[Tensor], Tensor]] = {  # of a^2
    "gaussian": lambda q: torch.exp(-q),
    "multiquadric": lambda q: torch.sqrt(1 + q),
    "ricker": lambda q: (1 - q) * torch.exp(-q / 2),
}
CENTRES = ("kmeans", "examples", "normal")
MOST = 10_000  # examples that centres are found from
NEIGHBOURS = 2  # centres that a width is measured to


class RadialBasis(nn.Module):
    """h_j = phi(a_j), a_j = |x - c_j| / s_j: `(batch, ...)`, flattened, to `(batch, units)`.

    Centres c and widths s are weights, which learn as all others do. A run draws the first of them from its training
    data (`begin_from`): centres by k-means, or examples at random; and s_j is the root mean square distance of c_j to
    its two nearest neighbours (Moody & Darken 1989, section 2).
    """

    feedback_point = True

    def __init__(self, n_in: int, units: int, basis: str, centres: str):
        super().__init__()
        self.basis, self.found = basis, centres
        self.centres = nn.Parameter(torch.randn(units, n_in))
        self.log_width = nn.Parameter(torch.full((units,), 0.5 * math.log(2 * n_in)))  # a is about 1 of normal inputs

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        distance = x.square().sum(1, keepdim=True) - 2 * x @ self.centres.T + self.centres.square().sum(1)
        return BASES[self.basis](distance.clamp(min=0) * torch.exp(-2 * self.log_width))

    def begin_from(self, x: Tensor, seed: int) -> None:
        """Its first weights, given training examples `(n, ...)`. Raises `ValueError` for fewer than it has units."""
        if self.found == "normal":
            return
        units, x = len(self.centres), x.flatten(1)
        if len(x) < units:
            raise ValueError(f"model.units: {units} centres are more than the {len(x)} training examples")
        generator = torch.Generator().manual_seed(seed)
        some = x[torch.randperm(len(x), generator=generator)[:MOST]]
        if self.found == "kmeans":
            from sklearn.cluster import KMeans

            found = KMeans(units, n_init=1, random_state=seed % 2**32).fit(some.double().numpy()).cluster_centers_
            some = torch.from_numpy(found)
        with torch.no_grad():
            self.centres.copy_(some[:units])
            if units > 1:
                apart = torch.cdist(self.centres, self.centres).fill_diagonal_(torch.inf).square()
                nearest = apart.topk(min(NEIGHBOURS, units - 1), largest=False).values.mean(1).sqrt()
                self.log_width.copy_(nearest.clamp(min=1e-3 * float(nearest.mean()) + 1e-12).log())


@register_model("rbf", family="mlp")
def rbf(
    in_shape: tuple[int, ...],
    n_outputs: int,
    units: int = 100,
    basis: str = "gaussian",
    centres: str = "kmeans",
) -> Iterator[nn.Module]:
    """Radial basis function network: units phi(|x - c_j| / s_j), then a linear head.

    Shapes: `(batch, *in_shape)`, flattened, to `(batch, n_outputs)`; two blocks.

    Options: `units`; `basis` gaussian exp(-a^2), multiquadric sqrt(1 + a^2) or ricker (1 - a^2) exp(-a^2 / 2);
    `centres` kmeans or examples, of the training data, or normal, drawn without them.

    >>> [sum(p.numel() for p in block.parameters()) for block in rbf((1, 8, 8), 10, units=50)]
    [3250, 510]
    """
    checks.outputs("rbf", n_outputs)
    checks.whole("units", units)
    checks.pick(BASES, "basis", basis)
    checks.pick(dict.fromkeys(CENTRES), "centres", centres)
    yield RadialBasis(math.prod(in_shape), units, basis, centres)
    yield nn.Linear(units, n_outputs)
