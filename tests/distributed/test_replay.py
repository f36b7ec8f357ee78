"""The heart of the engine: K Ray workers and the replay in one process give the same numbers to the last bit."""

from __future__ import annotations

import pytest
import torch

from unlocked.config import load_config
from unlocked.engine.group import InProcessGroup
from unlocked.plan.make import make_plan
from unlocked.plan.plan import load_data
from unlocked.plan.pretraining import plan_pretraining

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]

STEPS = 30
MLP = ["model.hidden=[24,20,16,12]", "model.norm=batch", "model.dropout=0.2", "scheme.sg.hidden=[16]"]
UNLOCKED = [*MLP, "scheme.synthetic_inputs=true", "scheme.inputs.hidden=[12]"]
CNN = ["model.name=cnn", "model.channels=[4,6]", "model.dropout=0.1", "scheme.sg.hidden=[]", "scheme.sg.kind=conv"]
NAMES = {str(MLP): "mlp", str(CNN): "cnn", str(UNLOCKED): "unlocked"}


def losses_and_weights(group_class, plan, data):
    """Every series of every module over a few dozen steps in uneven segments, and the weights behind them."""
    group = group_class(plan, data)
    try:
        segments = list(group.run([(0, 7), (7, 8), (8, STEPS)], STEPS))
        group.estimate_statistics(STEPS)
        states = group.states(STEPS)
    finally:
        group.close()
    series = {
        f"{name} of module {k}": [value for stats in segments for value in stats[k].series.get(name, [])]
        for k in range(plan.modules)
        for name in segments[-1][k].series
    }
    return series, {key: value for state in states for key, value in state["weights"].items()}


VIEWS = ["model={name: simclr, channels: [4], hidden: [12], projection: 8}", "data.batch_size=32"]
VIEWS += ["parallel={modules: 3, partition: null}"]
PATCHES = ["model={name: vit, patch: 2, width: 8, depth: 2, heads: 2, norm: post, pool: mean}", "data.batch_size=32"]
WORDS = [
    "data.options={length: 16, tokens: word, vocabulary: 200}",
    "model.width=8",
    "scheme.sg={hidden: [8], embedding: 8}",
]
TAPE = ["model={hidden: 8, rows: 6, columns: 4, embedding: 4, carry: true}", "train.curriculum=null"]
TAPE += ["data.options={level: 3, window: 3, episodes: 200, last: null, test_level: null}", "data.batch_size=8"]
TAPE += ["scheme.time={synthetic: true, hidden: [8]}"]
CAPTIONS = ["data.options={pictures: 80, most: 2}", "model={width: 8, embedding: 4}"]
WINDOWS = [*WORDS, "data.transforms=[{name: windows, window: 3, negatives: 2}]"]


def assert_replayed(warm, plan, data) -> dict[str, list[float]]:
    """Workers give the series and weights of one process, exactly; the series."""
    replayed, replayed_weights = losses_and_weights(InProcessGroup, plan, data)
    measured, weights = losses_and_weights(warm, plan, data)
    assert measured == replayed
    for name, weight in replayed_weights.items():
        torch.testing.assert_close(weights[name], weight, rtol=0, atol=0)
    return replayed


@pytest.mark.parametrize(
    ("modules", "scheme", "lag", "model", "link"),
    [
        *(
            (modules, scheme, "auto", MLP, "auto")
            for modules in (2, 4)
            for scheme in ("backprop", "dni", "cdni", "dfa", "frozen")
        ),
        (2, "local", "auto", MLP, "auto"),
        (2, "dni", 0, MLP, "auto"),
        (2, "cdni", 3, MLP, "auto"),
        (2, "dfa", 0, MLP, "auto"),
        (4, "dfa", 7, MLP, "auto"),
        (2, "cdni", "auto", UNLOCKED, "auto"),
        (4, "dni", 3, UNLOCKED, "auto"),
        (2, "dni", 0, UNLOCKED, "group"),
        (2, "dni", "auto", CNN, "auto"),
        (2, "cdni", 0, CNN, "auto"),
        *((4, scheme, "auto", MLP, "group") for scheme in ("backprop", "cdni", "dfa")),
        (2, "dni", 0, MLP, "group"),
        (2, "dfa", 3, CNN, "group"),
    ],
    ids=lambda value: NAMES.get(str(value), str(value)),
)
def test_workers_give_what_the_replay_in_process_gives(warm, modules, scheme, lag, model, link):
    config = load_config(
        "quickstart",
        [
            *model,
            f"parallel.modules={modules}",
            f"scheme.name={scheme}",
            f"scheme.lag={lag}",
            "data.batch_size=32",
            f"parallel.link={link}",
            "parallel.partition=null",
            "parallel.threads=1",
            "parallel.timeout=60",
        ],
    )
    data = load_data(config)
    plan = make_plan(config, data)
    replayed, replayed_weights = losses_and_weights(InProcessGroup, plan, data)
    measured, weights = losses_and_weights(warm, plan, data)
    assert len(replayed[f"loss of module {modules - 1}"]) == STEPS
    assert measured == replayed  # exactly: the same operations in the same order
    assert weights.keys() == replayed_weights.keys()
    for name in weights:
        torch.testing.assert_close(weights[name], replayed_weights[name], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("scheme", "lag", "link"),
    [
        ("backprop", 0, "auto"),
        ("cdni", "auto", "auto"),
        ("dni", 0, "group"),
        ("dfa", "auto", "auto"),
        ("dfa", 5, "group"),
        ("frozen", "auto", "auto"),
    ],
)
def test_two_workers_of_two_modules_give_what_the_replay_gives(warm, scheme, lag, link):
    config = load_config(
        "quickstart",
        [
            *MLP,
            "parallel.modules=4",
            "parallel.modules_per_worker=2",
            f"scheme.name={scheme}",
            f"scheme.lag={lag}",
            "data.batch_size=32",
            f"parallel.link={link}",
            "parallel.partition=null",
            "parallel.threads=1",
            "parallel.timeout=60",
        ],
    )
    data = load_data(config)
    plan = make_plan(config, data)
    assert plan.workers == 2
    assert_replayed(warm, plan, data)


@pytest.mark.parametrize("scheme", ["backprop", "dfa", "cdni", "dni", "frozen"])
def test_a_graph_s_workers_give_what_the_replay_gives(warm, scheme):
    config = load_config(
        "graph/gcn",
        [
            f"scheme.name={scheme}",
            "scheme.lag=auto",
            "data.options={nodes: 120, classes: 3, words: 30}",
            "parallel.engine=auto",
            "parallel.timeout=60",
        ],
    )
    data = load_data(config)
    plan = make_plan(config, data)
    assert_replayed(warm, plan, data)


@pytest.mark.parametrize(
    ("preset", "scheme", "options"),
    [
        ("graph/minibatches", "dfa", ["data.options={nodes: 120, classes: 3, words: 30, neighbours: [3, 2]}"]),
        (
            "graph/trees",
            "cdni",
            ["data.options={nodes: 16, packages: [http, email]}", "data.batch_size=8", "model={name: mpnn, width: 8}"],
        ),
        ("selfsupervised/simclr", "cdni", VIEWS),
        ("selfsupervised/simclr", "dfa", VIEWS),
        ("selfsupervised/masked", "cdni", PATCHES),
        ("selfsupervised/masked", "dfa", PATCHES),
        ("embedding/skipgram", "cdni", WINDOWS),
        ("embedding/cbow", "dni", WORDS),
        ("embedding/cbow_full", "dfa", WORDS),
        ("memory/copy", "cdni", TAPE),
        ("memory/copy", "dfa", TAPE),
        ("recursive/tree_lstm", "cdni", ["data.options={nodes: 16, packages: [http, email]}", "data.batch_size=8"]),
        ("memory/hopfield", "dfa", ["model={width: 16, patterns: 8}"]),
        ("modular/moe", "cdni", ["model={width: 16, experts: 4, inner: 8}"]),
        ("modular/two_way", "cdni", ["model={hidden: [16], code: 6, inner: [12]}"]),
        ("seq2seq/captions", "cdni", CAPTIONS),
        pytest.param(
            "classics/elman",
            "cdni",
            ["model.hidden=[12]"],
            marks=pytest.mark.slow("messages that do not lie in memory as they are read"),
        ),
        *(
            pytest.param(preset, scheme, options, marks=pytest.mark.slow("the same check for more models"))
            for preset, scheme, options in (
                ("modular/moe", "dfa", ["model={width: 16, experts: 4, inner: 8}"]),
                ("memory/hopfield", "cdni", ["model={width: 16, patterns: 8}"]),
                ("recursive/recursive", "dfa", ["data={options: {nodes: 16, packages: [http, email]}, batch_size: 8}"]),
                ("seq2seq/captions", "dfa", CAPTIONS),
                ("classics/jordan", "dfa", ["model={width: 6, hidden: 10}"]),
                ("classics/maxout", "dni", ["model.hidden=[12, 12]"]),
                ("classics/rbf", "cdni", ["model.units=20"]),
            )
        ),
    ],
)
def test_workers_draw_what_the_replay_draws(warm, preset, scheme, options):
    more = [f"scheme.name={scheme}", "scheme.lag=auto", "parallel.engine=auto", "parallel.timeout=60"]
    config = load_config(preset, [*options, *more])
    data = load_data(config)
    assert_replayed(warm, make_plan(config, data), data)


@pytest.mark.parametrize(
    ("scheme", "partition", "options"),
    [
        ("cdni", [1, 3], ["model.dropout=0.1"]),  # the cut behind the encoder
        ("dfa", [2, 2], ["model.dropout=0.1"]),  # inside the decoder
        ("backprop", [1, 1], ["model.teacher_forcing=0.5", "model.sampling_steps=20"]),
    ],
)
def test_an_encoder_decoder_s_workers_give_what_the_replay_gives(warm, scheme, partition, options):
    config = load_config(
        "seq2seq/bahdanau",
        [
            f"scheme.name={scheme}",
            f"parallel.partition={partition}",
            "data.options.pairs=1000",
            "data.batch_size=16",
            "parallel.threads=1",
            "parallel.timeout=60",
            *options,
        ],
    )
    data = load_data(config)
    plan = make_plan(config, data)
    assert_replayed(warm, plan, data)


def test_feedback_of_the_error_before_the_vocabulary_is_the_same_over_workers(warm):
    config = load_config(
        "quickstart",
        [
            "scheme.name=dfa",
            "scheme.feedback.granularity=micro",
            "data={name: copy, options: {level: 4}}",
            "model={name: gpt, width: 16, norm: post, positions: rotary}",
            "parallel.modules=2",
            "parallel.partition=[2,2]",
            "parallel.engine=ray",
            "parallel.threads=1",
            "parallel.timeout=60",
        ],
    )
    data = load_data(config)
    plan = make_plan(config, data)
    assert plan.specs[0].error_shape == (8, 16)  # of the message, whose outputs are as wide as the vocabulary
    assert_replayed(warm, plan, data)


def test_machines_that_sample_give_what_the_replay_in_process_gives(warm):
    config = load_config(
        "boltzmann/rbm",
        [
            "scheme.name=pcd",
            "model.hidden=[12,8]",
            "parallel.modules=2",
            "parallel.engine=ray",
            "parallel.threads=1",
            "parallel.timeout=60",
        ],
    )
    data = load_data(config)
    plan = make_plan(config, data)
    replayed = assert_replayed(warm, plan, data)
    assert len(replayed["unit_error of module 1"]) == STEPS


@pytest.mark.parametrize(
    ("scheme", "order", "overrides"),
    [
        ("denoise", "greedy", [*MLP[:3], "model.hidden=[24,20,16]"]),
        ("denoise", "together", [*MLP[:3], "model.hidden=[24,20,16]"]),
        (
            "cd",
            "greedy",
            ["model={name: dbn, hidden: [6,5,4]}", "task=labelled_density", "data.options.threshold=0.5"],
        ),
        ("pcd", "greedy", ["model={name: rbm, hidden: [6,5,4]}", "task=density", "data.options.threshold=0.5"]),
    ],
)
def test_one_layer_a_worker_is_pre_trained_as_in_one_process(warm, scheme, order, overrides):
    config = load_config(
        "quickstart",
        [
            *overrides,
            f"scheme.name={'backprop' if scheme == 'denoise' else scheme}",
            f"pretrain={{scheme: {scheme}, order: {order}, epochs: 1, blocks: 3}}",
            f"parallel.modules={4 if scheme == 'denoise' else 3}",
            "data.batch_size=128",
            "parallel.threads=1",
            "parallel.timeout=60",
        ],
    )
    data = load_data(config)
    plan = plan_pretraining(config, data)
    found = []
    for group_class in (InProcessGroup, warm):
        group = group_class(plan, data)
        try:
            series = [s.series for stats in group.run([(0, 7), (7, plan.total_steps)], plan.total_steps) for s in stats]
            states = group.states(plan.total_steps)
        finally:
            group.close()
        found.append((series, {key: value for state in states for key, value in state["weights"].items()}))
    (here, weights), (there, others) = found
    assert here == there
    assert {name for series in here for name in series if name.endswith("/block_2")}
    assert all(torch.equal(weights[key], others[key]) for key in weights)
