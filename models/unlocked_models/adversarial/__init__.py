"""Adversarial networks: several nets, which train against each other."""

from unlocked_models.adversarial import dcgan, gan

__all__ = ["dcgan", "gan"]
