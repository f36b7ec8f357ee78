"""The examples of docs/ pass the contracts that their pages tell a reader to inherit."""

import re
from pathlib import Path

import pytest

from unlocked.callbacks import CALLBACKS
from unlocked.data.dataset import DATA
from unlocked.optim import OPTIMIZERS
from unlocked.schemes import SCHEMES
from unlocked.tasks import LOSSES, METRICS, TASKS, load
from unlocked.testing import (
    CallbackContract,
    DataContract,
    LossContract,
    MetricContract,
    ModelContract,
    OptimizerContract,
    SchemeContract,
    TaskContract,
)
from unlocked_models import MODELS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="class", autouse=True)
def registered(request):
    """The example of the class, as its page has it."""
    page, name, *entries = request.cls.example
    code = re.search(rf"<!-- example: {name}.py -->\n```python\n(.*?)```", (DOCS / page).read_text(), re.S)[1]
    exec(code, {"__name__": name})
    yield
    for registry, entry in entries:
        registry._entries.pop(entry, None)
        registry._facts.pop(entry, None)


class TestDRTP(SchemeContract):
    example = ("own-scheme.md", "my_scheme", (SCHEMES, "drtp"))
    scheme = "drtp"
    options = {"density": 0.5}


class TestMultilabel(TaskContract):
    example = ("own-task.md", "my_task", (TASKS, "multilabel"), (DATA, "bits"))
    task = "multilabel"

    def data(self):
        return load("bits", validation=0.2, seed=0)


class TestBits(DataContract):
    example = ("own-task.md", "my_task", (TASKS, "multilabel"), (DATA, "bits"))
    data = "bits"


class TestMyWideNet(ModelContract):
    example = ("own-model.md", "my_yielding_model", (MODELS, "my_wide_net"))
    model = {"name": "my_wide_net", "width": 16}


class TestMyNet(ModelContract):
    example = ("own-model.md", "my_model", (MODELS, "my_net"))
    model = {"name": "my_net", "width": 16}


class TestRobust(LossContract):
    example = ("own-loss.md", "my_loss", (LOSSES, "robust"))
    loss = "robust"
    options = {"q": 0.5}


class TestWorstRecall(MetricContract):
    example = ("own-metric.md", "my_metric", (METRICS, "worst_recall"))
    metric = "worst_recall"
    options = {"classes": 2}


class TestWeightNorms(CallbackContract):
    example = ("own-callback.md", "my_callback", (CALLBACKS, "weight_norms"))
    callback = "weight_norms"
    options = {"least": 0.01}


class TestLion(OptimizerContract):
    example = ("own-optimizer.md", "my_optimizer", (OPTIMIZERS, "lion"))
    optimizer = "lion"
    options = {"memory": 0.9}
