"""From a chain of blocks to K modules."""

from unlocked.chain.partition import block_costs, partition

__all__ = ["block_costs", "partition"]
