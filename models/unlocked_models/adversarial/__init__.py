"""Adversarial networks: several nets, which train against each other."""

from unlocked_models.adversarial import gan

__all__ = ["gan"]
