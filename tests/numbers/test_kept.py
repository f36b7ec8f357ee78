"""Losses and weights of every preset under every scheme stay what they were: see kept.py, which wrote kept.json."""

import copy
import importlib.util
import platform
from pathlib import Path

import pytest

from unlocked.errors import ConfigError

_spec = importlib.util.spec_from_file_location("kept", Path(__file__).with_name("kept.py"))
kept = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(kept)

KEPT = kept.read()
CELLS = kept.cells()
# A few seconds in all, of every scheme and of most families; the others are slow only together.
SAMPLE = {
    "quickstart-backprop-1-auto",
    "quickstart-dni-2-0",
    "quickstart-dfa-3-auto",
    "quickstart-frozen-2-auto",
    "quickstart-cdni-3-auto-inputs",
    "mnist1d/cdni-cdni-3-auto",
    "fashion_cnn/cdni-cdni-2-auto",
    "recurrent/copy-cdni-2-auto",
    "recurrent/sunspots-dni-2-auto",
    "transformer/gpt-cdni-2-auto",
    "transformer/vit-dfa-2-auto",
    "seq2seq/transformer-cdni-2-auto",
    "seq2seq/luong-dfa-2-auto",
    "autoencoder/vae-cdni-2-auto",
    "autoencoder/sparse_coding-dfa-2-auto",
    "autoencoder/conv_autoencoder-dni-2-auto",
}


def test_every_cell_is_kept_and_nothing_else():
    assert list(KEPT["cells"]) == [cell.name for cell in CELLS]
    assert KEPT["cells"].keys() >= SAMPLE


def _data(cell):
    try:
        return cell.config().data.name
    except ConfigError:  # a cell that is refused is so on every Python
        return None


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(
            cell,
            id=cell.name,
            marks=[]
            if cell.name in SAMPLE
            else pytest.mark.slow("all presets under all schemes; make test has a sample"),
        )
        for cell in CELLS
    ],
)
def test_losses_and_weights_are_those_that_were_kept(cell):
    if _data(cell) in kept.OF_THIS_PYTHON and platform.python_version() != KEPT["python"]:
        pytest.skip(f"its texts are those of Python {KEPT['python']}'s library")
    assert kept.difference(kept.measure(cell), KEPT["cells"][cell.name], kept.tolerances(KEPT)) is None


def test_a_difference_is_named():
    found, strict = KEPT["cells"]["quickstart-cdni-2-auto"], kept.TOLERANCES["same processor"]
    loss, weight, model, metric, missing = (copy.deepcopy(found) for _ in range(5))
    loss["losses"][3] *= 1 + 1e-8
    weight["blocks"][1][1] *= 1 + 1e-8
    model["beside"][0][0] += 1e-8 * model["beside"][0][1]
    metric["test"]["accuracy"] += 1 / 360
    del missing["beside"]
    assert kept.difference(found, copy.deepcopy(found), strict) is None
    for changed, place in (
        (loss, "losses[3] is"),
        (weight, "blocks[1][1] is"),
        (model, "beside[0][0] is"),
        (metric, "test[accuracy] is"),
        (missing, "losses, blocks, alignment, test are measured"),
    ):
        assert kept.difference(changed, found, strict).startswith(place)
    assert kept.difference("refused", found, strict) == "refused, was kept as trained"
