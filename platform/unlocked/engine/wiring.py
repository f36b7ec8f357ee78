"""The ends of the links between modules on each worker."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import torch

from unlocked.engine.edges import UP, Edge, edges, ends_of
from unlocked.engine.links import AHEAD, Incoming, Outgoing, Queue, ReceiveLink, SendLink
from unlocked.engine.module import Ends
from unlocked.engine.shared import SharedReceiver, SharedSender
from unlocked.plan.plan import Plan
from unlocked.schemes import DTYPES


def wire(plan: Plan, rank: int, device: torch.device, backend: str, nodes: list[str], store: Any) -> dict[int, Ends]:
    """The ends of all links of one worker's modules, connected; every worker of the group calls this at once.

    `nodes[rank]` names the machine of each worker. Modules of one worker hand over by queues, CPU workers of one
    machine through shared memory unless `parallel.link` says otherwise, all others through the process group.
    """
    parallel = plan.config.parallel
    replicas, dtype = parallel.replicas, DTYPES[plan.config.train.precision]
    here, replica = divmod(rank, replicas)
    shape = (plan.config.data.batch_size // replicas,)
    through_cpu = backend == "gloo" and device.type == "cuda"
    groups = _nccl_groups(plan) if backend == "nccl" else {}
    worker = plan.placement
    incoming: dict[Edge, Incoming] = {}
    outgoing: dict[Edge, Outgoing] = {}
    receivers: list[SharedReceiver] = []
    senders: list[tuple[Edge, str]] = []
    all_edges = edges(plan)
    for number, edge in enumerate(all_edges):
        comes, goes = worker[edge.target] == here, worker[edge.source] == here
        if comes and goes:
            incoming[edge] = outgoing[edge] = Queue()
            continue
        if not comes and not goes:
            continue
        source, target = worker[edge.source] * replicas + replica, worker[edge.target] * replicas + replica
        near = backend != "nccl" and nodes[source] == nodes[target] and parallel.link == "auto"
        group, full = groups.get((edge, replica)), (*shape, *edge.shape)
        key = f"link/{edge.source}/{edge.target}/{edge.channel}/{replica}"
        if comes and near:
            # when a segment ends, messages of the last `lag` minibatches are under way and no sender may wait
            keep, ahead = plan.lag if edge.channel == UP else 0, plan.lag + AHEAD
            receiver = SharedReceiver(f"module {edge.source}", full, dtype, keep, parallel.timeout, device, ahead)
            store.set(key, receiver.address)
            receivers.append(receiver)
            incoming[edge] = receiver
        elif comes:
            incoming[edge] = ReceiveLink(
                source, (number, len(all_edges)), full, dtype, device, plan.lag, group, through_cpu
            )
        elif near:
            senders.append((edge, key))
        else:
            outgoing[edge] = SendLink(target, (number, len(all_edges)), group, plan.lag + 4, through_cpu)
    # everyone connects before anyone accepts, and accepts before it maps: no circle can wait
    connected = []
    for edge, key in senders:
        full = (*shape, *edge.shape)
        sender = SharedSender(store.get(key).decode(), f"module {edge.target}", full, dtype, parallel.timeout)
        connected.append(sender)
        outgoing[edge] = sender
    for receiver in receivers:
        receiver.accept()
    for sender in connected:
        sender.map()
    return {module: ends_of(module, incoming, outgoing) for module in plan.held_by(here)}


def _nccl_groups(plan: Plan) -> dict[tuple[Edge, int], Any]:
    """nccl keeps the order of messages per communicator and knows no tags: every link gets its own."""
    import torch.distributed as dist

    replicas, worker = plan.config.parallel.replicas, plan.placement
    timeout = timedelta(seconds=plan.config.parallel.timeout)
    return {
        (edge, r): dist.new_group(
            [worker[edge.source] * replicas + r, worker[edge.target] * replicas + r], timeout=timeout
        )
        for edge in edges(plan)
        if worker[edge.source] != worker[edge.target]
        for r in range(replicas)
    }
