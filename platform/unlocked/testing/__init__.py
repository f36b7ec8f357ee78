"""Contract tests that your own model, scheme, task, data set or transform inherits: what every one of ours passes.

    from unlocked.testing import SchemeContract
    import my_scheme

    class TestMine(SchemeContract):
        scheme = "mine"

`pytest` collects them as it does any class. They train small nets in this process, a few seconds in all.
"""

from unlocked.testing.data import DataContract
from unlocked.testing.models import ModelContract
from unlocked.testing.schemes import SchemeContract
from unlocked.testing.tasks import TaskContract
from unlocked.testing.transforms import TransformContract

__all__ = ["DataContract", "ModelContract", "SchemeContract", "TaskContract", "TransformContract"]
