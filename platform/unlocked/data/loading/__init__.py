"""From what a data function returns to a `DataSet`: checked, split, normalised."""
