"""What a learner registers with `holds` is saved, loaded, scheduled, checked and counted."""

import copy
import io
from collections import deque

import pytest
import torch
from torch import nn

from unlocked.engine.group import InProcessGroup
from unlocked.errors import RunFailed
from unlocked.schemes import SCHEMES, Frozen, register_scheme
from unlocked.schemes.state import Holder
from unlocked_models import Batch
from unlocked_models.contract.batch import Ragged

MLP = {"name": "mlp", "hidden": [6, 5], "activation": "tanh"}


@pytest.fixture
def scheme(monkeypatch):
    """Each module below the last learns to give the mean of its output of two minibatches ago."""
    monkeypatch.setattr(SCHEMES, "_entries", dict(SCHEMES._entries))

    @register_scheme("echo")
    class Echo(Frozen):
        def __init__(self, *args):
            super().__init__(*args)
            if not self.spec.is_last:
                torch.manual_seed(self.spec.index)
                self.echo = self.holds("echo", nn.Linear(self.spec.out_shape[0], 1))
                self.echo_optimizer = self.holds("echo_optimizer", torch.optim.Adam(self.echo.parameters(), lr=0.05))
                self.kept = self.holds("kept", deque())

        def step(self, t, h_in, batch, ports):
            super().step(t, h_in, batch, ports)
            if self.spec.is_last:
                return
            with torch.no_grad():
                h = self.chain(h_in)
            self.kept.append((t, h, batch))
            if len(self.kept) > 2:
                error = (self.echo(self.kept.popleft()[1]) - h.mean(1, keepdim=True)).square().mean()
                self.record("echo", error)
                error.backward()
                self.apply(self.echo_optimizer)

    return {"name": "echo"}


def run(lab, scheme, **tree):
    return lab.start(lab.data(), model=MLP, scheme=scheme, parallel={"modules": 3}, **tree)


def through_a_file(state):
    """As a checkpoint does: no code is loaded."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_a_learner_that_registers_its_state_resumes_as_if_it_had_never_stopped(lab, scheme):
    whole, resumed = run(lab, scheme), run(lab, scheme)
    lab.train(whole, 0, 7)
    lab.train(resumed, 0, 3)
    again = InProcessGroup(resumed.modules[0].plan, lab.data())
    again.load_states(through_a_file(resumed.states(3)))
    lab.train(again, 3, 7)
    for one, other in zip(again.modules[:-1], whole.modules[:-1], strict=True):
        assert [t for t, *_ in one.learner.kept] == [5, 6]
        lab.assert_close(one.learner.echo.state_dict(), other.learner.echo.state_dict(), 0)


def test_schedules_scale_its_rates_and_checks_see_its_weights(lab, scheme):
    group = run(lab, scheme, optimizer={"schedule": "linear"})
    learner = group.modules[0].learner
    assert learner.optimizers() == [learner.optimizer, learner.echo_optimizer]
    assert learner.inner_modules() == [learner.chain, learner.echo]
    assert next(learner.echo.parameters()).dtype is torch.float64  # where the learner is, in its precision
    lab.train(group, 0, 12)
    assert 0 < learner.echo_optimizer.param_groups[0]["lr"] < 0.05
    with torch.no_grad():
        learner.echo.bias.fill_(float("nan"))
    assert group.nonfinite() == (0, "bias")


def test_a_thing_that_was_replaced_under_its_name_is_what_is_held(lab, scheme):
    learner = run(lab, scheme).modules[0].learner
    learner.echo = nn.Linear(6, 1)
    assert learner.inner_modules()[1] is learner.echo


def test_minibatches_and_ragged_rows_are_kept_whole():
    class Keeper(Holder):
        def __init__(self):
            self.kept = self.holds("kept", deque())

    keeper, again = Keeper(), Keeper()
    rows = Ragged(torch.arange(3), torch.tensor([0, 1, 3]))
    batch = Batch(torch.ones(2, 3), torch.zeros(2), fresh=False, progress=0.5, extras={"edges": rows})
    keeper.kept.append((4, batch, rows, {"a": [torch.ones(1, requires_grad=True), None, "text"]}))
    again.load_state(through_a_file(keeper.state()))
    ((t, kept, edges, rest),) = again.kept
    assert (t, kept.fresh, kept.progress, rest["a"][1:]) == (4, False, 0.5, [None, "text"])
    assert torch.equal(kept.x, batch.x)
    assert torch.equal(kept["edges"][1], edges[1])


def test_what_no_checkpoint_takes_is_refused_by_name():
    class Keeper(Holder):
        def __init__(self):
            self.kept = self.holds("kept", deque([object()]))

    with pytest.raises(RunFailed, match=r"^Keeper: kept holds a object, which no checkpoint takes; keep tensors"):
        Keeper().state()
    with pytest.raises(TypeError, match=r"^Keeper: holds\('it', ...\) takes a module, an optimizer, a deque or a Hold"):
        Keeper().holds("it", 3)
    with pytest.raises(RunFailed, match=r"^the checkpoint has no 'kept' of Keeper: another scheme's, or version's$"):
        Keeper().load_state({})


@pytest.mark.parametrize("held", [lambda: 1, Batch], ids=["no pickle takes", "only code gives back"])
def test_a_state_of_an_optimiser_that_no_checkpoint_gives_back_is_refused_when_it_is_saved(held):
    class Keeper(Holder):
        def __init__(self):
            weight = nn.Parameter(torch.ones(2))
            self.optimizer = self.holds("optimizer", torch.optim.SGD([weight], lr=0.1))
            self.optimizer.state[weight] = {"mean": torch.ones(2), "steps": (1, [torch.ones(1)])}

    keeper, again = Keeper(), Keeper()
    again.load_state(through_a_file(keeper.state()))
    keeper.optimizer.param_groups[0]["mine"] = held
    with pytest.raises(RunFailed, match=r"^optimizer.name: the state of SGD holds more than tensors"):
        keeper.state()


@pytest.mark.parametrize(
    "tree",
    [
        {"scheme": {"name": "cdni", "lag": 2}},
        {"scheme": {"name": "dni", "lag": 2, "synthetic_inputs": True}},
        {"scheme": {"name": "dfa", "lag": 2}},
        {"scheme": {"name": "backprop"}},
    ],
    ids=lambda tree: tree["scheme"]["name"],
)
def test_checkpoints_of_version_0_1_are_still_read(lab, tree):
    """They name an optimiser and an M through time that there are not, and M's queue is of pairs."""
    data = lab.data()
    whole, resumed = (lab.start(data, model=MLP, parallel={"modules": 3}, **tree) for _ in range(2))
    expected = lab.train(whole, 0, 6)
    lab.train(resumed, 0, 3, checkpoint_at=3)
    states = copy.deepcopy(resumed.states(3))
    for state in states:
        learner = state["learner"]
        learner.setdefault("time", None)
        if "kept" in learner:
            learner["kept"] = [entry[:2] for entry in learner["kept"]]
        if "waiting" in learner:
            learner["waiting"] = [
                (t, h, (batch["x"], batch["y"], batch["fresh"], batch["ends"], None, None), *rest)
                for t, h, batch, *rest in learner["waiting"]
            ]
    again = InProcessGroup(resumed.modules[0].plan, data)
    again.load_states(states)
    assert lab.train(again, 3, 6) == expected[3:]
