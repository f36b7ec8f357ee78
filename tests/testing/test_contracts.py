"""Every scheme, and small models, tasks and transforms of ours pass the contracts that users' own inherit."""

from dataclasses import replace
from pathlib import Path

import torch

from unlocked.data import DataSet, Split
from unlocked.engines import ENGINES
from unlocked.plugins import import_module
from unlocked.schemes import SCHEMES
from unlocked.schemes.proposing import Proposer
from unlocked.testing import (
    DataContract,
    EngineContract,
    ModelContract,
    SchemeContract,
    TaskContract,
    TransformContract,
)
from unlocked.testing.runs import made
from unlocked_models import Batch


class OfBoltzmannMachines(SchemeContract):
    model = {"name": "rbm", "hidden": [9, 7, 5]}
    more = {"task": "density"}

    def data(self):
        return changed(made(), lambda x: (x > 0).float())


class OfAssociativeMemories(SchemeContract):
    model = {"name": "hopfield_classic"}
    modules = 1
    more = {"task": "pattern_recall", "train": {"epochs": 1}}

    def data(self):
        """Patterns of 16 units, each its own target; 24 minibatches of them, since each is stored once."""
        data = changed(made((16,), n=192), lambda x: (x > 0).float())
        own = {name: replace(split, y=split.x) for name in ("train", "test") if (split := getattr(data, name))}
        return replace(data, task="pattern_recall", n_outputs=16, class_names=[str(i) for i in range(16)], **own)


class OfStackedNets(SchemeContract):
    model = {"name": "stacked", "hidden": [12, 10, 8]}


def changed(data, values):
    """The data set with other inputs."""
    return replace(
        data, **{name: replace(s, x=values(s.x)) for name in ("train", "test") if (s := getattr(data, name))}
    )


OF_NETS = {"hebbian": OfAssociativeMemories, "stacking": OfStackedNets}
for _name in SCHEMES:
    _base = OF_NETS.get(_name, OfBoltzmannMachines if "mlp" in SCHEMES.get(_name).refuses else SchemeContract)
    _of_whole_nets = {"modules": 1} if issubclass(SCHEMES.get(_name), Proposer) else {}
    if SCHEMES.get(_name).proposes:  # few weights: CMA-ES holds the covariance of each two
        _of_whole_nets = {"modules": 1, "model": {"name": "mlp", "hidden": [2]}}
    globals()[f"Test_{_name}"] = type(f"Test_{_name}", (_base,), {"scheme": _name, **_of_whole_nets})


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


class TestNodeClassification(TaskContract):
    task = "node_classification"

    def data(self):
        """Graphs of five nodes, some without a label."""

        def split(n: int) -> Split:
            generator = torch.Generator().manual_seed(n)
            y = torch.randint(-1, 3, (n, 5), generator=generator)
            return Split(torch.randn(n, 5, 4, generator=generator), y)

        return DataSet("made", self.task, (5, 4), 3, ["a", "b", "c"], split(24), None, split(12))


class TestLinkPrediction(TaskContract):
    task = "link_prediction"

    def data(self):
        """Graphs of five nodes with four pairs each."""

        def split(n: int) -> Split:
            generator = torch.Generator().manual_seed(n)
            ends = torch.randint(5, (n, 4, 2), generator=generator)
            labels = torch.tensor([1, 0, 1, -1]).expand(n, 4)[..., None]
            return Split(torch.randn(n, 5, 4, generator=generator), torch.cat([ends, labels], -1))

        return DataSet("made", self.task, (5, 4), 3, ["a", "b", "c"], split(24), None, split(12))


class TestReconstruction(TaskContract):
    task = "reconstruction"

    def data(self):
        return changed(made(), torch.sigmoid)


class TestMaskedImageModelling(TaskContract):
    task = "masked_image_modelling"

    def data(self):
        """Nine patches of four numbers, of which five are hidden."""

        def split(n: int) -> Split:
            generator = torch.Generator().manual_seed(n)
            hidden = (torch.rand(n, 9, generator=generator).argsort(1) < 5)[:, :, None]
            y = torch.cat([hidden, hidden * torch.randn(n, 9, 4, generator=generator)], 2)
            return Split(torch.randn(n, 1, 6, 6, generator=generator), y)

        return DataSet("made", self.task, (1, 6, 6), 4, ["a", "b", "c", "d"], split(24), None, split(12))


class TestDigits(DataContract):
    data = "digits"


class TestInProcess(EngineContract):
    engine = "inprocess"


class TestThread(EngineContract):
    """An engine of a user's own, in a file of its own."""

    engine = "thread"

    @classmethod
    def setup_class(cls):
        import_module(str(Path(__file__).parents[1] / "loop" / "own_engine.py"), "test")

    @classmethod
    def teardown_class(cls):
        ENGINES._entries.pop("thread")
        ENGINES._facts.pop("thread")


class TestFlip(TransformContract):
    transform = "flip"


class TestCutout(TransformContract):
    transform = "cutout"
    options = {"size": 3}


class OfWords(TransformContract):
    def batch(self):
        x = torch.randint(4, 20, (12, 9), generator=torch.Generator().manual_seed(0))
        return Batch(x, torch.zeros_like(x))


class TestMasking(OfWords):
    transform = "masking"
    options = {"hidden": 4, "first": 5, "vocabulary": 20}


class TestSkipGram(OfWords):
    transform = "skipgram"


class TestWindows(OfWords):
    transform = "windows"


class TestCbow(OfWords):
    transform = "cbow"
