"""Digits of two real sets as two domains, out of a small table in the place of MNIST's."""

from __future__ import annotations

import gzip

import numpy as np
import torch

from unlocked.tasks import load
from unlocked.tasks.cycle import CLASSES, OTHER

N = 100


def table() -> bytes:
    images = np.random.default_rng(0).integers(0, 256, (N, 784))
    rows = np.concatenate([images, np.arange(N)[:, None] % 10], 1)
    return gzip.compress("\n".join(",".join(map(str, row)) for row in rows).encode())


def test_rows_hold_an_image_of_each_domain_and_no_image_is_in_two_splits(tmp_path):
    (tmp_path / "mnist_5k.csv.gz").write_bytes(table())
    data = load("two_hands", root=tmp_path, validation=0.1, seed=0)
    splits = [data.train, data.validation, data.test]
    # 70, 10 and 20 of a hundred, repeated to be as many as the digits in training
    assert [len(split) for split in splits] == [1258, 10, 20]
    assert data.in_shape == splits[0].extras[OTHER].shape[1:] == (1, 8, 8)
    assert all(float(split.extras[OTHER].min()) >= 0 and float(split.extras[OTHER].max()) <= 1 for split in splits)
    for images in ([split.x for split in splits], [split.extras[OTHER] for split in splits]):
        seen = [{image.numpy().tobytes() for image in each} for each in images]
        assert not any(seen[i] & seen[k] for i, k in ((0, 1), (0, 2), (1, 2)))
    assert torch.equal(data.train.extras[OTHER][:70], data.train.extras[OTHER][70:140])
    assert torch.equal(data.train.extras[CLASSES][:70], data.train.extras[CLASSES][70:140])
