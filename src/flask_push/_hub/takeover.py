"""How one hub process takes the place of another, and no stream ends (law 10).

The old hub freezes and sends everything: its socket and its lock, the connections of
workers, which notice nothing, and the socket and state of each stream. Then it sends
``commit``, and with it the right to write. Before that, the successor writes nothing, and
if anything fails, the old hub goes on. After that, the old hub never writes again. If it
does not receive ``taken``, it closes all streams, so that browsers reconnect. So two hubs
never write to one stream, and no stream is left without a hub.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import socket
import typing as t

from .._delivery.channel import frame_of
from .._delivery.figure_record import FigureState
from .._delivery.known import known_of_row
from .._delivery.presence_plan import PresenceState
from .._delivery.snapshot import HubState
from .._delivery.snapshot import LogState
from .._delivery.snapshot import ReaderState
from .._delivery.snapshot import RosterState
from .._ipc.kind import Message
from .._ipc.messages import close_all
from .._ipc.messages import Messages
from .._ipc.messages import MOST_BYTES
from .._ipc.messages import MOST_FDS
from .._ipc.messages import Received
from .._ipc.messages import UNREADABLE
from .._ipc.protocol import Reader
from .._ipc.protocol import Refused
from .._ipc.protocol import Replace
from .._ipc.takeover_protocol import Begin
from .._ipc.takeover_protocol import Commit
from .._ipc.takeover_protocol import Complete
from .._ipc.takeover_protocol import Counted
from .._ipc.takeover_protocol import Drains
from .._ipc.takeover_protocol import Followers
from .._ipc.takeover_protocol import Frames
from .._ipc.takeover_protocol import PeerState
from .._ipc.takeover_protocol import Presence
from .._ipc.takeover_protocol import Readers
from .._ipc.takeover_protocol import Ready
from .._ipc.takeover_protocol import Rosters
from .._ipc.takeover_protocol import Taken
from .._ipc.version import version
from .handover import end_all

# Seconds for each step, during which no stream receives anything.
_STEP_SECONDS = 5.0
# Streams in one message, and bytes in it that are still to be sent to them.
_MOST = 100
_MOST_BYTES = 2**20
# Rows of rosters of which the bytes are counted together, and rosters in one message.
_MOST_ROWS = 100
# Users who are present, in one message.
_MOST_MEMBERS = 1000


class Handover(t.NamedTuple):
    """Everything that a hub process has."""

    hello: dict[str, t.Any]
    state: HubState
    #: The listening socket, the lock, and the socket for nginx if there is one.
    fds: list[int]
    #: The processes that are connected, and whether the hub has accepted their hello.
    peers: list[tuple[Messages, bool]]


def give(messages: Messages, things: Handover) -> bool:
    """Hand everything over to the successor.

    :return: False if the successor failed before it could write, so that this hub goes on.
    :raises OSError: If it is not known whether the successor has everything. Then all
        streams have been closed.
    """
    messages.sock.settimeout(_STEP_SECONDS)
    messages.most = MOST_BYTES
    try:
        messages.send(Begin(things.hello, things.state.log).to_json(), things.fds)
        for peer, welcome in things.peers:
            unread, fds = peer.unread()
            sent = PeerState(unread, welcome).to_json()
            messages.send(sent, [peer.fileno(), *fds])
        numbers, frames = _frames(things.state.readers)
        for parts in _parts(frames):
            messages.send(Frames(parts).to_json())
        for kind, readers in _by_kind(things.state.readers):
            for states, fds in _batches(readers, numbers):
                messages.send(kind(states).to_json(), fds)
        drains = things.state.drains
        for start in range(0, len(drains), MOST_FDS):
            messages.send(Drains().to_json(), drains[start : start + MOST_FDS])
        for rosters in _parts_of_rosters(things.state.rosters):
            messages.send(Rosters(rosters).to_json())
        if things.state.presence is not None:
            record, members = things.state.presence
            for start in range(0, max(1, len(members)), _MOST_MEMBERS):
                part = members[start : start + _MOST_MEMBERS]
                messages.send(Presence(record, part).to_json())
        if things.state.figures is not None:
            messages.send(Counted(things.state.figures).to_json())
        messages.send(Complete().to_json())
        _wait_for(Ready, Reader("predecessor"), messages)
    except Exception:
        messages.close()
        return False
    try:
        messages.send(Commit().to_json())
        _wait_for(Taken, Reader("predecessor"), messages)
    except Exception as error:
        end_all(things.state)
        raise OSError("The successor has not confirmed that it goes on.") from error
    return True


def take(messages: Messages, forced: bool) -> Handover:
    """Receive everything from the hub that is to be replaced, and the right to write.

    :param forced: Whether to replace also a hub of the same version.
    :raises OSError: If that hub refuses, or does not send everything.
    """
    messages.sock.settimeout(_STEP_SECONDS)
    messages.send(Replace(version(), forced).to_json())
    try:
        things = _collect(messages)
        messages.send(Ready().to_json())
        _wait_for(Commit, Reader("successor"), messages)
    except EOFError:
        raise OSError("The hub that was to be replaced ended.") from None
    with contextlib.suppress(OSError):
        messages.send(Taken().to_json())
    messages.close()
    return things


def _collect(messages: Messages) -> Handover:
    collector = _Collector()
    reader = Reader("successor")
    for received, fds in _messages(messages):
        message = reader.read(received)
        if isinstance(message, Complete):
            break
        if (handler := collector.handlers.get(type(message))) is not None:
            handler(message, fds)
        else:
            close_all(fds)
    return collector.handover()


class _Collector:
    """What a successor has received so far."""

    def __init__(self) -> None:
        self._hello: dict[str, t.Any] = {}
        self._log = LogState()
        self._frames: dict[int, bytearray] = {}
        self._readers: list[tuple[ReaderState, int]] = []
        self._fds: list[int] = []
        self._drains: list[int] = []
        self._rosters: dict[str, RosterState] = {}
        self._peers: list[tuple[Messages, bool]] = []
        self._presence: PresenceState | None = None
        self._figures: FigureState | None = None
        self.handlers: dict[type, cabc.Callable[[t.Any, list[int]], None]] = {
            Refused: self._fail,
            Begin: self._begin,
            PeerState: self._add_peer,
            Frames: self._add_frames,
            Readers: self._add_readers,
            Followers: self._add_readers,
            Drains: self._add_drains,
            Rosters: self._add_rosters,
            Presence: self._add_presence,
            Counted: self._add_figures,
        }

    def handover(self) -> Handover:
        rosters = list(self._rosters.values())
        known = self._log, self._readers, self._drains, rosters, self._presence
        state = HubState(*known, self._figures)
        return Handover(self._hello, state, self._fds, self._peers)

    def _fail(self, message: Refused, _: list[int]) -> t.NoReturn:
        raise OSError(message.reason)

    def _begin(self, message: Begin, fds: list[int]) -> None:
        self._hello, self._log, self._fds = message.hello, message.log, fds

    def _add_peer(self, message: PeerState, fds: list[int]) -> None:
        messages = Messages(socket.socket(fileno=fds[0]), message.unread, fds[1:])
        self._peers.append((messages, message.welcome))

    def _add_frames(self, message: Frames, _: list[int]) -> None:
        for number, part in message.parts:
            self._frames.setdefault(number, bytearray()).extend(part)

    def _add_readers(self, message: Readers, fds: list[int]) -> None:
        frames = {number: memoryview(frame) for number, frame in self._frames.items()}
        states = [ReaderState.from_json(state, frames) for state in message.states]
        self._readers += zip(states, fds, strict=True)

    def _add_presence(self, message: Presence, _: list[int]) -> None:
        before = [] if self._presence is None else self._presence.members
        self._presence = PresenceState(message.record, before + message.members)

    def _add_figures(self, message: Counted, _: list[int]) -> None:
        self._figures = message.figures

    def _add_drains(self, _: Drains, fds: list[int]) -> None:
        self._drains += fds

    def _add_rosters(self, message: Rosters, _: list[int]) -> None:
        for part in message.parts:
            roster = RosterState(*known_of_row(RosterState, part))
            known = self._rosters.setdefault(roster.channel, roster)
            if known is not roster:
                known.rows.extend(roster.rows)


def _frames(places: list[tuple[ReaderState, int]]) -> tuple[dict[int, int], list[bytes]]:
    """The frames of which readers have received a part. Each is there once, though
    thousands of readers may be in the middle of one.

    :return: The number of each frame, by its identity, and the frames by number.
    """
    rests = [place.rest for place, _ in places if isinstance(place.rest, memoryview)]
    frames = list({id(frame_of(rest)): frame_of(rest) for rest in rests}.values())
    return {id(frame): number for number, frame in enumerate(frames)}, frames


def _parts(frames: list[bytes]) -> cabc.Iterator[list[tuple[int, bytes]]]:
    """The frames, in parts that fit into messages."""
    parts: list[tuple[int, bytes]] = []
    size = 0
    for number, frame in enumerate(frames):
        for start in range(0, len(frame), _MOST_BYTES):
            part = frame[start : start + _MOST_BYTES]
            parts.append((number, part))
            size += len(part)
            if size >= _MOST_BYTES:
                yield parts
                parts, size = [], 0
    if parts:
        yield parts


def _parts_of_rosters(rosters: list[RosterState]) -> cabc.Iterator[list[list[t.Any]]]:
    """The rosters, in parts that fit into messages."""
    parts: list[list[t.Any]] = []
    size = 0
    for channel, sure, rows in rosters:
        for start in range(0, max(1, len(rows)), _MOST_ROWS):
            some = rows[start : start + _MOST_ROWS]
            parts.append([channel, sure, some])
            size += sum(len(item) + len(data) for _, item, data in some)
            if size >= _MOST_BYTES or len(parts) >= _MOST_ROWS:
                yield parts
                parts, size = [], 0
    if parts:
        yield parts


def _by_kind(
    places: list[tuple[ReaderState, int]],
) -> cabc.Iterator[tuple[type[Readers], list[tuple[ReaderState, int]]]]:
    """The readers, by the message that carries them."""
    followers = [place for place in places if place[0].stream.follow.tag]
    yield Readers, [place for place in places if not place[0].stream.follow.tag]
    yield Followers, followers


def _batches(
    places: list[tuple[ReaderState, int]], numbers: dict[int, int]
) -> cabc.Iterator[tuple[list[list[t.Any]], list[int]]]:
    batch: list[list[t.Any]] = []
    fds: list[int] = []
    size = 0
    for place, fd in places:
        batch.append(place.to_json(numbers))
        fds.append(fd)
        size += _size(place)
        if len(fds) == _MOST or size > _MOST_BYTES:
            yield batch, fds
            batch, fds, size = [], [], 0
    if fds:
        yield batch, fds


def _size(place: ReaderState) -> int:
    """Of what a stream may have much of, the characters."""
    presence = place.stream.presence
    names = *place.stream.channels, *presence.channels
    infos = (info for _, info in presence.present)
    rest = 0 if isinstance(place.rest, memoryview) else len(place.rest)
    return rest + sum(map(len, names)) + sum(map(len, infos))


def _messages(messages: Messages) -> cabc.Iterator[Received]:
    while True:
        for message, fds in messages.receive():
            if UNREADABLE in message:
                # A takeover needs every message.
                raise OSError(message[UNREADABLE])
            yield message, fds


def _wait_for(kind: type[Message], reader: Reader, messages: Messages) -> None:
    for received, fds in _messages(messages):
        close_all(fds)
        if isinstance(reader.read(received), kind):
            return
