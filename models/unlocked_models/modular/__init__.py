"""Networks of networks: experts of which every example asks a few, and nets of two views that an association joins."""

from unlocked_models.modular import bam, experts, two_way

__all__ = ["bam", "experts", "two_way"]
