"""The simulation against theory, against a plain queue of events, and against real workers."""

from __future__ import annotations

import contextlib
import heapq
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from unlocked.bench.simulated.cost_model import Costs, Link, balanced, cut
from unlocked.bench.simulated.pipelines import BACKWARD, FORWARD, PIPELINES, WEIGHT, Pipeline, run_pipeline
from unlocked.bench.simulated.simulate import DNI_LAG, ORDER, UNLOCK, _decoupled, _locked, simulate
from unlocked.bench.simulated.ticks import AHEAD, Ticks, run_ticks

AT_ONCE = Link(latency=0.0, overhead=0.0, bandwidth=np.inf)
SLOW = Link(latency=0.11, overhead=0.02, bandwidth=1000.0)
FAR = replace(SLOW, latency=3.0)


def equal_modules(k, forward=1.0, backward_input=1.0, backward_weight=1.0, update=0.0, sg=0.0, call=0.0):
    """K modules of the same cost; `call` is what each call of forward and of each backward costs at least."""

    def all_of(value):
        return np.full(k, float(value))

    return Costs(
        batch=64,
        data=0.0,
        error_bytes=10.0,
        forward=all_of(forward),
        backward_input=all_of(backward_input),
        backward_weight=all_of(backward_weight),
        update=all_of(update),
        forward_call=all_of(call),
        backward_input_call=all_of(call),
        backward_weight_call=all_of(call),
        project=all_of(0),
        entry_input=all_of(backward_input),
        inputs_predict=all_of(sg),
        inputs_learn=all_of(sg),
        dni_predict=all_of(sg / 3),
        dni_learn=all_of(2 * sg / 3),
        cdni_predict=all_of(sg / 3),
        cdni_learn=all_of(2 * sg / 3),
        bytes_out=all_of(100),
    )


def unequal_modules(k, seed=0):
    draw = np.random.default_rng(seed)
    costs = equal_modules(k)
    drawn = {
        name: draw.uniform(0.1, 1.0, k)
        for name in (
            "forward",
            "backward_input",
            "backward_weight",
            "update",
            "project",
            "inputs_predict",
            "inputs_learn",
            "cdni_predict",
            "cdni_learn",
            "dni_predict",
            "dni_learn",
            "entry_input",
        )
    }
    return replace(costs, data=0.07, error_bytes=30.0, bytes_out=draw.uniform(10, 200, k), **drawn)


def speedups(costs, link=AT_ONCE, microbatches=8, **given):
    return {name: p.speedup for name, p in simulate(costs, link, microbatches, **given).predictions.items()}


# theory ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [2, 5, 64])
@pytest.mark.parametrize("m_per_k", [1, 4])
def test_the_bubbles_of_pipelines_are_those_of_their_papers(k, m_per_k):
    m = m_per_k * k
    found = simulate(equal_modules(k, backward_weight=1.5), AT_ONCE, m).predictions
    bubble = (k - 1) / (m + k - 1)
    for name in ("gpipe", "1f1b"):  # Huang et al. 2019, section 2.3; Narayanan et al. 2021, section 2.2.1
        np.testing.assert_allclose(found[name].waiting, bubble, rtol=1e-9)
        assert found[name].speedup == pytest.approx(k * (1 - bubble), rel=1e-9)
    halved = (k - 1) / 2 / (m + (k - 1) / 2)  # section 2.2.2: (K - 1) / V of the time, with V = 2 modules per worker
    np.testing.assert_allclose(found["interleaved"].waiting, halved, rtol=1e-9)


def test_zero_bubble_has_none_where_all_its_tasks_cost_the_same():
    found = simulate(equal_modules(8), AT_ONCE, 15).predictions  # Qi et al.: from 2K - 1 microbatches on
    np.testing.assert_allclose(found["zero_bubble"].waiting, 0.0, atol=1e-12)
    assert simulate(equal_modules(8), AT_ONCE, 8).predictions["zero_bubble"].waiting.min() > 0.1


def test_locked_modules_take_turns():
    found = simulate(equal_modules(16), AT_ONCE, 8).predictions["locked"]
    assert found.speedup == pytest.approx(1.0, rel=1e-9)
    np.testing.assert_allclose(found.waiting, 15 / 16, rtol=1e-9)
    # a message up and one down over each boundary, per minibatch: 0.11 s of latency and 0.02 + 100 / 1000 s of copying
    assert speedups(equal_modules(16), SLOW)["locked"] == pytest.approx(48 / (48 + 30 * 0.23), rel=1e-9)


def test_decoupled_modules_are_as_fast_as_one_of_them():
    k, sg = 64, 0.09  # 3 % of a module's 3 seconds
    found = speedups(equal_modules(k, sg=sg))
    assert found["cdni"] == found["dni"] == pytest.approx(k / 1.03, rel=1e-9)
    assert found["cdni"] >= 0.95 * k
    assert found["ideal"] == pytest.approx(k, rel=1e-9)
    assert found["dfa"] == pytest.approx(k * 3 / 2, rel=1e-9)  # without the gradient of the inputs
    assert found[UNLOCK] == pytest.approx(k * 3 / (3 + 3 * sg), rel=1e-9)  # M, and I to predict and to learn
    assert found["frozen"] == pytest.approx(k * 3 / 2, rel=1e-9)  # the last module learns, without its inputs' gradient


def test_latency_costs_decoupled_modules_nothing_until_the_lag_no_longer_hides_it():
    costs = equal_modules(8, sg=0.09)
    at_once = speedups(costs)["cdni"]
    assert speedups(costs, replace(AT_ONCE, latency=0.7))["cdni"] == pytest.approx(at_once, rel=1e-9)
    # h and its target are on their way for two latencies in DNI_LAG ticks
    far = speedups(costs, replace(AT_ONCE, latency=10.0))["cdni"]
    assert far < 0.4 * at_once
    assert speedups(costs, replace(AT_ONCE, latency=10.0))["locked"] < 0.2


def test_the_broadcast_of_the_error_bounds_dfa_over_many_modules():
    link = replace(AT_ONCE, overhead=0.01)  # the last module's own time, for each of K - 1 messages
    costs = equal_modules(256)
    assert speedups(costs, link)["dfa"] == pytest.approx(256 * 3 / (2 + 255 * 0.01), rel=1e-3)


def test_a_run_pays_for_filling_once():
    found = simulate(equal_modules(8), AT_ONCE, 8, steps=100).predictions["ideal"]
    assert found.run_rate == found.rate
    cdni = simulate(equal_modules(8), AT_ONCE, 8, steps=100).predictions["cdni"]
    assert 100 / cdni.run_rate == pytest.approx(7 * 1 + 100 * 3, rel=1e-9)  # seven forwards before the last begins
    long = simulate(equal_modules(8), AT_ONCE, 8, steps=10_000).predictions["cdni"]  # more than are simulated
    assert 10_000 / long.run_rate == pytest.approx(7 + 30_000, rel=1e-9)
    gpipe = simulate(equal_modules(4), AT_ONCE, 4, steps=2).predictions["gpipe"]
    assert 2 / gpipe.run_rate == pytest.approx(2 * 3 * 7 / 4, rel=1e-9)


def test_what_a_call_costs_is_not_divided_by_the_microbatches():
    found = speedups(equal_modules(4, call=0.5), microbatches=4)
    assert found["gpipe"] == pytest.approx(12 / (7 * 3 * (0.5 + 0.5 / 4)), rel=1e-9)


def test_contention_slows_those_that_compute_at_once():
    before, after = speedups(equal_modules(4)), speedups(equal_modules(4), contention=1.25)
    for name in set(ORDER) - {"backprop_1_thread", "locked"}:
        assert after[name] == pytest.approx(before[name] / 1.25, rel=1e-9), name
    assert after["locked"] == before["locked"]


def test_the_slowest_module_sets_the_pace_and_never_waits():
    costs = equal_modules(6)
    costs.forward[3] = 5.0
    cdni = simulate(costs, AT_ONCE, 8).predictions["cdni"]
    assert 1 / cdni.rate == pytest.approx(7.0, rel=1e-9)
    assert cdni.waiting[3] == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_allclose(np.delete(cdni.waiting, 3), 4 / 7, rtol=1e-9)


def test_a_model_that_fits_nowhere_is_left_out():
    costs = replace(equal_modules(3), cdni_learn=np.array([1.0, np.inf, 1.0]))
    done = simulate(costs, AT_ONCE, 8)
    assert done.left_out.keys() == {"cdni", UNLOCK}
    assert "dni" in done.predictions


def test_microbatches_that_make_no_equal_groups_leave_interleaved_out():
    assert "2 equal groups" in simulate(equal_modules(4), AT_ONCE, 9).left_out["interleaved"]


def test_a_thousand_modules_take_seconds():
    found = speedups(equal_modules(1024, sg=0.09), microbatches=64)
    assert found.keys() == set(ORDER)
    assert found["cdni"] == pytest.approx(1024 / 1.03, rel=1e-6)
    assert found["gpipe"] == pytest.approx(1024 * 64 / (64 + 1023), rel=1e-9)


# an event queue -------------------------------------------------------------------------------------------


class Ring:
    """A link of the engine: messages that came, slots that are free, and who waits for either."""

    def __init__(self, slots):
        self.free, self.came, self.waiting = [0.0] * slots, [], None


def play(workers, link):
    """Ends of all ticks of `workers`: generators that yield what they do next, each with a clock of its own.

    (seconds,) computes; ("send", ring, bytes) and ("take", ring, keep) are the engine's; "tick" ends one.
    """
    ends = [[] for _ in workers]
    queue = [(0.0, k, next(worker)) for k, worker in enumerate(workers)]
    taken = {}
    while queue:
        now, k, action = heapq.heappop(queue)
        if action == "tick":
            ends[k].append(now)
        elif action[0] == "send":
            _, ring, size = action
            if not ring.free:
                ring.waiting = (now, k, action)
                continue
            now = max(now, ring.free.pop(0)) + link.overhead + size / link.bandwidth
            ring.came.append(now + link.latency)
            if ring.waiting is not None:  # the taker
                heapq.heappush(queue, ring.waiting)
                ring.waiting = None
        elif action[0] == "take":
            _, ring, keep = action
            if not ring.came:
                ring.waiting = (now, k, action)
                continue
            now = max(now, ring.came.pop(0))
            taken[id(ring)] = taken.get(id(ring), 0) + 1
            if taken[id(ring)] > keep + 1:
                ring.free.append(now + link.latency)
                if ring.waiting is not None:  # the sender
                    heapq.heappush(queue, ring.waiting)
                    ring.waiting = None
        else:
            now += action[0]
        with contextlib.suppress(StopIteration):
            heapq.heappush(queue, (now, k, next(workers[k])))
    return ends


def stage(k, modules, s: Ticks, ups, downs, ticks):
    """`Stage.run` of module k, as a generator for `play`; what the learner does is read off its scheme."""
    last, relays = modules - 1, s.relays
    for t in range(ticks):
        yield (s.before[k],)
        if k > 0 and s.learn_inputs is None:
            yield ("take", ups[k - 1], s.lag)
        yield (s.forward[k],)
        if k < last:
            yield ("send", ups[k], s.bytes_up[k])
        yield (s.after[k],)
        if s.feedback == "above" and k > 0 and (not relays or k == last):
            yield ("send", downs[k - 1], s.bytes_down[k - 1])
        if s.feedback == "last" and k == last:
            for below in range(last):
                yield ("send", downs[below], s.bytes_down[below])
        if not relays or k == last:
            yield (s.update[k],)
        if t >= s.lag:
            if s.learn_inputs is not None and k > 0:
                yield ("take", ups[k - 1], s.lag)
            if s.learn_inputs is not None:
                yield (s.learn_inputs[k],)
            if s.feedback is not None and k < last:
                yield ("take", downs[k], 0)
                yield (s.learn[k],)
                if relays and k > 0:
                    yield ("send", downs[k - 1], s.bytes_down[k - 1])
                if relays:
                    yield (s.update[k],)
        yield "tick"


@pytest.mark.parametrize("link", [SLOW, FAR])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["locked", "dni", "cdni", UNLOCK, "dfa", "frozen"])
def test_arrays_give_what_an_event_queue_of_the_engines_loop_gives(name, seed, link):
    modules, ticks = 5, 40
    costs = unequal_modules(modules, seed)
    s = {"locked": _locked(costs), **dict(_decoupled(costs))}[name]
    ahead = s.lag + AHEAD  # `engine.wiring`: slots are ahead + keep + 1
    ups = [Ring(ahead + s.lag + 1) for _ in range(modules - 1)]
    downs = [Ring(ahead + 1) for _ in range(modules - 1)]
    ends = play([stage(k, modules, s, ups, downs, ticks) for k in range(modules)], link)
    assert [len(of_one) for of_one in ends] == [ticks] * modules  # nobody waits for ever
    np.testing.assert_allclose(list(run_ticks(s, link, ticks)), np.transpose(ends), rtol=1e-12)


def plain_pipeline(pipeline: Pipeline, costs, link, m):
    """End of the first minibatch, by visiting the task that can start first, one at a time."""
    k, v = len(costs), pipeline.chunks
    holds = [[w, (2 * k - 1 - w) if pipeline.folded else k + w][:v] for w in range(k)]
    holder = {stage: w for w in range(k) for stage in holds[w]}
    last, copy = k * v - 1, float(link.copy(float(np.mean(costs.bytes_out[:-1])) / m))
    orders = [[(int(kind), holds[w][chunk], int(i)) for kind, chunk, i in pipeline.order(w, k, m)] for w in range(k)]
    free, done = [costs.data] + [0.0] * (k - 1), {}
    while any(orders):
        best = None
        for w in range(k):
            if not orders[w]:
                continue
            kind, at, i = orders[w][0]
            source = {
                FORWARD: (FORWARD, at - 1),
                BACKWARD: (BACKWARD, at + 1) if at < last else (FORWARD, at),
                WEIGHT: (BACKWARD, at),
            }[kind]
            ready = 0.0
            if source[1] >= 0:
                if (*source, i) not in done:
                    continue
                ready = done[(*source, i)] + (link.latency if holder[source[1]] != w else 0.0)
            start = max(free[w], ready)
            if best is None or start < best[0]:
                best = (start, w)
        assert best is not None, "all wait"
        start, w = best
        kind, at, i = orders[w].pop(0)
        seconds = {
            FORWARD: costs.forward[w],
            WEIGHT: costs.backward_weight[w],
            BACKWARD: costs.backward_input[w] + (0 if pipeline.splits else costs.backward_weight[w]),
        }[kind]
        end = start + seconds / m / v
        to = {FORWARD: at + 1, BACKWARD: at - 1}.get(kind, -1)
        if 0 <= to <= last and holder[to] != w:
            end += copy
        free[w] = done[kind, at, i] = end
    return max(np.array(free) + costs.update)


@pytest.mark.parametrize("m", [3, 8, 16])
@pytest.mark.parametrize("name", PIPELINES)
def test_pipelines_give_what_visiting_one_task_at_a_time_gives(name, m):
    costs = unequal_modules(4, seed=m)
    ends, _ = run_pipeline(PIPELINES[name], costs, SLOW, m)
    assert ends[0] == pytest.approx(plain_pipeline(PIPELINES[name], costs, SLOW, m), rel=1e-12)


# what is taken from elsewhere -----------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "m"), [(2, 2), (3, 5), (4, 3), (4, 16), (5, 20)])
def test_the_orders_are_those_of_torch(k, m):
    from torch.distributed.pipelining import schedules

    letters = {"FORWARD": FORWARD, "FULL_BACKWARD": BACKWARD, "BACKWARD_INPUT": BACKWARD, "BACKWARD_WEIGHT": WEIGHT}

    def by_torch(schedule, rank, **given):
        told = SimpleNamespace(pp_group_size=k, num_stages=2 * k, n_local_stages=2, _n_microbatches=m, **given)
        found = [action for action in schedule._calculate_single_rank_operations(told, rank) if action is not None]
        return [(letters[a.computation_type.name], int(a.stage_index >= k), a.microbatch_index) for a in found]

    for rank in range(k):
        ours = {name: [tuple(map(int, row)) for row in PIPELINES[name].order(rank, k, m)] for name in PIPELINES}
        assert ours["zero_bubble"] == by_torch(schedules.ScheduleZBVZeroBubble, rank)
        if m % max(1, m // k) == 0:
            assert ours["interleaved"] == by_torch(
                schedules.ScheduleInterleaved1F1B, rank, microbatches_per_round=m // max(1, m // k)
            )


def test_the_engines_constants_are_these():
    from unlocked.engine import links
    from unlocked.schemes import CDNI, DFA, DNI

    assert links.AHEAD == AHEAD
    for k in (2, 7, 64):
        assert DNI.auto_lag(k) == CDNI.auto_lag(k) == DNI_LAG
        assert DFA.auto_lag(k) == dict(_decoupled(equal_modules(k)))["dfa"].lag


def test_the_simulation_needs_no_torch_and_no_ray():
    code = (
        "import sys, unlocked.bench.simulated.simulate; sys.exit(' '.join({'torch', 'ray'} & sys.modules.keys()) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# modules from blocks --------------------------------------------------------------------------------------


def test_work_adds_up_in_a_module_and_boundaries_count_where_they_are():
    blocks = unequal_modules(5)
    modules = cut(blocks, [2, 3])
    np.testing.assert_allclose(modules.forward, [blocks.forward[:2].sum(), blocks.forward[2:].sum()])
    np.testing.assert_allclose(modules.cdni_learn, blocks.cdni_learn[[1, 4]])
    np.testing.assert_allclose(modules.bytes_out, blocks.bytes_out[[1, 4]])
    np.testing.assert_allclose(modules.inputs_learn, blocks.inputs_learn[[0, 2]])
    np.testing.assert_allclose(modules.entry_input, blocks.entry_input[[0, 2]])
    assert modules.data == blocks.data


def test_balanced_modules_are_copies_of_the_inner_block_with_the_median_step():
    blocks = equal_modules(5)
    blocks.forward[:] = [90.0, 4.0, 1.0, 9.0, 50.0]
    blocks.bytes_out[:] = [0.0, 7.0, 5.0, 6.0, 0.0]
    modules = balanced(blocks, 40, each=3)
    np.testing.assert_array_equal(modules.forward, np.full(40, 12.0))
    np.testing.assert_array_equal(modules.bytes_out, np.full(40, 7.0))
    np.testing.assert_array_equal(modules.cdni_learn, np.full(40, blocks.cdni_learn[1]))
    with pytest.raises(ValueError, match="no inner block"):
        balanced(cut(blocks, [2, 3]), 40)
