"""What the platform costs and what decoupling gains, measured in pairs: `unlocked bench`.

On a shared machine absolute times mean little: a step takes half as long again when a neighbour wakes. So
everything that is compared runs in turn within one round, and only ratios of the same round are reported,
with their median, least and greatest over the rounds and the share of the CPU that others took.
"""
