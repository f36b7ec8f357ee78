"""What every model follows: the chain of blocks, the registry, checks of options."""
