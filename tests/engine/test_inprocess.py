"""The engine in one process: fixed lags, segments, states exact to the last bit, probes without a trace."""

import copy
import io
import math

import pytest
import torch

from unlocked.engine.links import Queue
from unlocked.errors import RunFailed
from unlocked.plan.blocks import build_learner
from unlocked.schemes.alignment import align

MODEL = {"name": "mlp", "hidden": [16, 14, 12, 10], "norm": "batch", "dropout": 0.3}
ADAM = {"name": "adam", "lr": 0.01, "momentum": None, "schedule": "cosine", "warmup": 3}
LATE = [(scheme, lag) for scheme in ("dni", "cdni", "dfa") for lag in (0, 2, 5)]
CASES = [("backprop", 0), ("frozen", 0), ("local", 0), *LATE]
SOME = [("backprop", 0), ("frozen", 0), ("local", 0), ("dni", 0), ("cdni", 2), ("dfa", 0), ("dfa", 2)]


def settings(scheme, lag, modules, **more):
    return {
        "model": MODEL,
        "optimizer": ADAM,
        "parallel": {"modules": modules},
        "scheme": {"name": scheme, "lag": lag, "sg": {"hidden": [10]}},
        **more,
    }


def stored(states):
    """As a checkpoint file holds them: nothing shared with the run."""
    file = io.BytesIO()
    torch.save(states, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def equal(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


@pytest.mark.parametrize(("scheme", "lag"), LATE)
def test_at_tick_t_a_module_absorbs_minibatch_t_minus_lag_always_that_one(lab, scheme, lag):
    group = lab.start(**settings(scheme, lag, 3))
    absorbed = {}
    for k, module in enumerate(group.modules):

        def note(t, message, ports, module=module, k=k, absorb=module.learner.absorb):
            absorbed.setdefault(k, []).append((module._t, t))
            absorb(t, message, ports)

        module.learner.absorb = note
    lab.train(group, 0, 9)
    assert absorbed == {k: [(t, t - lag) for t in range(lag, 9)] for k in (0, 1)}


@pytest.mark.parametrize("scheme", ["dni", "cdni", "dfa"])
def test_lag_changes_the_numbers(lab, scheme):
    at_once, late = (lab.start(**settings(scheme, lag, 2)) for lag in (0, 3))
    assert lab.train(at_once, 0, 10) != lab.train(late, 0, 10)


@pytest.mark.parametrize(("scheme", "lag"), SOME)
def test_two_runs_are_identical_with_dropout_and_another_seed_is_not(lab, scheme, lag):
    runs = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(runs))  # whatever was drawn before
        group = lab.start(seed=seed, **settings(scheme, lag, 2))
        runs.append((lab.train(group, 0, 8), lab.weights(group)))
    assert runs[0][0] == runs[1][0]
    lab.assert_equal(runs[0][1], runs[1][1])
    assert runs[0][0] != runs[2][0]


@pytest.mark.parametrize(("scheme", "lag"), SOME)
def test_how_a_run_is_divided_into_segments_changes_nothing(lab, scheme, lag):
    whole, parts = (lab.start(**settings(scheme, lag, 3)) for _ in range(2))
    expected = lab.train(whole, 0, 14)
    at = parts.modules[0].plan.total_steps
    losses = [loss for stats in parts.run([(0, 5), (5, 6), (6, 14)], at) for loss in stats[-1].series["loss"]]
    assert losses == expected
    lab.assert_equal(lab.weights(parts), lab.weights(whole))


@pytest.mark.parametrize(("modules", "at"), [(2, 9), (4, 3), (4, 9)])  # 3: within a first lag of 5
@pytest.mark.parametrize(("scheme", "lag"), CASES)
def test_a_run_resumed_from_its_state_equals_the_unbroken_run_bit_for_bit(lab, scheme, lag, at, modules):
    unbroken, broken, resumed = (lab.start(**settings(scheme, lag, modules)) for _ in range(3))
    expected = lab.train(unbroken, 0, 20)
    before = lab.train(broken, 0, at, checkpoint_at=at)
    resumed.load_states(stored(broken.states(at)))
    assert before + lab.train(resumed, at, 20) == expected
    lab.assert_equal(lab.weights(resumed), lab.weights(unbroken))
    # the run that was only asked for its state goes on as if it had not been
    assert lab.train(broken, at, 20) == expected[at:]
    lab.assert_equal(lab.weights(broken), lab.weights(unbroken))


@pytest.mark.parametrize(("scheme", "lag"), [case for case in CASES if case[1] == 5])
def test_states_may_follow_each_other_closer_than_the_lag(lab, scheme, lag):
    unbroken, group = (lab.start(**settings(scheme, lag, 3)) for _ in range(2))
    expected, losses, start = lab.train(unbroken, 0, 20), [], 0
    for at in (4, 6, 7, 13, 15):  # resumed every time, with feedback of the time before still to be consumed
        losses += lab.train(group, start, at, checkpoint_at=at)
        state, start = stored(group.states(at)), at
        group = lab.start(**settings(scheme, lag, 3))
        group.load_states(state)
    assert losses + lab.train(group, start, 20) == expected
    lab.assert_equal(lab.weights(group), lab.weights(unbroken))


@pytest.mark.parametrize(("scheme", "lag"), SOME)
def test_a_state_is_complete_and_loading_gives_it_back(lab, scheme, lag):
    given = settings(scheme, lag, 2)
    # a scheduled rate is no state: it follows from the step
    given["optimizer"] = {"name": "adam", "lr": 0.01, "momentum": None}
    group, other = (lab.start(**given) for _ in range(2))
    lab.train(group, 0, 8, checkpoint_at=8)
    state = stored(group.states(8))
    assert not equal(stored(other.states(0)), state)
    other.load_states(copy.deepcopy(state))
    assert equal(other.states(8), state)


def test_dfa_without_notice_of_the_checkpoint_says_so(lab):
    group = lab.start(**settings("dfa", 2, 2))
    lab.train(group, 0, 8)
    with pytest.raises(AssertionError, match="prepare_checkpoint"):
        group.states(8)


@pytest.mark.parametrize(("scheme", "lag"), SOME)
def test_a_probe_leaves_weights_buffers_states_and_later_losses_untouched(lab, scheme, lag):
    probed, left_alone = (lab.start(**settings(scheme, lag, 3)) for _ in range(2))
    for group in (probed, left_alone):
        lab.train(group, 0, 7, checkpoint_at=7)
    before = lab.weights(probed)
    cosines = probed.probe()
    assert probed.probe() == cosines  # nor does it depend on one before
    lab.assert_equal(lab.weights(probed), before)
    assert equal(stored(probed.states(7)), stored(left_alone.states(7)))
    assert lab.train(probed, 7, 14) == lab.train(left_alone, 7, 14)
    lab.assert_equal(lab.weights(probed), lab.weights(left_alone))


def test_a_probe_tells_how_the_injected_gradient_lies_to_the_true_one(lab):
    cosines = {}
    for scheme in ("backprop", "dni", "dfa", "frozen"):
        group = lab.start(**settings(scheme, 0, 3))
        lab.train(group, 0, 20)
        cosines[scheme] = group.probe()
    assert cosines["backprop"] == {}  # exact: nothing to compare
    assert cosines["frozen"] == {}  # nothing is injected
    assert cosines["dni"].keys() == {0, 1}
    assert cosines["dfa"].keys() <= {0, 1, 2}
    assert {0, 1} <= cosines["dfa"].keys()
    for found in [*cosines["dni"].values(), *cosines["dfa"].values()]:
        assert -1 <= found.cosine <= 1
        assert -1 <= found.per_example <= 1
        assert 0 not in found


def test_a_probe_s_cosines_and_norms_are_those_computed_by_hand(lab):
    data = lab.data()
    group = lab.start(
        data,
        model={"name": "mlp", "hidden": [12, 10]},
        scheme={"name": "dfa"},
        parallel={"modules": 2, "partition": [1, 2]},
    )
    lab.train(group, 0, 4)
    network = [block for module in group.modules for block in module.learner.chain]
    x, y = data.train.x[:8].double(), data.train.y[:8]
    h1 = network[0](x)
    h2 = network[1](h1)
    out = network[2](h2)
    loss = torch.nn.functional.cross_entropy(out, y)
    e, d1, d2 = torch.autograd.grad(loss, [out, h1, h2])
    B1, B2 = (module.learner.feedback[0] for module in group.modules)
    probed = group.probe()
    for k, (g, d) in enumerate([(e @ B1, d1), (e @ B2, d2)]):
        each = [(a @ b / (a.norm() * b.norm())).item() for a, b in zip(g, d, strict=True)]
        whole = (g * d).sum().item() / (g.norm() * d.norm()).item()
        assert probed[k] == pytest.approx((whole, sum(each) / 8, (g.norm() / d.norm()).item()), abs=1e-12)
        assert abs(probed[k].cosine - probed[k].per_example) > 1e-3


def test_the_norm_ratio_and_the_mean_over_examples_see_what_the_cosine_is_blind_to():
    d = torch.tensor([[3.0, 0.0], [0.0, 1e-11], [0.0, 0.0]], dtype=torch.float64)
    same = align(d, d)
    assert same == pytest.approx((1.0, 1.0, 1.0), abs=1e-15)  # however small a gradient is; one that is zero has none
    assert align(4 * d, d) == pytest.approx((1.0, 1.0, 4.0), abs=1e-15)
    turned = d * torch.tensor([[1.0], [-1.0], [1.0]], dtype=torch.float64)
    assert align(turned, d) == pytest.approx((1.0, 0.0, 1.0), abs=1e-15)  # the small example counts the same
    assert align(torch.zeros_like(d), d) == (0.0, 0.0, 0.0)


def test_outputs_are_those_of_the_plain_chain_in_evaluation_mode(lab):
    data = lab.data()
    group = lab.start(data, **settings("dni", 2, 3))
    lab.train(group, 0, 8)
    network = lab.network(group.modules[0].plan)
    network.load_state_dict(lab.weights(group))
    with torch.no_grad():
        expected = network.eval()(data.test.x.double())
    torch.testing.assert_close(group.outputs("test"), expected, rtol=0, atol=1e-13)
    assert lab.train(group, 8, 9)  # back in training mode
    assert all(module.learner.chain.training for module in group.modules)


def test_weights_of_a_whole_chain_load_into_any_cut_of_it(lab):
    two, four = (lab.start(seed=seed, **settings("backprop", 0, modules)) for seed, modules in ((0, 2), (1, 4)))
    assert lab.differ(lab.weights(two), lab.weights(four))
    four.load_weights(lab.weights(two))
    lab.assert_equal(lab.weights(two), lab.weights(four))


def test_a_parameter_that_is_not_finite_is_found_and_named(lab):
    group = lab.start(**settings("dni", 0, 3))
    assert group.nonfinite() is None
    with torch.no_grad():
        group.modules[1].learner.chain[0][0].bias[2] = math.nan
    assert group.nonfinite() == (1, "0.0.bias")


def test_clipping_bounds_the_gradient_of_each_module_by_itself(lab):
    group = lab.start(model=MODEL, parallel={"modules": 2}, optimizer={"lr": 1.0, "momentum": 0.0, "clip_norm": 0.01})
    before = lab.parameters(group)
    lab.train(group, 0, 1)
    after, first = lab.parameters(group), group.modules[1].learner.spec.start
    for mine in (lambda k: int(k.partition(".")[0]) < first, lambda k: int(k.partition(".")[0]) >= first):
        norm = sum((after[k] - before[k]).square().sum() for k in before if mine(k)).sqrt().item()
        assert norm == pytest.approx(0.01, rel=1e-3)  # torch divides by the norm plus 1e-6


def test_a_queue_gives_messages_in_order_and_refuses_one_taken_for_another_minibatch():
    queue = Queue()
    one, other = torch.zeros(1), torch.ones(1)
    queue.send(4, one)
    queue.send(5, other)
    assert queue.receive(4) is one
    with pytest.raises(AssertionError, match="message of minibatch 5 taken for 6"):
        queue.receive(6)
    with pytest.raises(IndexError):
        queue.receive(6)


def test_a_message_lies_in_memory_as_another_worker_would_get_it():
    queue, message = Queue(), torch.arange(6.0).view(2, 3).T
    queue.send(0, message)
    got = queue.receive(0)
    assert got.is_contiguous()
    assert torch.equal(got, message)


def test_a_model_that_no_memory_holds_ends_in_one_line(lab):
    plan = lab.plan(model={"name": "mlp", "hidden": [10**12]})  # planning takes none
    with pytest.raises(RunFailed, match="module 0 of mlp does not fit into the memory of its worker") as caught:
        build_learner(plan, 0, torch.device("cpu"))
    assert "\n" not in str(caught.value)
