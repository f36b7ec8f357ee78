"""Tables and series: columns as features, targets, and what a table shows of itself."""
