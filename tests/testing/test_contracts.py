"""Every scheme, and small models, tasks and transforms of ours pass the contracts that users' own inherit."""

from unlocked.schemes import SCHEMES
from unlocked.testing import DataContract, ModelContract, SchemeContract, TaskContract, TransformContract

for _name in SCHEMES:
    globals()[f"Test_{_name}"] = type(f"Test_{_name}", (SchemeContract,), {"scheme": _name})


class TestSyntheticInputs(SchemeContract):
    scheme = "cdni"
    options = {"synthetic_inputs": True, "sg": {"hidden": [6]}, "inputs": {"hidden": [7]}}


class TestFeedbackToEveryLayer(SchemeContract):
    scheme = "dfa"
    options = {"feedback": {"granularity": "layer"}}


class TestMLP(ModelContract):
    model = {"name": "mlp", "hidden": [9, 7], "norm": "batch"}


class TestCNN(ModelContract):
    model = {"name": "cnn", "channels": [4, 6]}


class TestClassification(TaskContract):
    task = "classification"


class TestReconstruction(TaskContract):
    task = "reconstruction"

    def data(self):
        return self.unit_data()

    def unit_data(self):
        from dataclasses import replace

        from unlocked.testing.runs import made

        data = made()
        squashed = {name: replace(s, x=s.x.sigmoid()) for name, s in (("train", data.train), ("test", data.test))}
        return replace(data, **squashed)


class TestDigits(DataContract):
    data = "digits"


class TestFlip(TransformContract):
    transform = "flip"
