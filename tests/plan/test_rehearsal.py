"""Blocks that would train wrong, or end a run half way, are refused when it is planned: one line, with the remedy."""

import pytest
import torch
from torch import nn

from unlocked.errors import ConfigError, RunFailed
from unlocked.plan.rehearsal import examples_per_pass
from unlocked_models import MODELS, register_model

SCHEMES = ("backprop", "dni", "cdni", "dfa", "frozen")
ONE = {"data": {"batch_size": 1}}
DEEP = {"name": "mlp", "hidden": [16, 14, 12]}


class HalvesItsInput(nn.Module):
    def forward(self, h):
        return h.mul_(0.5)


class HalvesItsData(nn.Module):
    """Behind autograd's back."""

    def forward(self, h):
        h.data *= 0.5
        return h + 0


class HalvesAView(nn.Module):
    def forward(self, h):
        h.view(-1).mul_(0.5)
        return h.clone()


class ChangesWhatItNeeds(nn.Module):
    def forward(self, h):
        a = torch.tanh(h)
        return a.mul_(0.5) + h


class Detaches(nn.Module):
    def __init__(self, n=12):
        super().__init__()
        self.linear = nn.Linear(n, n)

    def forward(self, h):
        return self.linear(h.detach())


class Picks(nn.Module):
    def forward(self, h):
        return h.argmax(-1)


class Sparse(nn.Module):
    def forward(self, h):
        return h.to_sparse()


@pytest.fixture
def chain_of(monkeypatch):
    """Registers `own`: a linear layer with tanh, what is given, and the outputs."""
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))

    def make(*middle, read=lambda n: nn.Linear(12, n)):
        @register_model("own")
        def own(in_shape, n_outputs):
            return [
                nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Tanh()),
                *(block() for block in middle),
                read(n_outputs),
            ]

        return {"name": "own"}

    return make


def cut(*sizes):
    return {"modules": len(sizes), "partition": list(sizes)}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("sizes", [(3,), (1, 2), (2, 1)])
@pytest.mark.parametrize("block", [HalvesItsInput, HalvesItsData, HalvesAView])
def test_a_block_that_changes_its_input_in_place_is_refused_under_every_scheme_and_cut(
    lab, chain_of, block, sizes, scheme
):
    with pytest.raises(ConfigError, match=rf"^model\.name: block 1 \({block.__name__}\) changes its input in place"):
        lab.start(model=chain_of(block), scheme={"name": scheme}, parallel=cut(*sizes))


def test_data_changed_in_place_by_the_first_block_is_refused(lab, monkeypatch):
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))

    @register_model("own")
    def own(in_shape, n_outputs):
        return [HalvesItsInput(), nn.Sequential(nn.Flatten(), nn.Linear(64, n_outputs))]

    with pytest.raises(ConfigError, match=r"^model\.name: block 0 \(HalvesItsInput\) changes its input in place"):
        lab.start(model={"name": "own"})


def test_large_maps_are_rehearsed_without_their_memory(lab, monkeypatch):
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))
    monkeypatch.setattr("unlocked.plan.net.SMALL", 100)  # more than its 33 parameters, less than its 1,034 numbers
    trained_on = set()

    class Halves(HalvesItsInput):
        def forward(self, h):
            if self.training:
                trained_on.add(h.device.type)
            return super().forward(h)

    @register_model("own")
    def own(in_shape, n_outputs):
        return [
            nn.Conv2d(1, 4, 1),
            Halves(),
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, n_outputs)),
        ]

    with pytest.raises(ConfigError, match=r"block 1 \(Halves\) changes its input in place"):
        lab.start(model={"name": "own"})
    assert trained_on == {"meta"}


def test_a_block_that_gives_a_tuple_in_training_alone_is_named(lab, chain_of):
    class Pair(nn.Module):
        def forward(self, h):
            return (h, h) if self.training else h

    with pytest.raises(ConfigError, match=r"^model\.name: block 1 \(Pair\) gives a tuple in training mode"):
        lab.start(model=chain_of(Pair), parallel=cut(1, 2))


@pytest.mark.parametrize("what", ["x", "y"])
def test_a_block_that_changes_the_batch_in_place_is_refused(lab, chain_of, what):
    class Changes(nn.Module):
        def forward(self, h, batch):
            getattr(batch, what).mul_(2)
            return h * 1

    with pytest.raises(ConfigError, match=rf"^model\.name: block 1 \(Changes\) changes batch\.{what} in place"):
        lab.start(model=chain_of(Changes), parallel=cut(1, 2))


@pytest.mark.parametrize("scheme", ["backprop", "cdni", "dfa"])
@pytest.mark.parametrize("sizes", [(4,), (2, 2)])
def test_a_block_that_changes_what_its_backward_pass_needs_is_named(lab, chain_of, scheme, sizes):
    model = chain_of(lambda: nn.Linear(12, 12), ChangesWhatItNeeds)
    with pytest.raises(ConfigError, match=r"^model\.name: block 2 \(ChangesWhatItNeeds\) changes a tensor in place"):
        lab.start(model=model, scheme={"name": scheme}, parallel=cut(*sizes))


@pytest.mark.parametrize("scheme", ["backprop", "dni", "cdni"])
def test_a_block_without_a_gradient_to_its_input_is_refused_above_a_cut(lab, chain_of, scheme):
    model = chain_of(lambda: nn.Linear(12, 12), Detaches)
    with pytest.raises(
        ConfigError,
        match=rf"^scheme\.name: under {scheme} module 1 sends the gradient at its input.*"
        r"block 2 \(Detaches\) lets none through",
    ):
        lab.start(model=model, scheme={"name": scheme}, parallel=cut(1, 3))
    group = lab.start(model=model, scheme={"name": scheme}, parallel=cut(3, 1))  # within the first module, as in torch
    assert len(lab.train(group, 0, 3)) == 3


@pytest.mark.parametrize("scheme", ["dfa", "frozen"])
def test_schemes_that_send_no_gradients_down_train_a_block_without_one(lab, chain_of, scheme):
    group = lab.start(model=chain_of(Detaches), scheme={"name": scheme}, parallel=cut(1, 2))
    before = lab.weights(group)
    lab.train(group, 0, 5)
    assert "1.linear.weight" in lab.differ(before, lab.weights(group))
    assert 0 not in group.probe()  # the true gradient below is zero: nothing to compare with


def test_a_module_with_a_loss_of_its_own_below_a_detached_block_still_sends_a_gradient(lab, chain_of):
    class Penalised(nn.Linear):
        def local_loss(self, h, batch):
            return h.square().mean()

    group = lab.start(model=chain_of(lambda: Penalised(12, 12), Detaches), parallel=cut(1, 3))
    assert len(lab.train(group, 0, 3)) == 3


@pytest.mark.parametrize("scheme", SCHEMES)
def test_ids_cannot_pass_from_one_module_to_the_next(lab, chain_of, scheme):
    model = chain_of(Picks, read=lambda n: nn.Embedding(12, n))
    with pytest.raises(ConfigError, match=r"^parallel\.partition: module 0 ends with block 1 \(Picks\).* gives int64"):
        lab.start(model=model, scheme={"name": scheme}, parallel=cut(2, 1))
    if scheme in ("dfa", "frozen"):
        assert lab.train(lab.start(model=model, scheme={"name": scheme}, parallel=cut(1, 2)), 0, 2)


def test_a_sparse_tensor_cannot_pass_from_one_module_to_the_next(lab, chain_of):
    class Densifies(nn.Linear):
        def forward(self, h):
            return torch.sparse.mm(h, self.weight.t())

    model = chain_of(Sparse, read=lambda n: Densifies(12, n))
    with pytest.raises(ConfigError, match=r"ends with block 1 \(Sparse\), which gives a sparse tensor"):
        lab.start(model=model, scheme={"name": "frozen"}, parallel=cut(2, 1))


def test_a_block_that_raises_for_random_numbers_is_left_to_the_run(lab, chain_of):
    class OnlyReal(nn.Module):
        def forward(self, h):
            if self.training and (h.abs() > 0.999).any():
                raise ValueError("no such numbers, please")
            return h * 1

    lab.start(model=chain_of(OnlyReal), parallel=cut(1, 2))


def test_a_gradient_missing_from_one_minibatch_ends_the_run_in_one_line(lab, chain_of):
    class Sometimes(Detaches):
        seen = 0

        def forward(self, h):
            type(self).seen += 1
            return self.linear(h if type(self).seen < 8 else h.detach())

    group = lab.start(model=chain_of(Sometimes), parallel=cut(1, 2))
    with pytest.raises(RunFailed, match="module 1: no gradient reached its input, which backprop sends"):
        lab.train(group, 0, 20)


def test_a_weight_with_sparse_gradients_is_named(lab, monkeypatch):
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))

    @register_model("own")
    def own(in_shape, n_outputs, vocabulary=None):
        return [
            nn.Sequential(nn.Embedding(vocabulary, 6, sparse=True)),
            nn.Sequential(nn.Flatten(), nn.Linear(30, n_outputs)),
        ]

    with pytest.raises(ConfigError, match=r"^model\.name: the gradient of 0\.weight of block 0 .* is sparse"):
        lab.start(lab.sentences(), model={"name": "own"})


# one example --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tree", "given"),
    [
        (ONE, "data.batch_size: 1 leaves"),
        (
            {"data": {"batch_size": 2}, "parallel": {"replicas": 2, "engine": "ray"}},
            "data.batch_size: 2 over parallel.replicas=2 leaves",
        ),
        (
            {
                "data": {"batch_size": 4},
                "parallel": {"modules": 2, "schedule": "gpipe", "microbatches": 4, "engine": "ray"},
            },
            "data.batch_size: 4 in parallel.microbatches=4 leaves",
        ),
    ],
)
def test_batch_norm_needs_two_examples_in_every_pass(lab, tree, given):
    with pytest.raises(ConfigError) as refused:
        lab.plan(model={**DEEP, "norm": "batch"}, **tree)
    said = str(refused.value)
    assert said.startswith(f"{given} a single example to every pass, which block 0 (Sequential) cannot take:")
    assert "model.norm" in said
    assert lab.plan(model={**DEEP, "norm": "none"}, **tree)


def test_batch_norm_over_pixels_takes_a_single_example(lab, monkeypatch):
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))

    @register_model("own")
    def own(in_shape, n_outputs):
        return [
            nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)),
            nn.Sequential(nn.Flatten(), nn.Linear(108, n_outputs)),
        ]

    group = lab.start(model={"name": "own"}, **ONE)
    assert examples_per_pass(group.modules[0].plan.config) == 1
    assert len(lab.train(group, 0, 3)) == 3


def test_batch_norm_of_an_auxiliary_classifier_counts(lab, chain_of):
    class WithClassifier(nn.Linear):
        def __init__(self):
            super().__init__(12, 12)
            self.classifier = nn.BatchNorm1d(12)

        def local_loss(self, h, batch):
            return self.classifier(h).mean()

    with pytest.raises(ConfigError, match=r"which block 1 \(WithClassifier\) cannot take: Expected more than 1 value"):
        lab.plan(model=chain_of(WithClassifier), **ONE)


def test_batch_norm_of_synthetic_gradients_needs_two_examples(lab):
    given = {"model": {**DEEP, "norm": "none"}, "parallel": {"modules": 2}, **ONE}
    with pytest.raises(ConfigError, match=r"model of module 0's synthetic gradients.*or scheme\.sg\.norm=none"):
        lab.plan(scheme={"name": "cdni", "sg": {"hidden": [8]}}, **given)
    assert lab.plan(scheme={"name": "cdni", "sg": {"hidden": [8], "norm": "none"}}, **given)
    assert lab.plan(scheme={"name": "cdni"}, **given)


def test_batch_norm_of_synthetic_inputs_needs_two_examples(lab):
    given = {"model": {**DEEP, "norm": "none"}, "parallel": {"modules": 2}, **ONE}
    with pytest.raises(ConfigError, match=r"model of module 1's synthetic inputs.*or scheme\.inputs\.hidden=\[\]"):
        lab.plan(scheme={"name": "dni", "synthetic_inputs": True, "inputs": {"hidden": [8]}}, **given)
    assert lab.plan(scheme={"name": "dni", "synthetic_inputs": True}, **given)


# lag ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["dni", "cdni", "dfa"])
def test_a_lag_as_long_as_the_run_is_refused(lab, scheme):
    given = {"model": DEEP, "parallel": {"modules": 2}, "train": {"epochs": 2, "precision": "fp64"}}
    steps = lab.plan(scheme={"name": scheme, "lag": 1}, **given).total_steps
    with pytest.raises(ConfigError, match=rf"^scheme\.lag: {steps} is not below the {steps} steps of the run"):
        lab.plan(scheme={"name": scheme, "lag": steps}, **given)
    assert lab.plan(scheme={"name": scheme, "lag": steps - 1}, **given).lag == steps - 1
