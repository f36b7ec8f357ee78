"""Options of the models: what a configuration may ask, and the one line that refuses the rest."""

import inspect

import pytest
import torch

from unlocked_models import MODELS, build
from unlocked_models.contract.registry import GIVEN

ZOO = [name for name in MODELS if MODELS.get(name).__module__.startswith("unlocked_models.")]


@pytest.mark.parametrize("name", ZOO)
def test_options_are_keyword_arguments_of_plain_types_with_defaults_of_that_type(name):
    signature = inspect.signature(MODELS.get(name), eval_str=True)
    in_shape, n_outputs, *options = (p for p in signature.parameters.values() if p.name not in GIVEN)
    assert (in_shape.name, n_outputs.name) == ("in_shape", "n_outputs")
    for option in options:
        assert option.annotation in (int, float, bool, str, list[int]), option.name
        plain = list if option.annotation == list[int] else option.annotation
        assert type(option.default) is plain, option.name


@pytest.mark.parametrize("name", ZOO)
def test_every_option_is_explained_in_the_docstring(name):
    factory = MODELS.get(name)
    text = inspect.getdoc(factory) or ""
    assert "Shapes:" in text
    if name in (
        "mlp",
        "cnn",
        "lenet5",
        "inception",
        "vgg",
        "alexnet",
        "resnet",
        "seq2seq",
        "transformer_seq2seq",
    ):  # the small ones refer to these
        options = [option for option in list(inspect.signature(factory).parameters)[2:] if option not in GIVEN]
        assert [option for option in options if f"`{option}`" not in text] == []


IMAGE = (3, 64, 64)
# What they give has the shape of the input, or of the data's candidates, or is a likelihood or an embedding
UNLABELLED = (
    "boltzmann",
    "dbm",
    "dbn",
    "cyclegan",
    "simclr",
    "autoencoder",
    "conv_autoencoder",
    "recurrent_autoencoder",
    "vae",
    "sparse_coding",
    "two_way",
    "hopfield_classic",
    "rbm",
    "skipgram",
    "cbow",
    "glove",
)
WRONG = [
    ("mlp", (64,), {"activation": "rellu"},
     "model.activation: unknown activation 'rellu'; did you mean 'relu'? (known: elu, gaussian, gelu, "
     "hard_tanh, leaky_relu, linear, maxout, multiquadric, perceptron, prelu, relu, ricker, rrelu, selu, sigmoid, "
     "silu, softmax, softplus, step, tanh)"),
    ("mlp", (64,), {"activation": "rellu", "hidden": []}, "model.activation: unknown activation 'rellu'"),
    ("mlp", (64,), {"norm": "bach"}, "model.norm: unknown norm 'bach'; did you mean 'batch'? (known: "),
    ("mlp", (64,), {"init": "kaming"}, "model.init: unknown init 'kaming'; did you mean 'kaiming'? (known: "),
    ("mlp", (64,), {"width": 8}, "model.width: 8 with model.depth 0; expected both at least 1, or neither"),
    ("mlp", (64,), {"width": 8, "depth": -1}, "model.width: 8 with model.depth -1"),
    ("mlp", (64,), {"dropout": 1.5}, "model.dropout: must be at least 0 and less than 1, got 1.5"),
    ("mlp", (64,), {"dropout": 1.0}, "model.dropout: must be at least 0 and less than 1, got 1.0"),
    ("mlp", (64,), {"dropout": float("nan")}, "model.dropout: must be at least 0 and less than 1, got nan"),
    ("mlp", (64,), {"hidden": [256, 0]}, "model.hidden: must be a whole number of at least 1, got 0"),
    ("mlp", (64,), {"hidden": [2.5]}, "model.hidden: must be a whole number of at least 1, got 2.5"),
    ("mlp", (64,), {"hidden": 256}, "model.hidden: must be a list of layer sizes, such as [256, 256], got 256"),
    ("lenet5", (1, 8, 8), {},
     "model.name: lenet5 takes images of at least 12 x 12 pixels, the data has 8 x 8"),
    ("lenet5", (1, 28, 28), {"pool": "none"}, "model.pool: unknown pool 'none' (known: avg, k_max, l2, max)"),
    ("cnn", IMAGE, {"channels": []}, "model.channels: needs 1 or more sizes, got []"),
    ("cnn", IMAGE, {"kernel": 4}, "model.kernel: must be odd, such as 3 or 5, to keep the resolution; got 4"),
    ("cnn", IMAGE, {"pool": "mx"},
     "model.pool: unknown pool 'mx'; did you mean 'max'? (known: avg, global, "
     "k_max, l2, max, none, strided)"),
    ("cnn", (1, 8, 8), {"channels": [4] * 4},
     "model.channels: 4 layers halve the image 4 times, the data has 8 x 8; give fewer layers, or "
     "model.pool: none"),
    ("alexnet", IMAGE, {"towers": 3}, "model.towers: 3 is not one of 1, 2"),
    ("alexnet", IMAGE, {"width": 0.0}, "model.width: must be greater than 0 and finite, got 0.0"),
    ("alexnet", (3, 32, 32), {},
     "model.name: alexnet takes images of at least 63 x 63 pixels, the data has 32 x 32"),
    ("alexnet_small", IMAGE, {"norm": "btch"}, "model.norm: unknown norm 'btch'; did you mean 'batch'?"),
    ("vgg", IMAGE, {"depth": 12}, "model.depth: 12 is not one of 11, 13, 16, 19"),
    ("vgg_small", IMAGE, {"width": float("inf")}, "model.width: must be greater than 0 and finite, got inf"),
    ("inception", (3, 79, 79), {"aux_weight": -0.1}, "model.aux_weight: must be at least 0 and finite, got -0.1"),
    ("inception_small", IMAGE, {"dropout": -0.1}, "model.dropout: must be at least 0 and less than 1, got -0.1"),
    ("resnet", IMAGE, {"depth": 50}, "model.depth: 50 is not one of 18, 34"),
    ("autoencoder", (64,), {"noise": "gausian"}, "model.noise: unknown noise 'gausian'; did you mean 'gaussian'?"),
    ("autoencoder", (64,), {"noise": "masking", "level": 1.0}, "model.level: must be at least 0 and less than 1"),
    ("autoencoder", (64,), {"sparsity": "kl"},
     "model.sparsity: kl compares mean activations in (0, 1), so model.code_activation must be sigmoid, not linear"),
    ("autoencoder", (64,), {"sparsity": "kl", "code_activation": "sigmoid", "sparsity_target": 1.0},
     "model.sparsity_target: must be greater than 0 and less than 1, got 1.0"),
    ("autoencoder", (64,), {"contractive": 0.1, "activation": "gelu"},
     "model.contractive: the slope of gelu does not follow from its output; choose one of elu, hard_tanh, "),
    ("autoencoder", (64,), {"output": "relu"}, "model.output: unknown output 'relu' (known: linear, sigmoid, tanh)"),
    ("autoencoder", (64,), {"code": 0}, "model.code: must be a whole number of at least 1, got 0"),
    ("conv_autoencoder", (1, 8, 8), {"channels": [4] * 4},
     "model.channels: 4 layers halve the image 4 times, the data has 8 x 8; give fewer layers"),
    ("conv_autoencoder", IMAGE, {"kernel": 4}, "model.kernel: must be odd, such as 3 or 5, to keep the resolution"),
    ("recurrent_autoencoder", (9, 3), {"cell": "gro"}, "model.cell: unknown cell 'gro'; did you mean 'gru'?"),
    ("vae", (64,), {"beta": -1.0}, "model.beta: must be at least 0 and finite, got -1.0"),
    ("cvae", (64,), {"hidden": []}, "model.hidden: needs 1 or more sizes, got []"),
    ("sparse_coding", (64,), {"solver": "lars"}, "model.solver: unknown solver 'lars' (known: fista, ista)"),
    ("sparse_coding", (64,), {"penalty": 0.0}, "model.penalty: must be greater than 0 and finite, got 0.0"),
    ("resnet_small", IMAGE, {"depth": 19}, "model.depth: 19 is not one of 18, 34, 20, 32, 44, 56, 110"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "shape", "options", "message"), WRONG)
def test_a_wrong_option_is_one_clear_line(name, shape, options, message):
    with torch.device("meta"), pytest.raises(ValueError, match="model") as error:
        build(name, shape, 10, **options)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(64,), (28, 28)])
@pytest.mark.parametrize("name", [name for name in ZOO if MODELS.facts(name)["family"] == "cnn"])
def test_an_image_model_refuses_what_is_no_image(name, shape):
    with pytest.raises(ValueError, match="model") as error:
        build(name, shape, 10)
    expected = f"{name} takes images (channels, height, width), the data has examples of shape {shape}"
    assert str(error.value) == f"model.name: {expected}"


@pytest.mark.parametrize("name", [name for name in ZOO if name not in UNLABELLED])
def test_a_model_without_outputs_is_refused(name):
    with torch.device("meta"), pytest.raises(ValueError, match=f"{name} gives at least one output"):
        build(name, (3, 224, 224), 0)


def test_width_and_depth_make_the_hidden_layers_of_an_mlp():
    torch.manual_seed(0)
    one = build("mlp", (64,), 10, width=8, depth=3)
    torch.manual_seed(0)
    other = build("mlp", (64,), 10, hidden=[8, 8, 8])
    assert all(
        torch.equal(a, b)
        for x, y in zip(one, other, strict=True)
        for a, b in zip(x.parameters(), y.parameters(), strict=True)
    )
