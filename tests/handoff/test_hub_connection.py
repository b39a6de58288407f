"""A worker's connection to one hub: what its thread reads, and how it ends."""

from __future__ import annotations

import collections.abc as cabc
import gc
import socket
import threading
import typing as t

import pytest
from support.servers import until

from flask_push._handoff.hub_connection import HubConnection
from flask_push._ipc.messages import Messages


class Receiver:
    def __init__(self) -> None:
        self.received: list[dict[str, t.Any]] = []
        self.closed_at = -1

    def handle(self, connection: HubConnection, received: dict[str, t.Any]) -> None:
        self.received.append(received)

    def closed(self, connection: HubConnection) -> None:
        self.closed_at = len(self.received)


Ends = tuple[HubConnection, Messages]


@pytest.fixture
def ends() -> cabc.Iterator[Ends]:
    """The connection of a worker, and the hub's end of it."""
    ours, theirs = socket.socketpair()
    ours.settimeout(0.1)
    connection, hub = HubConnection(ours), Messages(theirs)
    yield connection, hub
    hub.close()
    connection.close()


def is_reading() -> bool:
    return any(thread.name == "flask-push door" for thread in threading.enumerate())


def test_a_thread_reads_all_messages_and_then_closes_the_connection(ends: Ends) -> None:
    connection, hub = ends
    receiver = Receiver()
    connection.start(receiver)
    for n in range(3):
        # A descriptor that the hub sends is closed, or the test would leave one.
        hub.send({"n": n}, [0])
    hub.close()
    until(lambda: not is_reading())
    assert receiver.received == [{"n": n} for n in range(3)]
    assert receiver.closed_at == 3
    assert connection.fileno() == -1


def test_the_thread_does_not_keep_its_receiver_alive(ends: Ends) -> None:
    connection, hub = ends
    receiver = Receiver()
    received = receiver.received
    connection.start(receiver)
    hub.send({"n": 1})
    until(lambda: received)
    del receiver
    gc.collect()
    hub.send({"n": 2})
    hub.close()
    until(lambda: not is_reading())
    assert received == [{"n": 1}]
    assert connection.fileno() == -1


def test_a_connection_is_lost_if_the_hub_has_closed_its_end(ends: Ends) -> None:
    connection, hub = ends
    hub.close()
    with pytest.raises(OSError) as raised:
        connection.send({})
    assert not connection.lost
    connection.fail(raised.value)
    assert connection.lost


def test_a_connection_is_not_lost_if_the_hub_takes_only_a_part(ends: Ends) -> None:
    connection, _ = ends
    with pytest.raises(OSError, match="took only a part") as raised:
        connection.send({"large": "x" * 2_000_000})
    connection.fail(raised.value)
    assert not connection.lost
