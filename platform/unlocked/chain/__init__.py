"""From a chain of blocks to K modules."""

from unlocked.chain.partition import WRITING, block_costs, operations, partition

__all__ = ["WRITING", "block_costs", "operations", "partition"]
