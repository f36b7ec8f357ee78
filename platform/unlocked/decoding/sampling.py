"""How a token is chosen from logits: the likeliest, or drawn from what temperature, top-k and top-p leave."""

from __future__ import annotations

import torch
from torch import Tensor

from unlocked.errors import ConfigError


def filtered(log_p: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None) -> Tensor:
    """Logits `(m, vocabulary)` to draw from: divided by the temperature, then -inf for all but the `top_k` likeliest
    tokens (Fan et al. 2018), and for all but the smallest set of likeliest ones that together have at least `top_p`
    (nucleus sampling, Holtzman et al. 2020, arXiv:1904.09751). Raises `ConfigError` for what is no such number."""
    if not 0 < temperature < float("inf"):
        raise ConfigError(f"temperature: must be greater than 0, got {temperature}; greedy takes the likeliest token")
    if top_k is not None and top_k < 1:
        raise ConfigError(f"top_k: must be at least 1, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ConfigError(f"top_p: must be greater than 0 and at most 1, got {top_p}")
    logits = log_p / temperature
    if top_k is not None and top_k < logits.shape[1]:
        kept = logits.topk(top_k).indices
        logits = torch.full_like(logits, -torch.inf).scatter(1, kept, logits.gather(1, kept))
    if top_p is not None:
        likeliest, order = logits.softmax(-1).sort(descending=True, stable=True)
        beyond = likeliest.cumsum(-1) - likeliest >= top_p  # without this one there is enough already
        beyond[:, 0] = False
        logits = logits.masked_fill(torch.zeros_like(beyond).scatter(1, order, beyond), -torch.inf)
    return logits
