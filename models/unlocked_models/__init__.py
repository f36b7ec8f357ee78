"""The zoo: architectures as chains of plain torch blocks. Knows nothing of schemes, Ray or MLflow."""

from unlocked_models.chain import Batch, Chain, build
from unlocked_models.registry import MODELS, register_model

__all__ = ["MODELS", "Batch", "Chain", "build", "register_model"]
