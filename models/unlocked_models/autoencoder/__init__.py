"""Autoencoders: fully connected, convolutional, recurrent, sparse coding, variational."""

from unlocked_models.autoencoder import conv, plain, recurrent, sparse_coding, variational

__all__ = ["conv", "plain", "recurrent", "sparse_coding", "variational"]
