"""Several nets by name: phases of a step, one update of several paths, exact gradients between nets, checkpoints."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from unlocked.engine.group import InProcessGroup
from unlocked.engine.phases import NetsGroup
from unlocked.engines import engine_of
from unlocked.errors import ConfigError
from unlocked.optim import lr_factor
from unlocked.plan.describe import describe
from unlocked.plan.make import make_plan
from unlocked.seeding import derive_seed, step_seed
from unlocked.tasks import TASKS, Task, register_task
from unlocked.tasks.adversarial import latents
from unlocked.tasks.gan_losses import says
from unlocked.tasks.phases import NET, Phase, as_it_is, fault
from unlocked_models import MODELS, Chain, register_model
from unlocked_models.contract.nets import Net

GAN = {
    "model": {"name": "gan", "latent": 4, "generator": [12, 10], "discriminator": [9, 8], "dropout": 0.0, "noise": 0.0},
    "task": "adversarial",
    "data": {"batch_size": 6},
    "parallel": {"modules": 3, "engine": "auto"},
    "optimizer": {"name": "sgd", "lr": 0.05, "momentum": None},
}
DRAWING = {**GAN["model"], "dropout": 0.3, "noise": 0.2}
SCHEMES = ["backprop", "dni", "cdni", "dfa", "frozen"]


def start(lab, data=None, **tree) -> NetsGroup:
    data = data or lab.data(n=30)
    return NetsGroup(lab.plan(data, **{**GAN, **tree}), data)


def train(group, start, stop):
    (stats,) = group.run([(start, stop)], stop)
    return stats


def weights(group) -> dict[str, torch.Tensor]:
    return {name: x for state in group.states(0) for name, x in state["weights"].items()}


def chains(group) -> dict[str, Chain]:
    """Copies of the nets."""
    made = {}
    for net, passed in group.nets.items():
        blocks = nn.ModuleList(block for learner in passed._learners for block in learner.chain)
        made[net] = Chain(copy.deepcopy(blocks)).train()
    return made


def z_of(group, phase, t):
    i = [each.name for each in group.phases].index(phase)
    generator = torch.Generator().manual_seed(step_seed(derive_seed(group.plan.config.seed, "feed", phase), t))
    return group.phases[i].feed(group.feeds.minibatch(t), generator)


@pytest.mark.parametrize("scheme", ["backprop", "cdni"])
def test_the_moving_average_of_every_net_is_evaluated_and_saved_and_moves_no_training(lab, scheme):
    """a = d a + (1 - d) w after every step of an optimiser, of which a minibatch has one for each net."""
    tree = {"scheme": {"name": scheme}, "model": DRAWING}
    plain, group, again = start(lab, **tree), *(start(lab, **tree, train={"average": 0.8}) for _ in range(2))
    expected, held = {}, None
    for t in range(5):
        losses = [train(each, t, t + 1)[-1].series for each in (plain, group)]
        assert losses[0] == losses[1]
        for name, p in (
            (f"{net}.{name}", p) for net, chain in chains(plain).items() for name, p in chain.named_parameters()
        ):
            expected[name] = 0.8 * expected[name] + 0.2 * p.detach() if name in expected else p.detach().clone()
        if t == 2:
            held = copy.deepcopy(group.states(3))
    found = weights(group)
    lab.assert_close({name: found[name] for name in expected}, expected, 1e-12)
    after = start(lab, **tree)
    after.load_weights(found)
    assert torch.equal(group.outputs("test"), after.outputs("test"))
    assert not torch.equal(group.outputs("test"), plain.outputs("test"))
    again.load_states(held)
    train(again, 3, 5)
    lab.assert_equal(weights(again), found)


def test_under_backprop_a_step_is_that_of_the_loop_anybody_would_write(lab):
    """The losses of real and made images add before the discriminator moves; then the generator, through it."""
    group = start(lab)
    nets = chains(group)
    G, D = nets["generator"], nets["discriminator"]
    of_G, of_D = (torch.optim.SGD(net.parameters(), lr=0.05) for net in (G, D))
    expected = []
    for t in range(3):
        batch, fake = group.feeds.minibatch(t), z_of(group, "fake", t)
        before = {name: x.clone() for name, x in G.named_buffers()}
        with torch.no_grad():
            made = G(fake.x, fake)
        for name, x in G.named_buffers():
            x.copy_(before[name])
        real, wrong = says(0.9)(D(batch.x, batch), batch), says(0.0)(D(made, fake), fake)
        of_D.zero_grad()
        (real + wrong).backward()
        of_D.step()
        asked = z_of(group, "generator", t)
        fools = says(1.0)(D(G(asked.x, asked), asked), asked)
        of_G.zero_grad()
        fools.backward()
        of_G.step()
        expected.append([x.item() for x in (real, wrong, fools)])
    stats = train(group, 0, 3)
    series = {name: values for s in stats for name, values in s.series.items()}
    found = [
        list(each) for each in zip(*(series[f"loss@{name}"] for name in ("real", "fake", "generator")), strict=True)
    ]
    assert found == [pytest.approx(each, abs=1e-10) for each in expected]
    plain = {f"{net}.{name}": x for net, chain in nets.items() for name, x in chain.state_dict().items()}
    lab.assert_close(weights(group), plain, 1e-10)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_last_block_of_the_generator_has_the_exact_gradient_under_every_scheme(lab, scheme):
    group = start(lab, scheme={"name": scheme}, nets={"generator": {"optimizer": {"lr": 1.0}}})
    nets, before = chains(group), weights(group)
    train(group, 0, 1)
    moved, D = weights(group), nets["discriminator"]
    D.load_state_dict({k.partition(".")[2]: x for k, x in moved.items() if k.startswith("discriminator.")})
    asked = z_of(group, "generator", 0)
    G = nets["generator"]
    loss = says(1.0)(D(G(asked.x, asked), asked), asked)
    last = dict(G[-1].named_parameters())
    for name, true in zip(last, torch.autograd.grad(loss, list(last.values())), strict=True):
        key = f"generator.2.{name}"
        torch.testing.assert_close(before[key] - moved[key], true, rtol=0, atol=1e-12)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_net_that_learns_by_a_scheme_of_its_own_leaves_the_others_cut_as_they_are(lab, scheme):
    """Every cut gives the numbers of its scheme, draws included; under backprop and dfa all cuts the same."""
    data = lab.data(n=30)
    group = start(
        lab, data, model=DRAWING, scheme={"name": scheme}, nets={"discriminator": {"scheme": {"name": "dfa"}}}
    )
    losses = [s.series for s in train(group, 0, 4)]
    assert {type(m.learner).__name__.lower() for m in group.groups["discriminator"]["fake"].modules} == {"dfa"}
    assert all(torch.isfinite(torch.tensor(values)).all() for series in losses for values in series.values())
    again = start(
        lab, data, model=DRAWING, scheme={"name": scheme}, nets={"discriminator": {"scheme": {"name": "dfa"}}}
    )
    train(again, 0, 4)
    lab.assert_equal(weights(group), weights(again))


def test_a_net_learns_one_synthetic_gradient_model_per_phase_and_shares_its_weights(lab):
    group = start(lab, scheme={"name": "cdni"})
    real, fake = (group.groups["discriminator"][phase].modules[0].learner for phase in ("real", "fake"))
    assert real.chain is fake.chain
    assert real.optimizer is fake.optimizer
    assert (real.waits, fake.waits) == (True, False)
    train(group, 0, 5)
    assert not torch.equal(real.sg.net[0].weight, fake.sg.net[0].weight)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_run_that_goes_on_from_a_checkpoint_equals_an_unbroken_one(lab, scheme):
    data = lab.data(n=30)
    tree = {"scheme": {"name": scheme}, "model": DRAWING, "optimizer": {"name": "adam", "lr": 0.01, "momentum": None}}
    unbroken, broken = start(lab, data, **tree), start(lab, data, **tree)
    train(unbroken, 0, 7)
    train(broken, 0, 3)
    states = broken.states(3)
    assert len(states) == broken.plan.learners
    resumed = start(lab, data, **tree)
    train(resumed, 0, 1)  # whatever it has learned is replaced
    resumed.load_states(states)
    train(resumed, 3, 7)
    lab.assert_equal(weights(unbroken), weights(resumed))
    assert torch.equal(unbroken.outputs("test"), resumed.outputs("test"))
    before = weights(resumed)
    assert resumed.probe() == unbroken.probe()
    assert set(resumed.probe()) == ({0, 1, 3, 4} if scheme in ("dfa", "cdni", "dni") else set())
    lab.assert_equal(before, weights(resumed))


LATE = {"scheme": {"name": "dfa", "lag": 2}}


def test_at_a_lag_the_first_update_of_a_lower_module_is_that_of_the_first_step(lab):
    """Of both phases of the discriminator, at the weights of then; its last module learns at once."""
    data = lab.data(n=30)
    now, late = start(lab, data, scheme={"name": "dfa"}), start(lab, data, **LATE)
    assert (now.plan.lag, late.plan.lag) == (0, 2)
    begin = now_weights(late)
    train(now, 0, 1)
    train(late, 0, 1)
    first = now_weights(now)
    lower = [key for key in begin if key.startswith(("discriminator.0", "discriminator.1"))]
    last = [key for key in begin if key.startswith("discriminator.2")]
    assert all(torch.equal(begin[key], now_weights(late)[key]) for key in lower)
    lab.assert_equal({key: first[key] for key in last}, {key: now_weights(late)[key] for key in last})
    train(late, 1, 2)
    assert all(torch.equal(begin[key], now_weights(late)[key]) for key in lower)
    train(late, 2, 3)
    assert lab.differ({key: begin[key] for key in lower}, first)
    lab.assert_close({key: now_weights(late)[key] for key in lower}, {key: first[key] for key in lower}, 1e-12)


@pytest.mark.parametrize("scheme", ["dfa", "dni", "cdni"])
def test_a_late_run_that_goes_on_from_a_checkpoint_equals_an_unbroken_one(lab, scheme):
    data = lab.data(n=30)
    tree = {"scheme": {"name": scheme, "lag": 2}, "model": DRAWING}
    unbroken, broken, resumed = (start(lab, data, **tree) for _ in range(3))
    train(unbroken, 0, 7)
    train(broken, 0, 3)
    resumed.load_states(copy.deepcopy(broken.states(3)))
    for other in (broken, resumed):  # what was under way is still taken
        train(other, 3, 7)
        lab.assert_equal(now_weights(unbroken), now_weights(other))


def now_weights(group) -> dict[str, torch.Tensor]:
    """At any step, not only when a checkpoint may be taken."""
    modules = [module for groups in group.groups.values() for module in next(iter(groups.values())).modules]
    return {name: x for module in modules for name, x in module.weights().items()}


def test_nets_that_do_not_learn_in_a_phase_stay_as_they_are(lab):
    group = start(lab, scheme={"name": "frozen"})
    buffers = {name: x for name, x in weights(group).items() if "running_mean" in name}
    lesson = group._lessons[1][0]  # the discriminator, of made images
    lesson.prepare(1, z_of(group, "fake", 0))
    lesson.group.tick(1)
    after = weights(group)
    assert buffers
    assert all(torch.equal(x, after[name]) for name, x in buffers.items())


def test_one_net_and_its_one_phase_are_the_run_of_one_net(lab):
    """The special case, held against the general one."""
    data = lab.data()
    tree = {
        "model": {"name": "mlp", "hidden": [16, 12], "dropout": 0.3},
        "parallel": {"modules": 2},
        "scheme": {"name": "dni", "lag": 0},
    }
    plan = lab.plan(data, **tree)
    one = InProcessGroup(plan, data)
    net = replace(plan, phases=(NET,))
    general = NetsGroup(replace(plan, nets={NET: net}), data)
    losses = lab.train(one, 0, 6)
    series = train(general, 0, 6)[-1].series
    assert series[f"loss@{NET}"] == losses
    general_weights = {name.removeprefix("None."): x for name, x in weights(general).items()}
    lab.assert_equal(lab.weights(one), general_weights)


def test_schedules_count_steps_and_not_passes(lab):
    group = start(lab, optimizer={**GAN["optimizer"], "schedule": "linear", "warmup": 2})
    train(group, 0, 4)
    factor = lr_factor(group.plan.config.optimizer, group.plan.total_steps)
    for groups in group.groups.values():
        for its in groups.values():
            assert its.modules[0].learner.optimizer.param_groups[0]["lr"] == pytest.approx(0.05 * factor(3))


def test_each_phase_counts_the_models_that_it_has(lab):
    plan = lab.plan(lab.data(n=30), **{**GAN, "scheme": {"name": "cdni"}})
    rows = describe(plan)
    assert [row["net"] for row in rows] == ["generator"] * 3 + ["discriminator"] * 3
    group = NetsGroup(plan, lab.data(n=30))
    for row in rows:
        learners = [its.modules[row["module"]].learner for its in group.groups[row["net"]].values()]
        held = sum(p.numel() for each in learners for model in each.inner_modules()[1:] for p in model.parameters())
        assert sum(row["beside"].values()) == held
        assert row["parameters"] == sum(p.numel() for p in learners[0].chain.parameters())


def test_several_nets_run_in_one_process_whatever_their_modules(lab):
    config = lab.config(**GAN)
    assert config.parallel.engine == "inprocess"
    assert engine_of(config.parallel).on_ray is False


# four nets: the thought test of the contract --------------------------------------------------------------------


@pytest.fixture
def cycle():
    """CycleGAN (Zhu et al. 2017): G from A to B, F back, a discriminator of each; identity and cycle are more paths."""

    @register_model("tiny_cycle", family="custom", nets=("G", "F", "DA", "DB"))
    def tiny_cycle(in_shape, n_outputs):
        def translator():
            return Net([nn.Sequential(nn.Flatten(), nn.Linear(4, 6)), nn.Sequential(nn.Tanh(), nn.Linear(6, 4))], (4,))

        def critic():
            return Net([nn.Linear(4, 5), nn.Sequential(nn.Tanh(), nn.Linear(5, 1))], (4,))

        return {"G": translator(), "F": translator(), "DA": critic(), "DB": critic()}

    @register_task("tiny_cycle")
    class Cycle(Task):
        monitor, higher_is_better, nets = "loss", False, ("G", "F", "DA", "DB")

        def phases(self, shapes):
            def a(batch, generator):
                return replace(batch, x=batch.x.flatten(1)[:, :4])

            def b(batch, generator):
                return replace(batch, x=batch.x.flatten(1)[:, 4:])

            def back(of):
                return lambda out, batch: F.l1_loss(out, batch.x)

            both = ("G", "F")
            return [
                Phase("fool_b", ("G", "DB"), a, says(1.0), ("G",), update=False),
                Phase("fool_a", ("F", "DA"), b, says(1.0), ("F",), update=False),
                Phase("identity_b", ("G",), b, back("b"), ("G",), update=False),
                Phase("identity_a", ("F",), a, back("a"), ("F",), update=False),
                Phase("cycle_a", ("G", "F"), a, back("a"), both, update=False),
                Phase("cycle_b", ("F", "G"), b, back("b"), both),
                Phase("real_a", ("DA",), a, says(1.0), ("DA",), update=False),
                Phase("made_a", ("F", "DA"), b, says(0.0), ("DA",)),
                Phase("real_b", ("DB",), b, says(1.0), ("DB",), update=False),
                Phase("made_b", ("G", "DB"), a, says(0.0), ("DB",)),
            ]

        @classmethod
        def misfit(cls, data_task, example):
            return None

        def output_shape(self, example):
            return (4,)

        def loss(self, output, target): ...

        def metrics(self, kept, target):
            return {"loss": 0.0}

        def context_shape(self, example):
            return (example.n_outputs,)

        def context(self, rows, example, like):
            return F.one_hot(rows.y, example.n_outputs).to(like)

    yield
    for registry, name in ((MODELS, "tiny_cycle"), (TASKS, "tiny_cycle")):
        del registry._entries[name], registry._facts[name]


@pytest.mark.usefixtures("cycle")
def test_four_nets_over_ten_paths_move_by_the_sum_of_their_gradients(lab):
    data = lab.data((1, 2, 4), n=24)
    group = start(lab, data, model={"name": "tiny_cycle"}, task="tiny_cycle", parallel={"modules": 2})
    nets, before = chains(group), weights(group)
    batch = group.feeds.minibatch(0)
    A, B = batch.x.flatten(1)[:, :4], batch.x.flatten(1)[:, 4:]
    G, back, DA, DB = (nets[name] for name in ("G", "F", "DA", "DB"))
    total = (
        says(1.0)(DB(G(A)), batch)
        + says(1.0)(DA(back(B)), batch)
        + F.l1_loss(G(B), B)
        + F.l1_loss(back(A), A)
        + F.l1_loss(back(G(A)), A)
        + F.l1_loss(G(back(B)), B)
    )
    translators = [*G.parameters(), *back.parameters()]
    true = torch.autograd.grad(total, translators)
    train(group, 0, 1)
    after = weights(group)
    names = [f"{net}.{name}" for net in ("G", "F") for name, _ in nets[net].named_parameters()]
    for name, gradient in zip(names, true, strict=True):
        torch.testing.assert_close(before[name] - after[name], 0.05 * gradient, rtol=0, atol=1e-12)
    assert {name.partition(".")[0] for name in lab.differ(before, after)} == set(nets)


@pytest.mark.usefixtures("cycle")
@pytest.mark.parametrize("scheme", SCHEMES)
def test_four_nets_train_under_every_scheme(lab, scheme):
    data = lab.data((1, 2, 4), n=24)
    group = start(
        lab, data, model={"name": "tiny_cycle"}, task="tiny_cycle", parallel={"modules": 2}, scheme={"name": scheme}
    )
    stats = train(group, 0, 4)
    assert len(stats) == group.plan.modules == 8
    assert all(torch.isfinite(torch.tensor(values)).all() for s in stats for values in s.series.values())


# what is refused ------------------------------------------------------------------------------------------------


def test_phases_that_cannot_be_run_are_named():
    def phase(name="p", path=("G",), learns=("G",), update=True):
        return Phase(name, path, as_it_is, says(1.0), learns, update)

    assert fault([phase()], ("G",)) is None
    assert fault([phase(), phase()], ("G",)) == "two phases are named 'p'"
    assert fault([phase(path=("H",))], ("G",)) == "the path of phase 'p' has the net 'H' (known: G)"
    assert fault([phase(learns=("D",))], ("G", "D")) == "'D' learns in phase 'p' and is not in its path"
    assert fault([phase(update=False)], ("G",)) == (
        "the gradients of 'G' in phase 'p' wait for a later phase of the step, and none updates it"
    )
    assert fault([phase()], ("G", "D")) == "no phase trains the net 'D'"


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        (
            {"task": None},
            "model.name: gan has the nets generator, discriminator; the task classification needs a model",
        ),
        (
            {"model": {"name": "mlp"}},
            "model.name: mlp has one net; the task adversarial needs the nets generator, disc",
        ),
        ({"nets": {"generatr": {}}}, "nets: unknown net 'generatr'; did you mean 'generator'?"),
        (
            {"nets": {"generator": {"seed": 1}}},
            "nets.generator.seed: all nets of a run share it; keys of one: optimizer",
        ),
        (
            {"nets": {"generator": {"optimizer": {"lr": -1}}}},
            "nets.generator: optimizer.lr: must be greater than 0, got -1.0",
        ),
        (
            {"parallel": {"modules": 3, "modules_per_worker": 4}},
            "parallel.modules: 6 in all nets cannot be shared out, 4 to a worker; it must be a multiple",
        ),
        (
            {"nets": {"generator": {"parallel": {"modules_per_worker": 3}}}},
            "nets.generator.parallel.modules_per_worker: all nets of a run share it; keys of one: optimizer",
        ),
        (
            {"parallel": {"modules": 3, "engine": "ray", "schedule": "gpipe"}},
            "parallel.schedule: pipelines are of one net, whose one loss fills them with microbatches; each",
        ),
        (
            {"scheme": {"name": "dfa", "lag": 2}, "nets": {"discriminator": {"scheme": {"name": "backprop"}}}},
            "nets.discriminator: scheme.lag: 2 cannot be used with backprop: its update needs this minibatch's own",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(lab, tree, said):
    with pytest.raises(ConfigError) as error:
        make_plan(lab.config(**{**GAN, **tree}), lab.data())
    assert str(error.value).startswith(said)


def test_latents_draw_from_their_generator_alone(lab):
    group = start(lab)
    one, other = (z_of(group, "fake", t).x for t in (0, 0))
    assert torch.equal(one, other)
    assert one.shape == (6, 4)
    assert not torch.equal(one, z_of(group, "fake", 1).x)
    assert not torch.equal(one, z_of(group, "generator", 0).x)
    assert latents((4,))(group.feeds.minibatch(0), torch.Generator()).y.equal(group.feeds.minibatch(0).y)
