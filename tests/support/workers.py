"""A worker's end of the hub, without a server."""

from __future__ import annotations

import socket
import typing as t
from dataclasses import asdict
from pathlib import Path

from flask_push._delivery.options import Options
from flask_push._delivery.stream import Stream
from flask_push._handoff.process_door import ProcessDoor
from flask_push._handoff.shared_doors import SharedDoors
from flask_push._hub.thread import ThreadDoor
from flask_push._ipc.client import Client
from flask_push._ipc.files import HubFiles
from flask_push.brokers import open_broker

STREAM = Stream(("a",), "connection", b"HEAD\r\n\r\n")


def make(
    directory: Path,
    accel: str | None = None,
    keys: tuple[bytes, ...] = (),
    options: dict[str, t.Any] | None = None,
    **more: t.Any,
) -> ProcessDoor:
    broker = open_broker("sqlite:", directory)
    hello = {
        "url": broker.url,
        "retention": None,
        "timeout": 2,
        "options": {**asdict(Options()), **(options or {})},
        "linger": 0.5,
        "accel": accel,
        "return_keys": [key.hex() for key in keys],
    }
    more = {"instead": lambda: ThreadDoor(lambda: broker, Options()), **more}
    return ProcessDoor(HubFiles.of(directory), hello, **more)


def adopt(hub: ProcessDoor | SharedDoors, stream: Stream = STREAM) -> socket.socket:
    ours, theirs = socket.socketpair()
    try:
        hub.adopt(stream, Client(theirs.fileno()))
    except RuntimeError:
        ours.close()
        theirs.close()
        raise
    theirs.detach()
    ours.settimeout(20)
    return ours
