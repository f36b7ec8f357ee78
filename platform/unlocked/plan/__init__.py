"""From a configuration to a frozen plan: blocks, cuts, lag, places, and all that does not fit together."""
