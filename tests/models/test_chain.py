"""The chain contract on blocks made for the purpose."""

import copy

import pytest
import torch
from torch import nn

from unlocked_models import MODELS, Batch, Chain, build, register_model
from unlocked_models.contract.chain import as_blocks, output_shapes, takes_batch


class AddsTarget(nn.Module):
    def forward(self, h, batch):
        return h + batch.y[:, None]


class MayUseBatch(nn.Module):
    def forward(self, h, batch=None):
        return h if batch is None else h + batch.y[:, None]


class Masked(nn.Module):
    def forward(self, h, mask=None):
        assert mask is None
        return h


class Residual(nn.Sequential):
    def forward(self, h):
        return h + super().forward(h)


def test_a_sequential_a_list_a_module_list_and_a_generator_are_taken_apart():
    blocks = [nn.Linear(3, 4), nn.ReLU()]
    for model in (
        nn.Sequential(*blocks),
        blocks,
        tuple(blocks),
        nn.ModuleList(blocks),
        iter(blocks),
        Chain(blocks),
    ):
        assert as_blocks(model) == blocks


def test_any_other_module_is_a_chain_of_one_block():
    linear = nn.Linear(3, 4)
    assert as_blocks(linear) == [linear]


def test_a_sequential_with_its_own_forward_is_one_block():
    model = Residual(nn.Linear(3, 3))
    assert as_blocks(model) == [model]


@pytest.mark.parametrize(("model", "given"), [([], "nothing"), (None, "NoneType"), ("mlp", "str"), (7, "int")])
def test_what_is_no_chain_is_refused(model, given):
    with pytest.raises(TypeError, match=f"a model gives .* not {given}"):
        as_blocks(model)


def test_a_list_with_a_stranger_in_it_is_refused():
    with pytest.raises(TypeError, match="not Linear, int"):
        as_blocks([nn.Linear(3, 4), 5])


def test_only_blocks_that_ask_for_the_batch_take_it():
    assert takes_batch(AddsTarget())
    assert takes_batch(MayUseBatch())
    assert takes_batch(Chain([AddsTarget()]))
    assert not takes_batch(Masked())
    assert not takes_batch(nn.Linear(3, 4))
    assert not takes_batch(nn.Sequential(nn.Linear(3, 4)))
    assert not takes_batch(nn.TransformerEncoderLayer(4, 2))


def test_the_batch_reaches_its_blocks_also_in_a_chain_within_a_chain():
    batch = Batch(x=None, y=torch.tensor([1.0, 2.0]))
    h = Chain([Masked(), AddsTarget(), Chain([MayUseBatch(), AddsTarget()])])(torch.zeros(2, 1), batch)
    assert h.flatten().tolist() == [3.0, 6.0]


def test_a_chain_without_such_blocks_needs_no_batch():
    assert Chain([nn.Linear(3, 4), nn.ReLU()])(torch.zeros(2, 3)).shape == (2, 4)


def test_a_chain_can_be_sliced_copied_and_have_a_block_replaced():
    chain = Chain([nn.Linear(2, 2), MayUseBatch(), nn.Linear(2, 2)])
    h = torch.ones(1, 2)
    assert torch.equal(chain[1:](chain[:1](h)), chain(h))
    assert torch.equal(copy.deepcopy(chain)(h), chain(h))
    chain[2] = nn.Identity()
    assert torch.equal(chain(h), chain[0](h))


def test_a_chain_saves_the_keys_of_its_plain_sequential():
    blocks = [nn.Linear(3, 4), nn.Sequential(nn.BatchNorm1d(4), nn.ReLU())]
    assert list(Chain(blocks).state_dict()) == list(nn.Sequential(*blocks).state_dict())


def test_a_chain_knows_whether_a_block_adds_to_the_loss():
    class Penalised(nn.Identity):
        def local_loss(self, h, batch):
            return h.square().mean()

    assert Chain([nn.Linear(3, 4), Penalised()]).has_local_loss()
    assert not Chain([nn.Linear(3, 4)]).has_local_loss()


def test_output_shapes_are_those_of_one_example():
    blocks = [nn.Conv2d(1, 3, 3), nn.Sequential(nn.Flatten(), nn.Linear(3 * 6 * 6, 5)), AddsTarget()]
    assert output_shapes(blocks, (1, 8, 8)) == [(3, 6, 6), (5,), (5,)]


def test_output_shapes_leave_no_trace():
    norm, frozen = nn.BatchNorm1d(3), nn.BatchNorm1d(3).eval()
    block = nn.Sequential(norm, frozen, nn.Dropout(0.5))
    state, rng = copy.deepcopy(block.state_dict()), torch.get_rng_state()
    assert output_shapes([block], (3,)) == [(3,)]
    assert block.training
    assert norm.training
    assert not frozen.training
    assert all(torch.equal(state[key], value) for key, value in block.state_dict().items())
    assert torch.equal(rng, torch.get_rng_state())


def test_output_shapes_follow_the_device_and_the_dtype_of_the_blocks():
    assert output_shapes([nn.Linear(3, 4, device="meta")], (3,)) == [(4,)]
    assert output_shapes([nn.Linear(3, 4, dtype=torch.float64)], (3,)) == [(4,)]


def test_build_makes_a_users_model_by_name(monkeypatch):
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))

    @register_model("one_layer")
    def one_layer(in_shape, n_outputs, bias: bool = True):
        return nn.Linear(in_shape[0], n_outputs, bias=bias)

    (block,) = build("one_layer", (3,), 2, bias=False)
    assert block.bias is None
