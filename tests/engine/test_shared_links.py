"""Shared-memory links between two threads: the same code as between two processes, without starting any."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from unlocked.engine.shared import PeerLost, SharedReceiver, SharedSender

FLOAT = torch.float32
AHEAD = 2


@pytest.fixture
def link():
    """Both ends of a link of tensors (3, 2), whose receiver lets a message hold its values for `keep` later ones."""
    opened = []

    def connect(keep=0, timeout=5.0):
        receiver = SharedReceiver("module 0", (3, 2), FLOAT, keep, timeout, ahead=AHEAD)
        sender = SharedSender(receiver.address, "module 1", (3, 2), FLOAT, timeout)
        receiver.accept()
        sender.map()
        opened.extend([receiver, sender])
        return sender, receiver

    yield connect
    for end in opened:
        end._socket.close()


def message(t):
    return torch.full((3, 2), float(t))


def test_messages_come_in_order_and_hold_for_keep_later_ones(link):
    sender, receiver = link(keep=2)
    held = []
    for t in range(12):
        sender.send(t, message(t))
        held.append(receiver.receive(t))
        for age, late in enumerate(reversed(held[-3:])):
            assert torch.equal(late, message(t - age))


def test_a_sender_waits_for_room_and_counts_it_as_waiting(link):
    sender, receiver = link()
    for t in range(AHEAD + 1):
        sender.send(t, message(t))
    assert sender.waited == 0.0

    def take():
        time.sleep(0.5)
        for t in range(AHEAD + 2):
            receiver.receive(t)

    taking = threading.Thread(target=take)
    taking.start()
    sender.send(AHEAD + 1, message(AHEAD + 1))
    taking.join()
    assert sender.waited > 0.1
    assert sender.sent < sender.waited


def test_the_time_a_receiver_waits_is_counted(link):
    sender, receiver = link()
    threading.Timer(0.5, lambda: sender.send(0, message(0))).start()
    receiver.receive(0)
    assert receiver.waited > 0.1


def test_a_peer_that_is_gone_is_noticed_at_once_on_both_sides(link):
    sender, receiver = link(timeout=30.0)
    sender._socket.close()
    begin = time.perf_counter()
    with pytest.raises(PeerLost, match=r"module 0 is gone \(at minibatch 7\)"):
        receiver.receive(7)
    sender, receiver = link(timeout=30.0)
    receiver._socket.close()
    with pytest.raises(PeerLost, match="module 1 is gone"):
        sender.send(0, message(0))
    assert time.perf_counter() - begin < 5


def test_a_silent_peer_is_named_after_the_time_limit(link):
    sender, receiver = link(timeout=0.1)
    with pytest.raises(PeerLost, match=r"module 0 has been silent for 0 s \(at minibatch 3\)"):
        receiver.receive(3)
    for t in range(AHEAD + 1):
        sender.send(t, message(t))
    with pytest.raises(PeerLost, match="module 1 has been silent"):
        sender.send(AHEAD + 1, message(AHEAD + 1))


def test_a_message_of_another_minibatch_is_refused(link):
    sender, receiver = link()
    sender.send(4, message(4))
    with pytest.raises(AssertionError, match="message of minibatch 4 taken for 5"):
        receiver.receive(5)
