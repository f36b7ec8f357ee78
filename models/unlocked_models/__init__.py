"""The zoo: architectures as chains of plain torch blocks. Knows nothing of schemes, Ray or MLflow."""

from unlocked_models import alexnet, cnn, inception, lenet, mlp, resnet, vgg  # each registers its models
from unlocked_models.chain import Batch, Chain, build
from unlocked_models.registry import MODELS, register_model

__all__ = [
    "MODELS",
    "Batch",
    "Chain",
    "alexnet",
    "build",
    "cnn",
    "inception",
    "lenet",
    "mlp",
    "register_model",
    "resnet",
    "vgg",
]
