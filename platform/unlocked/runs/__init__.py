"""What a run leaves on disk, and how it is opened again: folder, checkpoints, copies."""
