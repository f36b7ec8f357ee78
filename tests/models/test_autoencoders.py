"""Autoencoders against the equations of their papers, in float64."""

import math

import pytest
import torch
from sklearn.decomposition import PCA, sparse_encode
from torch import nn
from torch.distributions import Bernoulli, Normal, kl_divergence

from unlocked_models import Batch, Chain, build
from unlocked_models.autoencoder.plain import (
    SLOPES,
    Corruption,
    TiedLinear,
    bernoulli_divergence,
    code_block,
    decode,
    encode,
)
from unlocked_models.autoencoder.recurrent import FromSequence
from unlocked_models.autoencoder.sparse_coding import Dictionary, SparseCoder, sparse_codes
from unlocked_models.autoencoder.variational import Gaussian, Sample, kl_to_standard_normal
from unlocked_models.layers.activations import activation
from unlocked_models.layers.sequences import AsSequence


def chain(name, in_shape=(10,), **options) -> Chain:
    torch.manual_seed(0)
    return Chain(build(name, in_shape, 3, **options)).double()


def batch(*shape, classes=3) -> Batch:
    torch.manual_seed(1)
    return Batch(torch.randn(5, *shape, dtype=torch.float64), torch.randint(classes, (5,)))


# penalties --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phi", sorted(SLOPES))
def test_slopes_follow_from_outputs(phi):
    a = torch.linspace(-3, 3, 40, dtype=torch.float64).requires_grad_()
    h = a * 1 if phi == "linear" else activation(phi)(a)
    (slope,) = torch.autograd.grad(h.sum(), a)
    torch.testing.assert_close(SLOPES[phi](h), slope, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("phi", ["sigmoid", "tanh", "elu"])
def test_the_contractive_term_is_the_squared_norm_of_each_layers_jacobian(phi):
    net = chain("autoencoder", hidden=[7], code=4, activation=phi, code_activation=phi, contractive=0.3)
    given = batch(10)
    h = given.x
    for block in list(net)[:2]:
        out = block(h)
        squares = [torch.autograd.functional.jacobian(block, row[None]).square().sum() for row in h]
        torch.testing.assert_close(block.local_loss(out, given), 0.3 * torch.stack(squares).mean(), rtol=1e-12, atol=0)
        h = out
    assert not any(hasattr(block, "local_loss") for block in list(net)[2:])


def test_the_kl_sparsity_is_that_of_bernoulli_variables_over_the_minibatch():
    net = chain(
        "autoencoder",
        hidden=[],
        code=6,
        code_activation="sigmoid",
        sparsity="kl",
        sparsity_weight=0.7,
        sparsity_target=0.2,
    )
    given = batch(10)
    h = net[0](given.x)
    target = Bernoulli(torch.full((6,), 0.2, dtype=torch.float64))
    expected = 0.7 * kl_divergence(target, Bernoulli(h.mean(0))).sum()
    torch.testing.assert_close(net[0].local_loss(h, given), expected, rtol=1e-12, atol=0)


def test_the_divergence_from_units_that_never_fire_is_finite():
    assert bernoulli_divergence(0.1, torch.tensor([0.0, 1.0])).isfinite().all()


def test_the_l1_sparsity_is_of_the_code_alone():
    net = chain("autoencoder", hidden=[7], code=6, sparsity="l1", sparsity_weight=0.7)
    given = batch(10)
    h = net[0](given.x)
    code = net[1](h)
    torch.testing.assert_close(net[1].local_loss(code, given), 0.7 * code.abs().sum() / 5, rtol=1e-12, atol=0)
    assert [hasattr(block, "local_loss") for block in net] == [False, True, False, False]


# noise, tied weights ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["autoencoder", "conv_autoencoder", "recurrent_autoencoder"])
@pytest.mark.parametrize("kind", ["gaussian", "masking"])
def test_noise_is_there_in_training_only(name, kind):
    net = chain(name, (1, 8, 8), noise=kind, level=0.4)
    x = batch(1, 8, 8).x
    (noise,) = (layer for layer in net.modules() if isinstance(layer, Corruption))
    assert torch.equal(noise.eval()(x), x)
    changed = noise.train()(x) != x
    assert changed.any(0).any()
    if name == "autoencoder":
        assert not torch.equal(net.train()(x), net(x))
        assert torch.equal(net.eval()(x), net(x))


def test_masking_sets_its_fraction_to_zero_and_gaussian_noise_has_its_deviation():
    x = torch.ones(200, 100)
    torch.manual_seed(0)
    masked = Corruption("masking", 0.3)(x)
    assert set(masked.unique().tolist()) == {0.0, 1.0}
    assert float((masked == 0).float().mean()) == pytest.approx(0.3, abs=0.02)  # 20,000 draws
    assert float((Corruption("gaussian", 0.3)(x) - x).std()) == pytest.approx(0.3, abs=0.01)


def test_tied_weights_are_one_parameter_and_learn_from_both_uses():
    net = chain("autoencoder", hidden=[7], code=4, activation="tanh", tied=True)
    tied = [layer for layer in net.modules() if isinstance(layer, TiedLinear)]
    linears = [layer for layer in net.modules() if isinstance(layer, nn.Linear)]
    assert [layer.weight for layer in tied] == [layer.weight for layer in reversed(linears)]
    x = batch(10).x
    net(x).square().sum().backward()
    (W, V), (b, c) = [layer.weight.detach().requires_grad_() for layer in linears], [layer.bias for layer in linears]
    code = torch.tanh(x @ W.t() + b) @ V.t() + c
    out = torch.tanh(code @ V + tied[0].bias) @ W + tied[1].bias
    torch.testing.assert_close(net(x), out, rtol=1e-12, atol=1e-12)
    out.square().sum().backward()
    torch.testing.assert_close(linears[0].weight.grad, W.grad, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(linears[1].weight.grad, V.grad, rtol=1e-10, atol=1e-10)
    assert len(list(net.parameters())) == len(list(chain("autoencoder", hidden=[7], code=4).parameters())) - 2


# variational ------------------------------------------------------------------------------------------------


def test_the_kl_term_is_that_of_torch_distributions():
    torch.manual_seed(0)
    h = torch.randn(5, 8, dtype=torch.float64)
    mean, log_variance = h.chunk(2, 1)
    expected = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(kl_to_standard_normal(h), expected, rtol=1e-12, atol=1e-12)
    block = Gaussian(3, 4, beta=2.5, warmup=0).double()
    torch.testing.assert_close(block.local_loss(h, batch(10)), 2.5 * expected.mean(), rtol=1e-12, atol=0)


def test_the_weight_of_the_kl_term_rises_over_the_training_steps_and_not_over_others():
    block = Gaussian(3, 2, beta=2.0, warmup=4).double()
    given = batch(3)
    weights = []
    for _ in range(6):
        h = block(given.x)
        weights.append((block.local_loss(h, given) / kl_to_standard_normal(h).mean()).item())
        block.eval()(given.x)
        block.train()
    assert weights == pytest.approx([0, 0.5, 1.0, 1.5, 2.0, 2.0])
    assert "steps" in block.state_dict()  # a checkpoint goes on with it


def test_samples_have_the_mean_and_variance_that_the_encoder_gives():
    torch.manual_seed(0)
    h = torch.tensor([[1.0, -2.0, math.log(0.25), math.log(4.0)]]).expand(40_000, -1)
    z = Sample()(h)
    torch.testing.assert_close(z.mean(0), torch.tensor([1.0, -2.0]), rtol=0, atol=0.04)  # 4 standard errors
    torch.testing.assert_close(z.std(0), torch.tensor([0.5, 2.0]), rtol=0, atol=0.04)
    assert torch.equal(Sample().eval()(h), h[:, :2])


def test_a_conditional_code_is_decoded_by_its_label():
    net = chain("cvae", hidden=[7], code=2).eval()
    given = batch(10)
    z = encode(list(net), given)
    outs = [decode(list(net), z, Batch(None, torch.full((5,), label))) for label in (0, 1)]
    assert (outs[0] - outs[1]).abs().max() > 1e-3
    with pytest.raises(ValueError, match=r"model\.name: cvae is conditioned on one class label"):
        net(given.x, Batch(given.x, torch.randn(5, 2)))


# codes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "in_shape", "options", "code"),
    [
        ("autoencoder", (10,), {"code": 4}, (4,)),
        ("conv_autoencoder", (3, 9, 21), {"channels": [4, 6], "code": 5}, (5,)),
        ("conv_autoencoder", (1, 8, 8), {"channels": [4], "code": 0, "pool": "avg", "norm": "none"}, (4, 4, 4)),
        ("recurrent_autoencoder", (7,), {"code": 3, "cell": "lstm"}, (3,)),
        ("recurrent_autoencoder", (2, 5, 7), {"hidden": [6, 4], "code": 3}, (3,)),
        ("vae", (1, 8, 8), {"code": 3, "warmup": 2}, (3,)),
        ("cvae", (1, 8, 8), {"code": 3}, (3,)),
        ("sparse_coding", (1, 8, 8), {"atoms": 20}, (20,)),
    ],
)
def test_decoding_a_code_is_the_chain(name, in_shape, options, code):
    net = chain(name, in_shape, **options).eval()
    given = batch(*in_shape)
    z = encode(list(net), given)
    assert z.shape == (5, *code)
    out = net(given.x, given)
    assert out.shape == given.x.shape
    torch.testing.assert_close(decode(list(net), z, given), out, rtol=0, atol=0)


def test_a_model_without_a_code_says_so():
    assert code_block(build("mlp", (10,), 3)) is None


@pytest.mark.parametrize("shape", [(7,), (7, 3), (2, 5, 4)])
def test_a_sequence_goes_back_to_the_shape_it_came_from(shape):
    x = torch.randn(3, *shape)
    assert torch.equal(FromSequence(shape)(AsSequence()(x)), x)


@pytest.mark.parametrize(
    ("name", "other", "options"),
    [("autoencoder", "mlp", {"hidden": [12]}), ("conv_autoencoder", "cnn", {"channels": [4, 6]})],
)
def test_encoders_have_the_parameters_of_the_classifiers_that_begin_with_them(name, other, options):
    encoder = chain(name, (1, 8, 8), code=5, **options)
    hidden = {"hidden": [12, 5]} if other == "mlp" else options
    classifier = chain(other, (1, 8, 8), **hidden)
    shared = 2
    for a, b in list(zip(encoder, classifier, strict=False))[:shared]:
        assert {key: value.shape for key, value in a.state_dict().items()} == {
            key: value.shape for key, value in b.state_dict().items()
        }


def test_linear_layers_learn_what_principal_components_leave():
    """The best linear code of k units spans the first k principal components (Bourlard and Kamp 1988)."""
    torch.manual_seed(0)
    x = torch.randn(200, 3, dtype=torch.float64) @ torch.randn(3, 10, dtype=torch.float64)
    x = x + 0.3 * torch.randn_like(x)
    x = x - x.mean(0)
    pca = PCA(2).fit(x.numpy())
    best = float(((pca.inverse_transform(pca.transform(x.numpy())) - x.numpy()) ** 2).sum(1).mean())
    net = chain("autoencoder", (10,), hidden=[], code=2, tied=True)
    optimizer = torch.optim.LBFGS(net.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        error = (net(x) - x).square().sum(1).mean()
        error.backward()
        return error

    optimizer.step(loss)
    assert loss().item() == pytest.approx(best, rel=1e-4)


# sparse coding ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("accelerated", "iterations"), [(True, 2000), (False, 20_000)])
def test_codes_are_those_of_the_lasso(accelerated, iterations):
    torch.manual_seed(0)
    D = nn.functional.normalize(torch.randn(8, 12, dtype=torch.float64), dim=0)
    x = torch.randn(6, 8, dtype=torch.float64)
    expected = sparse_encode(x.numpy(), D.t().numpy(), algorithm="lasso_lars", alpha=0.2)
    found = sparse_codes(x, D, 0.2, iterations, accelerated)
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=0, atol=1e-6)
    assert 0 < int((found == 0).sum()) < found.numel()


def test_momentum_comes_nearer_in_as_many_steps():
    torch.manual_seed(0)
    D = nn.functional.normalize(torch.randn(8, 12, dtype=torch.float64), dim=0)
    x = torch.randn(6, 8, dtype=torch.float64)

    def objective(z):
        return float(0.5 * (x - z @ D.t()).square().sum() + 0.2 * z.abs().sum())

    best, ista, fista = (
        objective(sparse_codes(x, D, 0.2, n, fast)) for n, fast in ((5000, True), (40, False), (40, True))
    )
    assert fista - best < 0.2 * (ista - best)


def test_columns_of_the_dictionary_have_length_one_whatever_the_optimiser_did():
    dictionary = Dictionary(8, 12).double()
    with torch.no_grad():
        dictionary.weight.mul_(7.0).add_(0.1)
    torch.testing.assert_close(dictionary.columns().norm(dim=0), torch.ones(12, dtype=torch.float64))


def test_the_local_loss_of_the_coder_has_the_gradient_of_the_whole_objective():
    """Danskin: the derivative of min over z is that at the minimum; checked by differences of the objective itself."""
    torch.manual_seed(0)
    coder = SparseCoder(6, 9, penalty=0.2, iterations=4000, accelerated=True).double()
    given = batch(6)

    def objective() -> float:
        z, D = coder(given.x), coder.dictionary.columns()
        return (0.5 * (given.x - z @ D.t()).square().sum() + 0.2 * z.abs().sum()).item() / 5

    loss = coder.local_loss(coder(given.x), given)
    assert loss.item() == pytest.approx(2 * objective())
    loss.backward()
    weight, step = coder.dictionary.weight, 1e-5
    for place in ((0, 0), (3, 4), (5, 8)):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[place] += sign * step
                values.append(objective())
                weight[place] -= sign * step
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(float(weight.grad[place]) / 2, abs=1e-6)
