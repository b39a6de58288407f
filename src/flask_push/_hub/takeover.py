"""How one hub process takes the place of another, and no stream ends (law 10).

The old one is frozen and sends everything: the door and the lock, the connections of
workers, who notice nothing, and each stream's descriptor with its place. Then the right
to write passes, at one word: ``commit``. Before it, the successor has written nothing,
and whatever goes wrong, the old one goes on. After it, the old one never writes again,
and if it does not hear that the word arrived, it ends all streams, so that each browser
comes back. So there is no instant at which two could write, or nobody knows.
"""

from __future__ import annotations

import base64
import collections.abc as cabc
import contextlib
import os
import socket
import typing as t

from .._delivery.channel import frame_of
from .._delivery.snapshot import HubState
from .._delivery.snapshot import LogState
from .._delivery.snapshot import ReaderState
from .._ipc.messages import Message
from .._ipc.messages import Messages
from .._ipc.messages import MOST_BYTES
from .._ipc.messages import MOST_FDS
from .._ipc.messages import UNREADABLE
from .._ipc.version import version

# Seconds for each step. All streams stand still meanwhile.
_PATIENCE = 5.0
# Streams that go into one message, and bytes of what they still have to be sent.
_MOST = 100
_MOST_BYTES = 2**20


class Handover(t.NamedTuple):
    """All that a hub process is."""

    hello: dict[str, t.Any]
    frozen: HubState
    #: The door, the lock, and the door for nginx if there is one.
    fds: list[int]
    #: Who has come in by the door, and whether there is an agreement with them.
    visitors: list[tuple[Messages, bool]]


def give(messages: Messages, things: Handover) -> bool:
    """Hand everything over. False if nothing has happened, since the other has failed.

    :raises OSError: If it can't be known whether the other has it all. Then all streams
        have been ended.
    """
    messages.sock.settimeout(_PATIENCE)
    messages.most = MOST_BYTES
    try:
        messages.send({"hello": things.hello, "chains": things.frozen.log}, things.fds)
        for visitor, welcome in things.visitors:
            data, fds = visitor.unread()
            said = {"visitor": data.decode("latin-1"), "welcome": welcome}
            messages.send(said, [visitor.fileno(), *fds])
        numbers, frames = _frames(things.frozen.readers)
        for parts in _parts(frames):
            messages.send({"frames": parts})
        for places, fds in _batches(things.frozen.readers, numbers):
            messages.send({"places": places}, fds)
        drains = things.frozen.drains
        for start in range(0, len(drains), MOST_FDS):
            messages.send({"drains": 1}, drains[start : start + MOST_FDS])
        messages.send({"all": 1})
        _expect("ready", messages)
    except Exception:
        messages.close()
        return False
    try:
        messages.send({"commit": 1})
        _expect("taken", messages)
    except Exception as error:
        end_all(things.frozen)
        raise OSError("The successor has not said that it goes on.") from error
    return True


def end_all(frozen: HubState) -> None:
    """End all streams, also where another process has their descriptors."""
    for _, fd in frozen.readers:
        with contextlib.suppress(OSError), socket.socket(fileno=fd) as sock:
            sock.shutdown(socket.SHUT_RDWR)


def take(messages: Messages, forced: bool) -> Handover:
    """Receive everything, and with it the right to write.

    :param forced: Whether it is wanted also from a hub of the same version.
    :raises OSError: If the other does not give it, or not all of it.
    """
    messages.sock.settimeout(_PATIENCE)
    messages.send({"replace": {"version": version(), "forced": forced}})
    try:
        things = _collect(messages)
        messages.send({"ready": 1})
        _expect("commit", messages)
    except EOFError:
        raise OSError("The hub that was to be replaced has ended.") from None
    with contextlib.suppress(OSError):
        messages.send({"taken": 1})
    messages.close()
    return things


def _collect(messages: Messages) -> Handover:
    hello: dict[str, t.Any] = {}
    chains = LogState()
    frames: dict[int, bytearray] = {}
    places: list[tuple[ReaderState, int]] = []
    doors: list[int] = []
    drains: list[int] = []
    visitors: list[tuple[Messages, bool]] = []
    for message, fds in _messages(messages):
        if "refused" in message:
            raise OSError(message["refused"])
        elif "chains" in message:
            hello, chains = message["hello"], LogState.from_json(message["chains"])
            doors = fds
        elif "visitor" in message:
            sock = socket.socket(fileno=fds[0])
            data = message["visitor"].encode("latin-1")
            visitors.append((Messages(sock, data, fds[1:]), message["welcome"]))
        elif "frames" in message:
            for number, part in message["frames"]:
                frames.setdefault(number, bytearray()).extend(base64.b64decode(part))
        elif "places" in message:
            whole = {number: memoryview(frame) for number, frame in frames.items()}
            found = [ReaderState.from_json(place, whole) for place in message["places"]]
            places += zip(found, fds, strict=True)
        elif "drains" in message:
            drains += fds
        elif "all" in message:
            break
    return Handover(hello, HubState(chains, places, drains), doors, visitors)


def _frames(places: list[tuple[ReaderState, int]]) -> tuple[dict[int, int], list[bytes]]:
    """The frames of which readers have had a part, each once though thousands may be
    behind one: by identity their numbers, and by number the frames."""
    rests = [place.rest for place, _ in places if isinstance(place.rest, memoryview)]
    frames = list({id(frame_of(rest)): frame_of(rest) for rest in rests}.values())
    return {id(frame): number for number, frame in enumerate(frames)}, frames


def _parts(frames: list[bytes]) -> cabc.Iterator[list[tuple[int, str]]]:
    """The frames, in pieces that fit into messages."""
    parts: list[tuple[int, str]] = []
    size = 0
    for number, frame in enumerate(frames):
        for start in range(0, len(frame), _MOST_BYTES):
            part = frame[start : start + _MOST_BYTES]
            parts.append((number, base64.b64encode(part).decode()))
            size += len(part)
            if size >= _MOST_BYTES:
                yield parts
                parts, size = [], 0
    if parts:
        yield parts


def _batches(
    places: list[tuple[ReaderState, int]], numbers: dict[int, int]
) -> cabc.Iterator[tuple[list[list[t.Any]], list[int]]]:
    batch: list[list[t.Any]] = []
    fds: list[int] = []
    size = 0
    for place, fd in places:
        batch.append(place.to_json(numbers))
        fds.append(fd)
        if not isinstance(place.rest, memoryview):
            size += len(place.rest)
        if len(fds) == _MOST or size > _MOST_BYTES:
            yield batch, fds
            batch, fds, size = [], [], 0
    if fds:
        yield batch, fds


def _messages(messages: Messages) -> cabc.Iterator[Message]:
    while True:
        for message, fds in messages.receive():
            if UNREADABLE in message:
                # Here, none may be missing.
                raise OSError(message[UNREADABLE])
            yield message, fds


def _expect(word: str, messages: Messages) -> None:
    for message, fds in _messages(messages):
        for fd in fds:
            os.close(fd)
        if word in message:
            return
