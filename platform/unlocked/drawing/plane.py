"""Points of many numbers in the plane, by t-SNE (van der Maaten and Hinton 2008)."""

from __future__ import annotations

import numpy as np

LEAST = 8  # points, of which t-SNE tells more than they do


def in_the_plane(x: np.ndarray, perplexity: float, seed: int = 0, steps: int = 1000) -> np.ndarray:
    """`x (n, features)` in the plane, `(n, 2)`; the same for the same points.

    Points that are few, or all alike, as of a representation that has collapsed, are shown by their first two numbers:
    their principal axes have no length to begin with, and scikit-learn's t-SNE then ends the process.
    """
    x = np.nan_to_num(x)
    if len(x) < LEAST or np.ptp(x, axis=0).max() <= 1e-12 * np.abs(x).max():
        return x[:, :2] if x.shape[1] > 1 else np.repeat(x, 2, 1)
    from sklearn.manifold import TSNE

    begin = "pca" if x.shape[1] > 1 else "random"
    plane = TSNE(2, perplexity=perplexity, init=begin, random_state=seed, max_iter=steps)
    return np.asarray(plane.fit_transform(x))
