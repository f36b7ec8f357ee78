"""The zoo: architectures as chains of plain torch blocks. Knows nothing of schemes, Ray or MLflow.

`contract` is what every model follows, `layers` what several families share; then one file or folder per family, which
is registered by lying here.
"""

from importlib import import_module
from pkgutil import iter_modules

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
    "build",
    "register_model",
]

for _family in iter_modules(__path__):
    import_module(f"{__name__}.{_family.name}")
