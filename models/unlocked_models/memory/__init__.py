"""Networks with a memory beside their weights: what they read and write is chosen by content or by place."""

from unlocked_models.memory import hopfield, turing

__all__ = ["hopfield", "turing"]
