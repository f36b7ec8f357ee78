"""Optimisers by name, and learning rates as functions of the step."""

import pickle
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from unlocked import key, register_optimizer, resume, train
from unlocked.cli import lists
from unlocked.config import load_config, schema, to_dict, to_yaml
from unlocked.errors import ConfigError
from unlocked.optim import OPTIMIZERS, build_optimizer, check_optimizer, lr_factor, state_size
from unlocked.plan.describe import describe
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.schema.describe import describe_schema
from unlocked.schema.keys import OptimizerConfig
from unlocked.studies.space import Space


def factors(steps, **options):
    factor = lr_factor(OptimizerConfig(**options), steps)
    return [factor(t) for t in range(steps + 1)]


def test_a_constant_rate_needs_no_schedule():
    assert lr_factor(OptimizerConfig(), 10) is None


def test_linear_falls_from_one_to_zero_behind_the_last_step():
    assert factors(4, schedule="linear") == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_cosine_falls_from_one_to_zero_behind_the_last_step():
    up, down = (1 + 0.5**0.5) / 2, (1 - 0.5**0.5) / 2
    assert factors(4, schedule="cosine") == pytest.approx([1.0, up, 0.5, down, 0.0])


@pytest.mark.parametrize(
    ("schedule", "after"), [("constant", [1, 1, 1]), ("linear", [1, 0.5, 0]), ("cosine", [1, 0.5, 0])]
)
def test_warm_up_rises_to_the_full_rate_before_the_schedule_begins(schedule, after):
    assert factors(5, schedule=schedule, warmup=3) == pytest.approx([0.25, 0.5, 0.75, *after])


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_a_warm_up_longer_than_the_run_only_rises(schedule):
    seen = factors(4, schedule=schedule, warmup=10)
    assert seen == sorted(seen)
    assert 0 < seen[0] < seen[-1] < 1


def test_the_rate_of_every_step_of_a_run_is_the_scheduled_one(lab):
    group = lab.start(
        model={"name": "mlp", "hidden": [8]},
        optimizer={"lr": 0.1, "schedule": "linear"},
        scheme={"name": "dni", "sg": {"lr": 0.03}},
        parallel={"modules": 2},
    )
    total, below = group.modules[0].plan.total_steps, group.modules[0].learner
    for t in (0, 7, total - 1):
        lab.train(group, t, t + 1) if t == 0 else [s._set_lr(t) for s in group.modules]
        assert [o.param_groups[0]["lr"] for o in below.optimizers()] == pytest.approx(
            [0.1 * (1 - t / total), 0.03 * (1 - t / total)]
        )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"name": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
            {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
        ),
        ({"name": "adam", "betas": [0.8, 0.9], "eps": 1e-5}, {"betas": (0.8, 0.9), "eps": 1e-5}),
        ({"name": "adamw"}, {"weight_decay": 0.01}),
        ({"name": "rmsprop", "momentum": 0.5}, {"momentum": 0.5}),
    ],
)
def test_options_reach_the_optimiser_and_the_others_keep_torchs_defaults(options, expected):
    config = OptimizerConfig(lr=0.3, **options)
    check_optimizer(config)
    (group,) = build_optimizer(config, nn.Linear(2, 2).parameters()).param_groups
    assert group["lr"] == 0.3
    assert {key: tuple(group[key]) if key == "betas" else group[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"name": "adam", "momentum": 0.9}, "optimizer.momentum: adam has no such option"),
        ({"name": "sgd", "betas": [0.9, 0.99]}, "optimizer.betas: sgd has no such option"),
        ({"name": "sgd", "eps": 1e-8}, "optimizer.eps: sgd has no such option"),
        ({"name": "rmsprop", "nesterov": True}, "optimizer.nesterov: rmsprop has no such option"),
        ({"name": "sgd", "nesterov": True}, "optimizer.nesterov: true needs optimizer.momentum above 0"),
    ],
)
def test_an_option_that_the_optimiser_does_not_have_is_refused(options, line):
    with pytest.raises(ConfigError) as caught:
        check_optimizer(OptimizerConfig(**options))
    assert str(caught.value) == line


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_the_fused_form_follows_the_plain_one(name):
    def run(fused):
        torch.manual_seed(0)
        weight = nn.Parameter(torch.randn(5, 4, dtype=torch.float64))
        config = OptimizerConfig(name=name, lr=0.05, weight_decay=0.1)
        plain = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[name]
        optimizer = build_optimizer(config, [weight]) if fused else plain([weight], lr=0.05, weight_decay=0.1)
        for _ in range(20):
            optimizer.zero_grad()
            weight.pow(4).sum().backward()
            optimizer.step()
        return weight.detach()

    torch.testing.assert_close(run(True), run(False), rtol=0, atol=1e-12)


@pytest.fixture
def own(monkeypatch):
    """Registers an optimiser `mine` for this test alone."""
    for kept in ("_entries", "_facts"):
        monkeypatch.setattr(OPTIMIZERS, kept, dict(getattr(OPTIMIZERS, kept)))
    return register_optimizer("mine")


class Averaged(torch.optim.Optimizer):
    """Steps along the mean of the latest three gradients, which it keeps in a list."""

    def __init__(self, parameters, lr, momentum=0.0):
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                latest = self.state[p].setdefault("latest", [torch.zeros_like(p) for _ in range(3)])
                latest.append(p.grad.clone())
                del latest[0]
                p.sub_(group["lr"] * torch.stack(latest).mean(0))


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"name": "adam"}, 2.0),
        ({"name": "adamw"}, 2.0),
        ({"name": "rmsprop"}, 1.0),
        ({"name": "rmsprop", "momentum": 0.9}, 2.0),
        ({"name": "sgd"}, 0.0),
        ({"name": "sgd", "momentum": 0.9}, 1.0),
        ({"name": "mine"}, 3.0),
    ],
)
def test_the_state_of_an_optimiser_is_counted(own, options, size):
    own(Averaged)
    assert state_size(OptimizerConfig(**options)) == size


def test_an_optimiser_of_ones_own_is_planned_and_trains_and_resumes(own, small, reporter):
    own(Averaged)
    config = small("optimizer.name=mine", "optimizer.lr=0.05", "train.epochs=2")
    rows = describe(make_plan(config, load_data(config)))
    assert [row["memory_bytes"] > 4 * 5 * row["parameters"] for row in rows] == [True, True]
    summary = train(config)
    assert resume(Path(summary["run_dir"]))["metrics"]["test/accuracy"] == summary["metrics"]["test/accuracy"]
    assert summary["metrics"]["train/loss"] < 2.3


def test_an_optimiser_that_gives_a_weight_another_shape_is_refused_before_training(own, small):
    @own
    class Flat(Averaged):
        def step(self):
            for p in self.param_groups[0]["params"]:
                p.data = p.data.flatten()

    config = small("optimizer.name=mine")
    with pytest.raises(ConfigError, match=r"optimizer\.name: mine makes a weight of shape \(64, 64\).* of \(4096,\)"):
        make_plan(config, load_data(config))


def test_an_optimiser_that_cannot_step_is_one_line(own):
    @own
    class Broken(Averaged):
        def step(self):
            raise ValueError("no gradient suits me")

    with pytest.raises(ConfigError, match=r"optimizer\.name: mine fails on a first step, at .*: ValueError: no gradie"):
        state_size(OptimizerConfig(name="mine"))


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda: None, r"mine is called as mine\(parameters, lr=\.\.\.\): too many positional arguments$"),
        (lambda parameters, lr: None, r"mine gives a NoneType, not a torch.optim.Optimizer$"),
    ],
)
def test_an_optimiser_that_cannot_be_made_is_refused_by_its_name(monkeypatch, made, told):
    monkeypatch.setitem(OPTIMIZERS._entries, "mine", made)
    with pytest.raises(ConfigError, match=rf"^optimizer\.name: {told}"):
        state_size(load_config("quickstart", ["optimizer.name=mine"]).optimizer)


@dataclass
class AveragedOptions:
    keeps: int = key(3, "gradients whose mean is taken", low=1)
    kind: str = key("plain", "of mean", choices=("plain", "weighted"))


class Keeping(Averaged):
    """Averaged, over as many gradients as it is told."""

    Options = AveragedOptions

    def __init__(self, parameters, lr, keeps, kind="plain"):
        super().__init__(parameters, lr)
        self.keeps, self.kind = keeps, kind


def test_options_of_an_optimiser_of_ones_own_are_keys_of_the_configuration(own, tmp_path):
    own(Keeping)
    config = load_config("quickstart", ["optimizer.name=mine", "optimizer.keeps=5", "optimizer.kind=weighted"])
    made = build_optimizer(config.optimizer, [nn.Parameter(torch.zeros(2))])
    assert (made.keeps, made.kind) == (5, "weighted")
    assert build_optimizer(OptimizerConfig("mine"), [nn.Parameter(torch.zeros(2))]).keeps == 3
    (tmp_path / "again.yaml").write_text(to_yaml(config))
    assert load_config(tmp_path / "again.yaml") == config == pickle.loads(pickle.dumps(config))
    assert "mine: gradients whose mean is taken; at least 1" in describe_schema(schema())
    assert Space(load_config("quickstart", ["sweep.space.optimizer.keeps=[2, 4]"]))
    assert "optimizer.keeps" in next(row["options"] for row in lists._optimizers() if row["optimizer"] == "mine")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("optimizer.keeps=0", "optimizer.keeps: must be at least 1, got 0"),
        ("optimizer.kepes=2", "command line: optimizer.kepes: unknown key; did you mean 'keeps'"),
        ("optimizer.kind=wieghted", "optimizer.kind: unknown kind 'wieghted'; did you mean 'weighted'?"),
        ("optimizer={name: sgd, keeps: 4}", "optimizer.keeps: sgd has no such option; mine has"),
    ],
)
def test_they_are_checked_as_ours_are(own, override, said):
    own(Keeping)
    with pytest.raises(ConfigError) as caught:
        load_config("quickstart", ["optimizer.name=mine", override])
    assert str(caught.value).startswith(said)


def test_a_record_of_a_run_has_no_options_of_other_optimisers(own):
    without = to_dict(load_config("quickstart"))
    own(Keeping)
    assert to_dict(load_config("quickstart")) == without
    assert to_dict(load_config("quickstart", ["optimizer.name=mine"]))["optimizer"]["keeps"] == 3


def test_options_that_cannot_be_keys_of_an_optimiser_are_refused(own):
    @dataclass
    class Taken:
        momentum: float = key(0.5, "another one")

    with pytest.raises(ValueError, match=r"^optimizer mine: option momentum is one of every optimizer; give yours ano"):
        own(type("Other", (Averaged,), {"Options": Taken}))


def test_an_optimiser_that_does_not_take_what_it_declares_is_one_line(own):
    own(type("Other", (Averaged,), {"Options": AveragedOptions}))
    with pytest.raises(
        ConfigError, match=r"mine is called as mine\(parameters, lr=\.\.\., keeps=\.\.\., kind=\.\.\.\): got"
    ):
        load_config("quickstart", ["optimizer.name=mine"])
