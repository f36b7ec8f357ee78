"""What holds for every model of the zoo: shapes, gradients, counts, determinism, and one clear error."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from unlocked_models import MODELS, Batch, Chain, Example, build
from unlocked_models.autoencoder.plain import code_block
from unlocked_models.cnn.inception import WithAuxiliary
from unlocked_models.cnn.resnet import ZeroPadded
from unlocked_models.contract.batch import moved
from unlocked_models.contract.chain import output_shapes, takes_batch

SMALL: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {  # name: (in_shape, options) that run in milliseconds
    "mlp": ((1, 8, 8), {"hidden": [16, 12], "norm": "batch"}),
    "rbf": ((1, 8, 8), {"units": 12}),
    "stacked": ((1, 8, 8), {"hidden": [12, 10]}),
    "lenet5": ((1, 28, 28), {}),
    "cnn": ((1, 8, 8), {"channels": [4, 6], "hidden": [8]}),
    "alexnet_small": ((1, 8, 8), {"width": 0.1, "hidden": [16, 16]}),
    "vgg_small": ((1, 8, 8), {"width": 0.1}),
    "inception_small": ((1, 8, 8), {"width": 0.1}),
    "resnet_small": ((1, 8, 8), {"width": 0.1}),
    "rnn": ((9, 3), {"hidden": [12, 8]}),
    "lstm": ((1, 8, 8), {"hidden": [12], "bidirectional": True}),
    "gru": ((9, 3), {"hidden": [12], "pool": "mean"}),
    "jordan": ((9, 3), {"width": 8, "hidden": 12}),
    "transformer": ((9, 3), {"width": 8, "heads": 2}),
    "vit": ((1, 8, 8), {"width": 8, "heads": 2, "depth": 2}),
    "gpt": ((9,), {"width": 16, "heads": 2}),
    "bert": ((9,), {"width": 16, "heads": 2}),
    "seq2seq": ((9,), {"width": 12, "embedding": 8}),
    "transformer_seq2seq": ((9,), {"width": 16, "heads": 2, "inner": 32, "norm": "pre"}),
    "autoencoder": ((1, 8, 8), {"hidden": [24], "code": 8, "contractive": 0.01}),
    "conv_autoencoder": ((1, 8, 8), {"channels": [4, 6], "code": 8}),
    "recurrent_autoencoder": ((5, 2), {"hidden": [24], "code": 12}),
    "vae": ((1, 8, 8), {"hidden": [24], "beta": 0.01}),
    "cvae": ((1, 8, 8), {"hidden": [24], "beta": 0.01}),
    "sparse_coding": ((1, 8, 8), {"atoms": 24}),
    "two_way": ((1, 8, 8), {"hidden": [24], "code": 8, "inner": [8]}),
    "gcn": ((9, 60), {"hidden": [64], "dropout": 0.0}),
    "gat": ((9, 60), {"hidden": [16], "heads": 4, "dropout": 0.0}),
    "sage": ((9, 60), {"hidden": [16], "dropout": 0.0}),
    "gin": ((9, 60), {"hidden": [16, 8]}),
    "mpnn": ((9, 60), {"width": 8, "depth": 2, "readout": "attention", "norm": "layer"}),
    "ntm": ((9, 3), {"hidden": 8, "rows": 6, "columns": 4}),
    "hopfield": ((1, 8, 8), {"width": 16, "depth": 1, "patterns": 8}),
    "moe": ((1, 8, 8), {"width": 16, "experts": 3, "inner": 8, "noise": False, "active": 3}),
    "tree_lstm": ((9, 60), {"hidden": [8]}),
    "recursive": ((9, 60), {"hidden": [8, 8], "readout": "mean"}),
    "deepsets": ((9, 60), {"hidden": [16], "head": [8]}),
}
# models of tokens, with a target at every position; whether inputs are hidden
WORDS = {"gpt": False, "bert": True, "seq2seq": False, "transformer_seq2seq": False}
PAIRS = torch.tensor([[[0, 1, 5], [1, 0, 6]]] * 6)
GRAPHS = {name: {"edge_index": PAIRS} for name in ("gcn", "gat", "sage", "gin")}  # with a target at every node
GRAPHS["mpnn"] = {"edge_index": PAIRS, "edge_attr": torch.rand(6, 3, 2, generator=torch.Generator().manual_seed(0))}
GRAPHS["deepsets"] = {}
GRAPHS |= {name: {"edge_index": PAIRS} for name in ("tree_lstm", "recursive")}
OF_GRAPHS = ("mpnn", "deepsets", "tree_lstm", "recursive")  # with one target for each
ORIGINAL: dict[str, dict[str, Any]] = {  # at full size, on the meta device
    "alexnet": {"towers": 2, "lrn": True},
    "vgg": {"norm": "batch"},
    "inception": {"norm": "layer"},
    "resnet": {},
}
ZOO = sorted([*SMALL, *ORIGINAL])


class Inputs(Batch):
    x: Tensor


def example(name: str) -> Example:
    in_shape, _ = SMALL[name]
    if name in GRAPHS:
        return Example(in_shape, 5, y_shape=() if name in OF_GRAPHS else in_shape[:1]).with_extras(GRAPHS[name])
    return Example(in_shape, 5, 7, in_shape, masked=WORDS[name]) if name in WORDS else Example(in_shape, 5)


def small(name: str, **options) -> tuple[Chain, Inputs]:
    torch.manual_seed(0)
    in_shape, small_options = SMALL[name]
    like = example(name)
    chain = Chain(build(name, in_shape, 5, example=like, **{**small_options, **options}))
    x = torch.randint(1, like.vocabulary, (6, *in_shape)) if like.vocabulary else torch.randn(6, *in_shape)
    return chain, Inputs(x=x, y=torch.randint(5, (6, *like.y_shape)), extras=GRAPHS.get(name, {}))


def original(name: str, n_outputs: int = 1000, **options) -> Chain:
    with torch.device("meta"):
        return Chain(build(name, (3, 224, 224), n_outputs, **options))


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def loss_with_local_terms(chain: Chain, batch: Inputs) -> Tensor:
    h, loss = batch.x, torch.zeros((), device=batch.y.device)
    for block in chain:
        h = run(block, h, batch)
        local_loss = getattr(block, "local_loss", None)
        if local_loss is not None:
            loss = loss + local_loss(h, batch)
    if reconstructs(chain):
        return loss + functional.mse_loss(h, batch.x, reduction="sum") / len(h)
    return loss + functional.cross_entropy(h.flatten(0, -2), batch.y.flatten())


def reconstructs(chain: Chain) -> bool:
    return code_block(chain) is not None or hasattr(chain[0], "views")


def run(block: nn.Module, h: Tensor, batch: Batch) -> Tensor:
    return block(h, batch) if takes_batch(block) else block(h)


def given(batch: Inputs) -> Batch:
    """In float64 where it is real."""
    x = batch.x.double() if batch.x.is_floating_point() else batch.x
    return Batch(x, batch.y, extras=moved(batch.extras, dtype=torch.float64))


def test_these_tests_cover_the_whole_zoo():
    ours = {name: MODELS.facts(name) for name in MODELS if MODELS.get(name).__module__.startswith("unlocked_models.")}
    assert set(ZOO) == {
        name
        for name, of in ours.items()
        if not of["nets"] and of["family"] not in ("boltzmann", "embedding", "selfsupervised", "evolved", "associative")
    }


@pytest.mark.parametrize("name", SMALL)
def test_a_small_model_gives_its_outputs_and_every_parameter_a_gradient(name):
    chain, batch = small(name)
    wanted = batch.x.shape if reconstructs(chain) else (*batch.y.shape, 5)
    assert chain(batch.x, batch).shape == wanted
    loss_with_local_terms(chain, batch).backward()
    without = [key for key, p in chain.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []


@pytest.mark.parametrize("name", ORIGINAL)
def test_an_original_model_gives_its_outputs_and_every_parameter_a_gradient(name):
    chain = original(name, **ORIGINAL[name])
    batch = Inputs(torch.zeros(2, 3, 224, 224, device="meta"), torch.zeros(2, dtype=torch.long, device="meta"))
    assert chain(batch.x).shape == (2, 1000)
    loss_with_local_terms(chain, batch).backward()
    assert [key for key, p in chain.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("name", SMALL)
def test_the_chain_equals_its_blocks_one_by_one_and_no_block_changes_its_input(name):
    chain, batch = small(name)
    chain.double()
    doubled = given(batch)
    torch.manual_seed(1)
    whole = chain(doubled.x, doubled)
    torch.manual_seed(1)  # the same dropout
    h = doubled.x
    for block in chain:
        kept = h.detach()
        before = kept.clone()
        h = run(block, kept, doubled)
        assert torch.equal(kept, before)
    assert torch.equal(h, whole)  # the same operations in the same order: equal to the last bit


@pytest.mark.parametrize("name", SMALL)
def test_saved_weights_have_the_keys_of_a_plain_sequential_and_load_into_it(name):
    chain, batch = small(name)
    torch.manual_seed(9)
    in_shape, options = SMALL[name]
    plain = nn.Sequential(*build(name, in_shape, 5, example=example(name), **options))
    assert list(plain.state_dict()) == list(chain.state_dict())
    plain.load_state_dict(chain.state_dict())
    h = batch.x
    for block in plain.eval():
        h = run(block, h, batch)
    assert torch.equal(h, chain.eval()(batch.x, batch))


@pytest.mark.parametrize("name", SMALL)
def test_the_seed_decides_the_weights(name):
    first, second = small(name)[0].state_dict(), small(name)[0].state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", SMALL)
def test_a_small_model_learns_a_few_examples(name):
    chain, batch = small(name, **({"dropout": 0.0} if name == "alexnet_small" else {}))
    fast = MODELS.facts(name)["family"] in (
        "recurrent",
        "transformer",
        "seq2seq",
        "autoencoder",
        "graph",
        "memory",
        "recursive",
    )
    fast = fast or name in ("rbf", "stacked", "two_way")  # whose units or outputs all begin nearly alike
    optimizer = torch.optim.Adam(chain.parameters(), lr=3e-2 if fast else 3e-3)
    before = loss_with_local_terms(chain, batch).item()
    for _ in range(40 if fast else 25):
        optimizer.zero_grad()
        loss_with_local_terms(chain, batch).backward()
        optimizer.step()
    assert loss_with_local_terms(chain, batch).item() < 0.5 * before


@pytest.mark.parametrize("size", [8, 28, 32])
@pytest.mark.parametrize("name", ["cnn", "alexnet_small", "vgg_small", "inception_small", "resnet_small"])
def test_small_models_take_digits_mnist_and_cifar_sizes(name, size):
    with torch.device("meta"):
        assert output_shapes(build(name, (3, size, size), 10), (3, size, size))[-1] == (10,)


@pytest.mark.parametrize("size", [12, 28, 32])
def test_lenet5_takes_mnist_and_cifar_sizes(size):
    with torch.device("meta"):
        assert output_shapes(build("lenet5", (1, size, size), 10), (1, size, size))[-1] == (10,)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("alexnet", (3, 63, 70)),
        ("vgg", (3, 33, 40)),
        ("inception", (1, 79, 100)),
        ("inception", (3, 231, 256)),
        ("resnet", (3, 32, 47)),
        ("lenet5", (2, 12, 45)),
        ("cnn", (2, 9, 5)),
        ("alexnet_small", (3, 9, 31)),
        ("vgg_small", (3, 33, 8)),
        ("inception_small", (3, 9, 21)),
        ("resnet_small", (3, 9, 21)),
    ],
)
def test_odd_and_oblong_images_pass_forward_and_through_the_local_losses(name, shape):
    with torch.device("meta"):
        chain = Chain(build(name, shape, 7, **({"width": 0.1} if "small" in name else {})))
        batch = Inputs(torch.zeros(2, *shape), torch.zeros(2, dtype=torch.long))
        assert chain(batch.x).shape == (2, 7)
        assert loss_with_local_terms(chain, batch).shape == ()


@pytest.mark.parametrize(
    ("name", "shape", "n_outputs", "options", "blocks", "parameters"),
    [
        ("mlp", (1, 28, 28), 10, {"hidden": [300, 100]}, 3, 266_610),
        ("mlp", (64,), 10, {"hidden": []}, 1, 650),
        ("lenet5", (1, 28, 28), 10, {}, 5, 61_706),
        ("lenet5", (1, 32, 32), 10, {}, 5, 61_706),
        ("alexnet", (3, 224, 224), 1000, {}, 8, 61_100_840),  # torchvision
        ("alexnet", (3, 224, 224), 1000, {"towers": 2}, 8, 60_965_224),  # the two-tower paper, as in Caffe
        ("vgg", (3, 224, 224), 1000, {"depth": 11}, 11, 132_863_336),  # torchvision, and the next four
        ("vgg", (3, 224, 224), 1000, {"depth": 13}, 13, 133_047_848),
        ("vgg", (3, 224, 224), 1000, {"depth": 16}, 16, 138_357_544),
        ("vgg", (3, 224, 224), 1000, {"depth": 19}, 19, 143_667_240),
        ("vgg", (3, 224, 224), 1000, {"depth": 16, "norm": "batch"}, 16, 138_365_992),
        ("vgg_small", (3, 32, 32), 10, {"depth": 16}, 14, 14_728_266),  # the usual CIFAR form
        ("resnet", (3, 224, 224), 1000, {"depth": 18}, 10, 11_689_512),  # torchvision
        ("resnet", (3, 224, 224), 1000, {"depth": 34}, 18, 21_797_672),
        ("resnet_small", (3, 32, 32), 10, {"depth": 18}, 10, 11_173_962),
        ("resnet_small", (3, 32, 32), 10, {"depth": 20}, 11, 269_722),  # He et al., table 6: 0.27M
        ("resnet_small", (3, 32, 32), 10, {"depth": 56}, 29, 853_018),  # 0.85M
        ("resnet_small", (3, 32, 32), 10, {"depth": 110}, 56, 1_727_962),  # 1.7M
        ("inception", (3, 224, 224), 1000, {"auxiliary": False}, 13, 6_998_552),  # Caffe's bvlc_googlenet
        ("inception", (3, 224, 224), 1000, {}, 13, 13_378_280),
        # Zhang et al. 2017, table 1: Inception (w/o BatchNorm) has 1,649,402.
        ("inception_small", (3, 28, 28), 10, {"auxiliary": False, "norm": "none"}, 12, 1_649_402),
    ],
)
def test_parameters_are_as_many_as_published(name, shape, n_outputs, options, blocks, parameters):
    with torch.device("meta"):
        chain = build(name, shape, n_outputs, **options)
    assert (len(chain), count(nn.Sequential(*chain))) == (blocks, parameters)


def test_inception_modules_have_the_shapes_of_table_1():
    shapes = output_shapes(original("inception"), (3, 224, 224))
    assert shapes == [
        (64, 56, 56), (64, 56, 56), (192, 28, 28),
        (256, 28, 28), (480, 14, 14),
        (512, 14, 14), (512, 14, 14), (512, 14, 14), (528, 14, 14), (832, 7, 7),
        (832, 7, 7), (1024, 7, 7), (1000,),
    ]  # fmt: skip


def test_resnet_stages_have_the_shapes_of_table_1():
    shapes = output_shapes(original("resnet"), (3, 224, 224))
    assert shapes[::2][:5] == [(64, 56, 56), (64, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7)]


@pytest.mark.parametrize("name", ["inception", "inception_small"])
def test_auxiliary_classifiers_are_local_and_optional(name):
    shape = (3, 79, 79) if name == "inception" else (3, 8, 8)
    with torch.device("meta"):
        with_auxiliary = build(name, shape, 5)
        without = build(name, shape, 5, auxiliary=False)
    assert sum(hasattr(b, "local_loss") for b in with_auxiliary) == (2 if name == "inception" else 1)
    assert not Chain(without).has_local_loss()
    assert output_shapes(with_auxiliary, shape) == output_shapes(without, shape)


def test_the_auxiliary_loss_is_its_weight_times_the_cross_entropy_and_reaches_the_block():
    chain, batch = small("inception_small", aux_weight=0.25)
    h = batch.x
    for block in chain:
        h = block(h)
        if isinstance(block, WithAuxiliary):
            break
    assert isinstance(block, WithAuxiliary)
    torch.manual_seed(2)
    loss = block.local_loss(h, batch)
    torch.manual_seed(2)
    torch.testing.assert_close(loss, 0.25 * functional.cross_entropy(block.classifier(h), batch.y))
    loss.backward()
    assert all(p.grad is not None for p in block.parameters())


def test_auxiliary_classifiers_refuse_targets_that_are_no_labels():
    block = next(b for b in small("inception_small")[0] if isinstance(b, WithAuxiliary))
    with pytest.raises(ValueError, match=r"model\.auxiliary: .* set model.auxiliary: false"):
        block.local_loss(torch.zeros(2, 3), Batch(x=None, y=torch.zeros(2, 5)))


def test_a_zero_padded_skip_keeps_every_second_pixel():
    h = torch.arange(2 * 4 * 4.0).reshape(1, 2, 4, 4)
    skipped = ZeroPadded(2, 6, 2, "batch")(h)
    assert skipped.shape == (1, 6, 2, 2)
    assert torch.equal(skipped[:, 2:4], h[:, :, ::2, ::2])
    assert skipped.sum() == h[:, :, ::2, ::2].sum()


IMAGE_MODELS = [name for name in ZOO if MODELS.facts(name)["family"] == "cnn"]


@pytest.mark.parametrize("name", [name for name in IMAGE_MODELS if name not in ("alexnet", "lenet5", "cnn")])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_every_norm_is_an_option_of_every_image_model(name, norm):
    shape = (3, 224, 224) if name in ORIGINAL else (3, 32, 32)
    with torch.device("meta"):
        assert output_shapes(build(name, shape, 4, norm=norm), shape)[-1] == (4,)
