"""Writing with a trained network: sampling and beam search. Knows networks and data, no runs."""
