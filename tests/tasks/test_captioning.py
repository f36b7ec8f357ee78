"""Pictures to words."""

import numpy as np
import pytest
import torch

from unlocked import load_config, train
from unlocked.data import RawData
from unlocked.decoding.translation import translations
from unlocked.errors import DataError
from unlocked.tasks import TASKS, load
from unlocked_models import Batch, Chain, build


def test_pictures_and_names_belong_together():
    data = load("captions", pictures=40, most=2)
    assert data.train.x.shape[1:] == (16, 8)
    words = [[data.class_names[i] for i in row if i > 3] for row in data.train.y.tolist()]
    assert {len(each) for each in words} == {1, 2}
    for x, said in zip(data.train.x, words, strict=True):
        assert (x[8:].abs().sum() > 0) == (len(said) == 2)


def test_what_is_written_step_by_step_is_what_teacher_forcing_says():
    torch.manual_seed(0)
    data = load("captions", pictures=40, most=2)
    chain = Chain(build("seq2seq", (16, 8), data.n_outputs, width=8, embedding=4, out_positions=3)).eval()
    found = translations(chain, data.test.x, data)
    assert found.dtype == torch.long
    logits = chain(data.test.x, Batch(data.test.x, found))[:, -3:]
    logits[..., :2] = logits[..., 3] = -torch.inf  # never written: padding, <s>, <unk>
    for row, best in zip(found, logits.argmax(-1), strict=True):
        until = int((row == 0).nonzero()[0]) if (row == 0).any() else 3
        assert torch.equal(row[:until], best[:until])


@pytest.mark.parametrize("scheme", ["backprop", "cdni", "dfa"])
def test_captions_train(scheme, tmp_path):
    small = ["data.options={pictures: 80, most: 2}", "model={width: 8, embedding: 4}", "train.epochs=1"]
    quiet = [f"tracking.runs={tmp_path}", "tracking.uri=off", f"tracking.figures={str(scheme == 'dfa').lower()}"]
    summary = train(load_config("seq2seq/captions", [*small, *quiet, f"scheme.name={scheme}", "data.batch_size=16"]))
    assert {"test/bleu", "test/exact", "test/accuracy"} <= set(summary["metrics"])
    assert (tmp_path / summary["run"] / "figures" / "captions.png").exists() == (scheme == "dfa")


def test_what_is_no_picture_with_a_caption_is_one_line():
    names = ["<pad>", "<s>", "</s>", "<unk>", "a"]
    x, y = np.ones((2, 4, 3), np.float32), np.array([[4, 2], [2, 0]])
    task = TASKS.get("captioning")()
    for changed, said in (
        ({"class_names": ["a"]}, "class_names, the vocabulary of the captions, has to begin with"),
        ({"x_train": x[:, 0]}, "it needs real numbers"),
        ({"x_train": 0 * x}, "has a picture of zeros alone"),
        ({"y_train": np.array([[4, 4], [2, 0]])}, "y_train has sequences that are not tokens"),
    ):
        given = {"x_train": x, "y_train": y, "class_names": names, **changed}
        with pytest.raises(DataError, match=said):
            task.check("made", RawData(**given), {"train": (given["x_train"], given["y_train"], None)})
