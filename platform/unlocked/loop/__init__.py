"""The training loop: segments of steps, evaluation, checkpoints, restarts."""
