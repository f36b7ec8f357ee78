"""Ray workers: the cluster or a private one, the actors, their pulse and their end."""
