"""What the exactness tests share: made data, runs in float64, and the plain loop they are held against."""

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from unlocked.bench.measured.plain import OBJECTIVES, losses
from unlocked.callbacks import CALLBACKS
from unlocked.config import Config, from_tree, load_config
from unlocked.data import DATA, DataSet, Split, TrainBatches
from unlocked.data.transform import TRANSFORMS
from unlocked.engine.group import InProcessGroup
from unlocked.engines import ENGINES
from unlocked.loop.train import Silent
from unlocked.optim import OPTIMIZERS
from unlocked.plan.blocks import build_blocks
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.schemes import SCHEMES
from unlocked.seeding import derive_seed
from unlocked.tasks import LOSSES, METRICS, TASKS
from unlocked_models import MODELS, Batch
from unlocked_models.autoencoder.plain import code_block

torch.set_num_threads(1)  # one order of additions: runs compare bit for bit

ROOT = Path(__file__).parents[1]
BASE = {
    "data": {"name": "digits", "batch_size": 8, "validation": 0.0},
    "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
    "train": {"epochs": 4, "precision": "fp64"},
    "parallel": {"engine": "inprocess", "device": "cpu"},
}


class Lab:
    """Small runs, each a few milliseconds."""

    def __init__(self):
        self._plans = {}  # a plan costs more than the run

    def data(self, shape=(1, 8, 8), n=48, classes=5, seed=0) -> DataSet:
        """Noise with random labels: enough for anything that must hold exactly."""
        generator = torch.Generator().manual_seed(seed)
        train, test = (
            Split(torch.randn(n, *shape, generator=generator), torch.randint(classes, (n,), generator=generator))
            for _ in range(2)
        )
        return DataSet("made", "classification", shape, classes, [str(c) for c in range(classes)], train, None, test)

    def stream(self, length=4, vocabulary=7, n=24, stretch=None, seed=0) -> DataSet:
        """Random tokens in windows that go on in each other."""
        generator = torch.Generator().manual_seed(seed)

        def split() -> Split:
            ids = torch.randint(1, vocabulary, (n * length + 1,), generator=generator)
            return Split(ids[:-1].view(n, length), ids[1:].view(n, length))

        names = [str(i) for i in range(vocabulary)]
        return DataSet(
            "made",
            "language_modelling",
            (length,),
            vocabulary,
            names,
            split(),
            None,
            split(),
            symbols=names,
            ordered=True,
            stretch=stretch,
        )

    def sentences(self, length=5, vocabulary=7, n=18, classes=5, seed=0) -> DataSet:
        """Random tokens, each row as long as it happens to be, with random labels."""
        generator = torch.Generator().manual_seed(seed)

        def split() -> Split:
            ids = torch.randint(1, vocabulary, (n, length), generator=generator)
            long = torch.randint(1, length + 1, (n, 1), generator=generator)
            return Split(ids * (torch.arange(length) < long), torch.randint(classes, (n,), generator=generator))

        names = [str(i) for i in range(max(vocabulary, classes))]
        return DataSet(
            "made",
            "classification",
            (length,),
            classes,
            names[:classes],
            split(),
            None,
            split(),
            symbols=names[:vocabulary],
        )

    def pairs(self, source=5, target=4, vocabulary=9, classes=8, n=18, seed=0) -> DataSet:
        """Random sequences of random lengths with random translations."""
        generator = torch.Generator().manual_seed(seed)

        def tokens(length, most):
            ids = torch.randint(4, most, (n, length), generator=generator)
            last = torch.randint(length, (n, 1), generator=generator)
            places = torch.arange(length)
            return ids.masked_fill(places == last, 2).masked_fill(places > last, 0)

        train, test = (Split(tokens(source, vocabulary), tokens(target, classes)) for _ in range(2))
        names = [str(c) for c in range(max(vocabulary, classes))]
        return DataSet(
            "pairs", "translation", (source,), classes, names[:classes], train, None, test, symbols=names[:vocabulary]
        )

    def config(self, **tree):
        merged = {
            key: {**BASE.get(key, {}), **value} if isinstance(value, dict) else value
            for key, value in {**BASE, **tree}.items()
        }
        return from_tree(merged)

    def plan(self, data=None, /, **tree):
        data = data or self.data()
        key = repr((tree, data.example, data.stretch, len(data.train)))
        if key not in self._plans:
            self._plans[key] = make_plan(self.config(**tree), data)
        return self._plans[key]

    def start(self, data=None, /, **tree) -> InProcessGroup:
        data = data or self.data()
        return InProcessGroup(self.plan(data, **tree), data)

    def whole(self, preset, *words) -> tuple[InProcessGroup, DataSet]:
        """A preset after all its steps, in this process."""
        config = load_config(preset, ["tracking.uri=off", *words])
        data = load_data(config)
        plan = make_plan(config, data)
        group = InProcessGroup(plan, data)
        for _ in group.run([(0, plan.total_steps)], plan.total_steps):
            pass
        return group, data

    def train(self, group, start, stop, checkpoint_at=None) -> list[float]:
        """Losses of steps start..stop-1; `states(checkpoint_at)` may be called behind them."""
        at = group.modules[0].plan.total_steps if checkpoint_at is None else checkpoint_at
        (stats,) = group.run([(start, stop)], at)
        return stats[-1].series["loss"]

    def weights(self, group) -> dict[str, torch.Tensor]:
        return {key: value for module in group.modules for key, value in module.weights().items()}

    def parameters(self, group) -> dict[str, torch.Tensor]:
        """As `weights`, without buffers."""
        found = {}
        for module in group.modules:
            for key, p in module.learner.chain.named_parameters():
                block, _, rest = key.partition(".")
                found[f"{int(block) + module.learner.spec.start}.{rest}"] = p.detach().clone()
        return found

    def batches(self, plan, data) -> TrainBatches:
        config = plan.config
        return TrainBatches(data.train, config.data.batch_size, derive_seed(config.seed, "order"))

    def network(self, plan) -> nn.Sequential:
        return nn.Sequential(*build_blocks(plan.config, plan.example)).double().train()

    def losses(self, blocks, x, y) -> tuple[torch.Tensor, torch.Tensor]:
        """The task's loss, and all that is minimised: with the blocks' own terms."""
        by_target = "language_modelling" if y.dim() > 1 else "classification"
        drawn = code_block(blocks) is not None or hasattr(blocks[0], "views")
        task = "reconstruction" if drawn else by_target
        loss, local = losses(blocks, Batch(x, y), OBJECTIVES[task])
        return loss, loss + local

    def plain(self, plan, data, steps) -> tuple[list[float], nn.Sequential]:
        """The loop anybody would write: one network, autograd, an optimiser of torch."""
        given = plan.config.optimizer
        network, batches = self.network(plan), self.batches(plan, data)
        if given.name == "adam":
            optimizer = torch.optim.Adam(network.parameters(), lr=given.lr)
        else:
            optimizer = torch.optim.SGD(network.parameters(), lr=given.lr, momentum=given.momentum or 0.0)
        seen = []
        for t in range(steps):
            x = batches.x(t)
            loss, total = self.losses(network, x.double() if x.is_floating_point() else x, batches.y(t))
            seen.append(loss.item())
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
        return seen, network

    def assert_close(self, one, other, tolerance) -> None:
        assert one.keys() == other.keys()
        for key, value in one.items():
            torch.testing.assert_close(value, other[key], rtol=0, atol=tolerance, msg=f"{key}: {{}}".format)

    def assert_equal(self, one, other) -> None:
        """Bit for bit."""
        assert one.keys() == other.keys()
        assert [key for key, value in one.items() if not torch.equal(value, other[key])] == []

    def differ(self, one, other) -> list[str]:
        """Names of what is not bit for bit the same."""
        return [key for key, value in one.items() if not torch.equal(value, other[key])]


@pytest.fixture(scope="module", autouse=True)
def plug_ins_leave_with_their_tests():
    """What a file's tests register or import as a user's own is gone after it: files share a process in any order."""
    registries = (MODELS, DATA, TASKS, SCHEMES, TRANSFORMS, ENGINES, OPTIMIZERS, LOSSES, METRICS, CALLBACKS)
    before = [(dict(registry._entries), dict(registry._facts)) for registry in registries]
    modules = set(sys.modules)
    yield
    for registry, (entries, facts) in zip(registries, before, strict=True):
        registry._entries.clear()
        registry._entries.update(entries)
        registry._facts.clear()
        registry._facts.update(facts)
    installed = (sysconfig.get_paths()["stdlib"], "site-packages", str(ROOT / "platform"), str(ROOT / "models"))
    for name in set(sys.modules) - modules:
        file = getattr(sys.modules[name], "__file__", None)
        if file is not None and not any(place in file for place in installed):
            del sys.modules[name]


@pytest.fixture
def lab() -> Lab:
    return Lab()


# small runs of the whole loop in this process

SMALL = [
    "model.hidden=[24,16]",
    "parallel.partition=null",
    "parallel.modules=2",
    "parallel.engine=inprocess",
    "parallel.threads=1",
    "tracking.uri=off",
    "tracking.figures=false",
    "train.probe_every=0",
    "train.epochs=3",
]


class Notes(Silent):
    """A reporter that remembers what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def reporter() -> Notes:
    return Notes()


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., Config]:
    def make(*overrides: str) -> Config:
        return load_config("quickstart", [*SMALL, f"tracking.runs={tmp_path / 'runs'}", *overrides])

    return make


# processes that cannot outlive a test, and a tracking database made once

QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a process; whatever of its session is left is killed when the test ends."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(*command: object, **options: object) -> subprocess.Popen[bytes]:
        environment = os.environ | QUIET
        process = subprocess.Popen([str(word) for word in command], env=environment, start_new_session=True, **options)  # type: ignore[call-overload]
        started.append(process)
        return process

    yield begin
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=10)


@pytest.fixture
def write(
    start: Callable[..., subprocess.Popen[bytes]], warm_python: list[str]
) -> Callable[..., subprocess.Popen[bytes]]:
    """Start the writer of a run folder, its log where the real one is."""

    def begin(run_dir: Path, uri: str, *options: object) -> subprocess.Popen[bytes]:
        (run_dir / "tracking").mkdir(parents=True, exist_ok=True)
        command = [*warm_python, "-m", "unlocked.tracking.writer", run_dir]
        command += ["--uri", uri, "--experiment", "test"]
        with (run_dir / "tracking" / "writer.log").open("ab") as log:
            return start(*command, *options, stdout=log, stderr=log)

    return begin


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with all its tables and nothing in them; making one takes seconds."""
    place = tmp_path_factory.mktemp("database") / "mlflow.db"
    code = "import sys; from mlflow import MlflowClient; MlflowClient(sys.argv[1]).search_experiments()"
    command = [sys.executable, "-c", code, f"sqlite:///{place}"]
    subprocess.run(command, env=os.environ | QUIET, timeout=120, check=True, capture_output=True)
    return place


@pytest.fixture
def runs(tmp_path: Path, empty_database: Path) -> Path:
    """A runs root with a ready database."""
    root = tmp_path / "runs"
    root.mkdir()
    shutil.copy(empty_database, root / "mlflow.db")
    return root


@dataclass
class Stored:
    """What an MLflow database holds, read without MLflow."""

    path: Path

    def query(self, text: str) -> list[tuple]:
        with contextlib.closing(sqlite3.connect(self.path, timeout=20)) as connection:
            return connection.execute(text).fetchall()

    def points(self) -> dict[str, int]:
        rows = self.query("select key, count(*) from metrics where key not like 'system/%' group by key")
        return dict(rows)

    def repeated_points(self) -> int:
        keys = self.query("select run_uuid, key, step from metrics where key not like 'system/%'")
        return sum(count - 1 for count in Counter(keys).values())

    def runs(self) -> list[tuple[str, str]]:
        return self.query("select name, status from runs order by start_time")


@pytest.fixture
def stored() -> type[Stored]:
    return Stored


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
