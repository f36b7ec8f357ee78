"""Contract tests that your own model, scheme, task, loss, metric, callback, optimiser, data set, transform or engine
inherits, as ours do.

    from unlocked.testing import SchemeContract
    import my_scheme

    class TestMine(SchemeContract):
        scheme = "mine"

`pytest` collects them as it does any class. They train small nets in this process, a few seconds in all.
"""

from unlocked.testing.callbacks import CallbackContract
from unlocked.testing.data import DataContract
from unlocked.testing.engines import EngineContract
from unlocked.testing.functions import LossContract, MetricContract
from unlocked.testing.models import ModelContract
from unlocked.testing.optimizers import OptimizerContract
from unlocked.testing.schemes import SchemeContract
from unlocked.testing.tasks import TaskContract
from unlocked.testing.transforms import TransformContract

__all__ = [
    "CallbackContract",
    "DataContract",
    "EngineContract",
    "LossContract",
    "MetricContract",
    "ModelContract",
    "OptimizerContract",
    "SchemeContract",
    "TaskContract",
    "TransformContract",
]
