"""The zoo: architectures as chains of plain torch blocks. Knows nothing of schemes, Ray or MLflow.

`contract` is what every model follows, `layers` what several families share; then one file or folder per family.
"""

# each family registers its models
from unlocked_models import adversarial, autoencoder, boltzmann, cnn, graph, mlp, recurrent, seq2seq, transformer
from unlocked_models.contract.batch import Batch, Example, Ragged
from unlocked_models.contract.chain import Chain, build
from unlocked_models.contract.nets import Net
from unlocked_models.contract.registry import MODELS, register_model

__all__ = [
    "MODELS",
    "Batch",
    "Chain",
    "Example",
    "Net",
    "Ragged",
    "adversarial",
    "autoencoder",
    "boltzmann",
    "build",
    "cnn",
    "graph",
    "mlp",
    "recurrent",
    "register_model",
    "seq2seq",
    "transformer",
]
