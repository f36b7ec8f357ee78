"""The zoo: architectures as chains of plain torch blocks. Knows nothing of schemes, Ray or MLflow."""

from unlocked_models import (  # each registers its models
    alexnet,
    autoencoders,
    autoencoders_conv,
    autoencoders_recurrent,
    autoencoders_sparse_coding,
    autoencoders_variational,
    cnn,
    inception,
    lenet,
    mlp,
    recurrent,
    resnet,
    seq2seq,
    transformer,
    transformer_seq2seq,
    vgg,
)
from unlocked_models.chain import Batch, Chain, Example, build
from unlocked_models.registry import MODELS, register_model

__all__ = [
    "MODELS",
    "Batch",
    "Chain",
    "Example",
    "alexnet",
    "autoencoders",
    "autoencoders_conv",
    "autoencoders_recurrent",
    "autoencoders_sparse_coding",
    "autoencoders_variational",
    "build",
    "cnn",
    "inception",
    "lenet",
    "mlp",
    "recurrent",
    "register_model",
    "resnet",
    "seq2seq",
    "transformer",
    "transformer_seq2seq",
    "vgg",
]
