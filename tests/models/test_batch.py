"""The batch is open: extras by name, ragged ones, and what a dry pass and a checkpoint make of them."""

from __future__ import annotations

import io

import pytest
import torch

from unlocked_models import Batch, Example, Ragged
from unlocked_models.contract.batch import moved, rows_of
from unlocked_models.contract.registry import UnknownName

WORDS = Ragged(torch.arange(6), torch.tensor([0, 2, 2, 6]))


def test_rows_of_a_ragged_extra_in_any_order_are_its_rows():
    picked = WORDS.rows(torch.tensor([2, 1, 0, 2]))
    assert [row.tolist() for row in picked] == [[2, 3, 4, 5], [], [0, 1], [2, 3, 4, 5]]
    assert picked.lengths.tolist() == [4, 0, 2, 4]
    assert len(WORDS.rows(torch.tensor([], dtype=torch.long))) == 0
    assert WORDS[-1].tolist() == [2, 3, 4, 5]
    with pytest.raises(IndexError, match="row 3 of 3"):
        WORDS[3]


def test_an_extra_is_found_by_its_name_and_an_unknown_one_gets_the_nearest():
    batch = Batch(None, torch.zeros(3), extras={"edge_index": torch.ones(3, 2), "words": WORDS})
    assert batch["edge_index"].shape == (3, 2)
    assert batch.get("mask") is None
    assert batch.lengths is None
    with pytest.raises(UnknownName, match="unknown extra of the batch 'edge_idx'; did you mean 'edge_index'"):
        batch["edge_idx"]


def test_only_real_numbers_change_their_dtype():
    extras = {"mask": torch.ones(2).bool(), "weight": torch.ones(2), "of": Ragged(torch.ones(2), torch.arange(3))}
    there = moved(extras, dtype=torch.float64)
    assert there["mask"].dtype == torch.bool
    assert there["weight"].dtype == there["of"].values.dtype == torch.float64


def test_a_dry_pass_has_every_extra_for_as_many_examples_as_it_takes():
    given = {
        "lengths": torch.tensor([3, 2]),
        "edge_index": torch.zeros(2, 2, 5).long(),
        "words": WORDS.rows(torch.arange(2)),
    }
    example = Example((4,), 2).with_extras(given)
    assert example.has_lengths
    batch = example.batch(3, dtype=torch.float64)
    assert batch.lengths.tolist() == [1, 1, 1]  # a sequence has a position
    assert batch["edge_index"].shape == (3, 2, 5)
    assert not batch["edge_index"].any()
    assert [len(row) for row in batch["words"]] == [1, 1, 1]
    assert hash(example) == hash(Example((4,), 2).with_extras(given))


def test_a_checkpoint_keeps_the_whole_batch_without_code():
    rows = torch.tensor([2, 0])
    batch = Batch(torch.ones(2, 3), torch.zeros(2), False, False, None, 0.25, rows_of({"words": WORDS}, rows))
    file = io.BytesIO()
    torch.save(batch.state(), file)
    file.seek(0)
    again = Batch.of_state(torch.load(file, weights_only=True))
    assert (again.fresh, again.ends, again.progress) == (False, False, 0.25)
    assert [row.tolist() for row in again["words"]] == [[2, 3, 4, 5], [0, 1]]
    assert torch.equal(again.x, batch.x)


def test_the_tuple_of_an_older_checkpoint_is_read():
    lengths = torch.tensor([1, 2])
    batch = Batch.of_state((None, torch.zeros(2), True, False, None, lengths))
    assert torch.equal(batch.lengths, lengths)
    assert batch.ends is False
