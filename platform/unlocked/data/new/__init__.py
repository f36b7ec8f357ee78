"""New inputs from files, read as those of a data set were, for a net that was trained on it."""
