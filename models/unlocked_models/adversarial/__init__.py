"""Adversarial networks: several nets, which train against each other."""

from unlocked_models.adversarial import cycle, dcgan, gan, growing, style

__all__ = ["cycle", "dcgan", "gan", "growing", "style"]
