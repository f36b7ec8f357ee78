"""Text as ids, and what is said of words: tokenisers, pairs of sentences, classes, vectors."""
