"""Files as they come: where they are found, and readers of formats, which know nothing of data sets."""
