"""Encoder-decoders: recurrent with attention, and the Transformer of Vaswani et al. 2017."""

from unlocked_models.seq2seq import recurrent, transformer

__all__ = ["recurrent", "transformer"]
