"""Links between two real processes of a gloo group: order, bounds, time limits."""

from __future__ import annotations

import contextlib
import time

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]


@pytest.fixture
def pair(warm):
    """`pair(sends, receives, timeout)`: both run in processes of their own, joined in a group; their results."""
    import ray

    workers = warm.pool[:2]

    def join_and_run(worker, rank, port, timeout, work):
        from datetime import timedelta

        import torch.distributed as dist

        store = worker._store or dist.TCPStore("127.0.0.1", port, 2)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=timeout))
        try:
            done = work()
            with contextlib.suppress(RuntimeError):  # nobody leaves while the other one still receives
                dist.barrier()
            return done
        finally:
            dist.destroy_process_group()
            worker._store = None

    def run(sends, receives, timeout=20.0):
        port = ray.get(workers[0].open_store.remote("127.0.0.1", 2, 20.0))
        return ray.get(
            [
                worker.__ray_call__.remote(join_and_run, rank, port, timeout, work)
                for rank, (worker, work) in enumerate(zip(workers, (sends, receives), strict=True))
            ]
        )

    return run


def test_messages_come_in_order_and_hold_for_keep_later_ones(pair):
    def sends():
        import torch

        from unlocked.engine.links import SendLink

        link = SendLink(1, (0, 3), in_flight=4)
        for t in range(20):
            link.send(t, torch.full((3, 2), float(t)))
        return [work.wait() for work, _ in link._works]  # what is in flight goes when its link goes

    def receives():
        import torch

        from unlocked.engine.links import ReceiveLink

        link = ReceiveLink(0, (0, 3), (3, 2), torch.float32, torch.device("cpu"), keep=3)
        link.expect(0, 7)
        kept, seen = [], []
        for t in range(20):
            if t == 7:
                link.expect(7, 20)
            kept.append(link.receive(t))
            seen.append(float(kept[max(0, t - 3)][0, 0]))  # what came three messages ago
        return seen

    _, seen = pair(sends, receives)
    assert seen == [0.0, 0.0, 0.0, *map(float, range(17))]


def test_a_slow_receiver_holds_the_sender_back(pair):
    def sends():
        import time

        import torch

        from unlocked.engine.links import SendLink

        link, moments = SendLink(1, (0, 3), in_flight=3), []
        for t in range(12):
            link.send(t, torch.zeros(1000))
            moments.append(time.time())
        for work, _ in link._works:
            work.wait()
        return moments

    def receives():
        import time

        import torch

        from unlocked.engine.links import ReceiveLink

        link = ReceiveLink(0, (0, 3), (1000,), torch.float32, torch.device("cpu"), keep=0)
        link.expect(0, 12)
        time.sleep(2.0)
        begin = time.time()
        for t in range(12):
            link.receive(t)
        return begin

    moments, begin = pair(sends, receives)
    ahead = sum(moment < begin for moment in moments)
    assert 3 <= ahead <= 3 + 2  # in flight, and the two receives that are posted ahead


def test_a_wait_beyond_the_time_limit_is_an_error(pair):
    def sends():
        import time

        time.sleep(5.0)  # alive, and silent

    def receives():
        import time

        import torch

        from unlocked.engine.links import ReceiveLink

        link = ReceiveLink(0, (0, 3), (2,), torch.float32, torch.device("cpu"), keep=0)
        link.expect(0, 1)
        begin = time.time()
        try:
            link.receive(0)
        except RuntimeError as error:
            return time.time() - begin, str(error)
        return None

    (_, raised), begin = pair(sends, receives, timeout=2.0), time.time()
    assert raised is not None, "the wait ended without an error"
    assert 1.0 < raised[0] < 15.0, raised
    assert time.time() - begin < 15.0


def test_a_message_of_another_minibatch_or_channel_never_matches(pair):
    def sends():
        import time

        import torch

        from unlocked.engine.links import SendLink

        other, wanted = SendLink(1, channel=(0, 3)), SendLink(1, channel=(2, 3))
        other.send(5, torch.ones(2))  # channel 0 is asked for minibatch 4 only
        wanted.send(5, torch.full((2,), 2.0))
        time.sleep(5.0)

    def receives():
        import torch

        from unlocked.engine.links import ReceiveLink

        outcomes = []
        for t, channel in ((5, 2), (4, 0)):
            link = ReceiveLink(0, (channel, 3), (2,), torch.float32, torch.device("cpu"), keep=0)
            link.expect(t, t + 1)
            try:
                outcomes.append(link.receive(t).tolist())
            except RuntimeError:
                outcomes.append("nothing came")
        return outcomes

    _, outcomes = pair(sends, receives, timeout=2.0)
    assert outcomes == [[2.0, 2.0], "nothing came"]


def test_messages_taken_out_of_order_are_refused():
    import torch

    from unlocked.engine.links import Queue

    queue = Queue()
    queue.send(3, torch.zeros(1))
    with pytest.raises(AssertionError, match="minibatch 3 taken for 2"):
        queue.receive(2)
