"""A user's own module reaches the workers, and relative paths mean there what they mean to the driver."""

from __future__ import annotations

import json

import pytest

from unlocked.cli.main import main

MODULE = '''
import numpy as np
from torch import nn
from unlocked import RawData, register_data, register_model, register_scheme
from unlocked.schemes.dni import DNI

@register_model("mine")
def mine(in_shape, n_outputs, width: int = 12):
    return nn.Sequential(nn.Linear(in_shape[0], width), nn.Tanh(), nn.Linear(width, n_outputs))

@register_data("my_points")
def my_points(source):
    """Points above and below a line."""
    x = np.loadtxt(source.root / "points.txt")
    return RawData(x.astype("float32"), (x.sum(1) > 0).astype("int64"))

@register_scheme("my_dni")
class MyDNI(DNI):
    """dni under another name."""
'''


@pytest.mark.timeout(120)
@pytest.mark.parametrize("engine", ["inprocess", pytest.param("ray", marks=pytest.mark.ray)])
def test_a_model_data_and_scheme_of_ones_own_train_by_import(engine, tmp_path, monkeypatch, capsys, request):
    import numpy as np

    if engine == "ray":
        request.getfixturevalue("cluster")
        monkeypatch.setattr("unlocked.launch.ray_group.SENT", 0)  # the workers read the file, as they do a large one
    (tmp_path / "own_things.py").write_text(MODULE)
    (tmp_path / "data").mkdir()
    np.savetxt(tmp_path / "data" / "points.txt", np.random.default_rng(0).normal(size=(300, 6)))
    (tmp_path / "mine.yaml").write_text(
        "data: {name: my_points, batch_size: 20}\nmodel: {name: mine, width: 10}\n"
        "scheme: {name: my_dni}\ntrain: {epochs: 8}\noptimizer: {lr: 0.02}\n"
        "parallel: {modules: 2, threads: 1, timeout: 60}\ntracking: {uri: off}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UNLOCKED_DATA", raising=False)
    code = main(["train", "mine.yaml", f"parallel.engine={engine}", "--import", "own_things", "--json", "--quiet"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    summary = json.loads(captured.out.strip().splitlines()[-1])
    assert (summary["model"], summary["scheme"], summary["engine"]) == ("mine", "my_dni", engine)
    assert summary["metrics"]["test/accuracy"] > 0.8
    assert main(["evaluate", summary["run_dir"], "--import", "own_things"]) == 0


IN_PLACE = '''
from torch import nn
from unlocked import register_model

class Halves(nn.Module):
    """In place from the 20th pass on in training: nobody can foresee it."""
    passes = 0

    def forward(self, h):
        self.passes += self.training
        return h.mul_(0.5) if self.training and self.passes > 20 else h * 0.5

@register_model("halving")
def halving(in_shape, n_outputs):
    return [nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Tanh()), Halves(), nn.Linear(12, n_outputs)]
'''


@pytest.mark.timeout(120)
@pytest.mark.parametrize("engine", ["inprocess", pytest.param("ray", marks=pytest.mark.ray)])
def test_a_block_that_changes_its_input_in_place_ends_a_run_in_the_same_line_everywhere(
    engine, tmp_path, monkeypatch, capsys, request
):
    if engine == "ray":
        request.getfixturevalue("cluster")
    (tmp_path / "in_place.py").write_text(IN_PLACE)
    monkeypatch.chdir(tmp_path)
    code = main(
        [
            "train",
            "quickstart",
            "--import",
            "in_place",
            "model={name: halving}",
            "scheme.name=dfa",
            f"parallel.engine={engine}",
            "parallel.modules=2",
            "parallel.partition=[1,2]",
            "train.epochs=2",
            "train.probe_every=0",
            "parallel.threads=1",
            "tracking.uri=off",
            "--quiet",
        ]
    )
    said = capsys.readouterr().err
    assert code == 1, said
    assert "Traceback" not in said
    assert said.strip().splitlines()[-1].startswith("unlocked: module 1 changed its input in place at minibatch 20;")
