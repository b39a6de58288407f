"""The messages between workers, the hub and its successor, as older versions wrote them."""

from __future__ import annotations

import json
import os
import re
import socket
import typing as t

import pytest
from support.servers import ROOT

from flask_push._delivery.figure_record import FigureState
from flask_push._delivery.follow import Follow
from flask_push._delivery.options import Options
from flask_push._delivery.presence_plan import RecordState
from flask_push._delivery.snapshot import LogState
from flask_push._delivery.snapshot import ReaderState
from flask_push._delivery.snapshot import stream_to_json
from flask_push._delivery.stream import Stream
from flask_push._delivery.stream_presence import StreamPresence
from flask_push._ipc import listing_protocol
from flask_push._ipc import protocol
from flask_push._ipc import takeover_protocol
from flask_push._ipc.agreement import Agreement
from flask_push._ipc.kind import Message
from flask_push._ipc.messages import Messages
from flask_push._ipc.protocol import KINDS
from flask_push._ipc.protocol import Reader

#: One message in a line: the commit that wrote it, who receives it, its kind, the number of
#: its descriptors, and its bytes as they were on the socket, as Latin-1.
LINES = (ROOT / "tests" / "ipc" / "older_messages.jsonl").read_text().splitlines()
OLDER: list[dict[str, t.Any]] = [json.loads(line) for line in LINES]

STREAM = Stream(
    ("chat", "user:é"),
    "kq3vR0c1",
    b"HTTP/1.1 200 OK\r\nX-Name: \xe9\r\n\r\n",
    "e-1f.chat",
    5,
    "ann",
    "192.0.2.1",
    600.0,
    visible=True,
)
#: As a worker sends it today.
NEWER = STREAM._replace(
    session="s1",
    seen="e-1g",
    items=True,
    holds="5f0a31be7cc92d04",
    every=0.5,
    presence=StreamPresence((("chat", '{"name":"Ann"}'),), ("chat",), ("hall",)),
    expires=1796000000,
)
RUN = Follow("chat", "12.1", "openai", "e", 31, 0, "chunked")
FOLLOWING = STREAM._replace(channels=("chat",), visible=False, follow=RUN)
ANOTHER_STORE = (
    "The hub at /srv/shop/hub.sock serves another store than this app's PUSH_BROKER_URL"
    " names. Set PUSH_RUN_DIR to a directory of its own for each app, or stop the hub:"
    " 'flask push stop'."
)
TOO_MANY = (
    "hub 19065: 1 streams are the most that PUSH_MAX_STREAMS allows; 1 were told to come"
    " back later."
)
STATUS = {
    **{"pid": 19065, "version": "0.1.0.dev0", "seconds": 0, "socket": "/srv/shop/hub.sock"},
    **{"processes": 1, "cpu_seconds": 0.13, "streams": 0, "behind": 0, "channels": 0},
    "position": "vUEiS-8DzQCPV1f",
}
HELLO = json.loads(OLDER[0]["bytes"][5:])["hello"]
BEHIND = ReaderState(STREAM, True, "e", 31, b"\x00\xffhalf", 30, 12.5, 7, 3, 400)

LISTED: dict[str, t.Any] = {
    **{"id": "kq3vR0c1", "user": "ann", "session": None, "channels": ["chat"], "more": 0},
    **{"cut": False, "seconds": 31, "place": "live", "held": "socket", "poll": False},
    "follows": False,
}

#: What the bytes mean, by receiver and kind.
MEANING: dict[tuple[str, str], Message] = {
    ("hub", "hello"): protocol.Hello(HELLO, "0.1.0.dev0"),
    ("hub", "adopt"): protocol.Adopt(STREAM),
    ("hub", "expect"): protocol.Expect(STREAM, "al8dTEBpAMh75QamBpqYWgEvqwwxm1r_"),
    ("hub", "follow"): protocol.Follow(FOLLOWING),
    ("hub", "expect_follow"): protocol.ExpectFollow(
        FOLLOWING, "al8dTEBpAMh75QamBpqYWgEvqwwxm1r_"
    ),
    ("hub", "status"): protocol.StatusRequest(),
    ("hub", "list_streams"): listing_protocol.ListStreams(7, 100, "ann", None, "chat"),
    ("hub", "list_channels"): listing_protocol.ListChannels(0, 20),
    ("worker", "stream_page"): listing_protocol.StreamPage([LISTED], 1, 7),
    ("worker", "channel_page"): listing_protocol.ChannelPage([("chat", 3)], None),
    ("hub", "stop"): protocol.Stop(),
    ("hub", "container_ends"): protocol.ContainerEnds(4026532301),
    ("hub", "replace"): protocol.Replace("0.1.0.dev0", True),
    ("worker", "welcome"): protocol.Welcome("0.1.0.dev0"),
    ("worker", "status"): protocol.Status(STATUS),
    ("worker", "log"): protocol.LogLine(30, TOO_MANY),
    ("worker", "refused"): protocol.Refused(ANOTHER_STORE),
    ("worker", "bye"): protocol.Bye("it was told to"),
    ("successor", "chains"): takeover_protocol.Begin(
        HELLO, LogState("e", 1, 31, {"chat": (0, 0), "user:é": (3, 9)})
    ),
    ("successor", "visitor"): takeover_protocol.PeerState(b"\x00\xff", True),
    ("successor", "frames"): takeover_protocol.Frames(
        [(0, "id: e-1f.chat\ndata: é\n\n".encode())]
    ),
    ("successor", "places"): takeover_protocol.Readers([BEHIND.to_json()]),
    ("successor", "followers"): takeover_protocol.Followers(
        [BEHIND._replace(stream=FOLLOWING).to_json()]
    ),
    ("successor", "drains"): takeover_protocol.Drains(),
    ("successor", "rosters"): takeover_protocol.Rosters(
        [["chat", 31, [[30, "Ab3dE9xQ.ann", '{"typing":true}'], [31, "Ab3dE9xQ", "5"]]]]
    ),
    ("successor", "present"): takeover_protocol.Presence(
        RecordState("Ab3dE9xQ", "vUEiS-8DzQCPV1f", 7, 25.5),
        [["chat", "ann", '{"name":"Ann"}', False, -2.5], ["hall", "bob", "", True, 0]],
    ),
    ("successor", "figures"): takeover_protocol.Counted(
        FigureState(
            *("Ab3dE9xQ01gH", "vUEiS-8DzQCPV1f", {"events": 5}),
            *([[7, {"events": 31, "gaps:trimmed": 1}]], {"events": 40, "gaps:trimmed": 1}),
            7,
        )
    ),
    ("successor", "all"): takeover_protocol.Complete(),
    ("successor", "commit"): takeover_protocol.Commit(),
    ("predecessor", "ready"): takeover_protocol.Ready(),
    ("predecessor", "taken"): takeover_protocol.Taken(),
}


def received(line: dict[str, t.Any]) -> tuple[dict[str, t.Any], int]:
    """What arrives when the bytes are sent, and the number of descriptors."""
    ours, theirs = map(Messages, socket.socketpair())
    with ours.sock, theirs.sock, open("/dev/null") as null:
        socket.send_fds(
            ours.sock, [line["bytes"].encode("latin-1")], [null.fileno()] * line["fds"]
        )
        ((message, fds),) = theirs.receive()
        for fd in fds:
            os.close(fd)
    return message, len(fds)


def as_sent(message: Message, fds: int) -> bytes:
    ours, theirs = map(Messages, socket.socketpair())
    with ours.sock, theirs.sock, open("/dev/null") as null:
        ours.send(message.to_json(), [null.fileno()] * fds)
        return theirs.sock.recv(100_000)


def name(line: dict[str, t.Any]) -> str:
    return f"{line['kind']} to the {line['to']}, by {line['version']}"


def comparable(message: Message | None) -> t.Any:
    """Tuples are lists in JSON."""
    assert message is not None
    return type(message), json.dumps(message.to_json())


@pytest.mark.parametrize("line", OLDER, ids=name)
def test_a_message_of_an_older_version_is_read(line: dict[str, t.Any]) -> None:
    message, fds = received(line)
    assert fds == line["fds"]
    read = Reader(line["to"]).read(message)
    expected = MEANING[line["to"], line["kind"]]
    if (line["version"], line["kind"]) == ("4c5c26c", "places"):
        # A reader in the middle of a frame that is sent by itself.
        frame = memoryview(b"id: e-1f.chat\n")
        state = ReaderState(
            Stream(("chat",), "kq3vR0c1"), True, "e", 31, frame[4:], 30, None, 7
        )
        assert isinstance(read, takeover_protocol.Readers)
        assert [ReaderState.from_json(s, {0: frame}) for s in read.states] == [state]
        return
    assert comparable(read) == comparable(expected)


@pytest.mark.parametrize("line", OLDER, ids=name)
def test_an_older_version_is_sent_the_same_bytes(line: dict[str, t.Any]) -> None:
    message, fds = received(line)
    read = Reader(line["to"]).read(message)
    assert read is not None
    assert as_sent(read, fds) == line["bytes"].encode("latin-1")


def test_older_versions_wrote_a_message_of_each_kind() -> None:
    known = {key for kinds in KINDS.values() for key in kinds}
    assert {line["kind"] for line in OLDER} == known
    # A successor is refused in the same words as a worker.
    everything = {(to, key) for to, kinds in KINDS.items() for key in kinds}
    assert everything - {("successor", "refused")} == MEANING.keys()


def with_a_new_field(value: t.Any) -> t.Any:
    if isinstance(value, dict):
        return {**{key: with_a_new_field(each) for key, each in value.items()}, "new": 1}
    return value


@pytest.mark.parametrize("line", OLDER, ids=name)
def test_a_field_that_this_version_does_not_know_is_ignored(line: dict[str, t.Any]) -> None:
    message, _ = received(line)
    reader = Reader(line["to"])
    changed = {**message, "new": 1}
    if line["kind"] in ("adopt", "expect", "follow", "expect_follow", "replace"):
        changed = with_a_new_field(message)
    assert comparable(reader.read(changed)) == comparable(reader.read(message))
    assert reader.unknown == 0


def test_a_hello_of_an_older_version_is_accepted() -> None:
    hello = protocol.Hello(with_a_new_field(HELLO))
    agreement = Agreement.of(hello.values, None)
    assert agreement.url == "redis://127.0.0.1:1/0"
    assert agreement.options == Options()
    assert [bridge.source for bridge in agreement.bridges] == ["redis:old"]
    assert agreement.return_keys == (b"secret",)
    assert agreement.values["new"] == 1, "a successor may know it"


@pytest.mark.parametrize("receiver", KINDS)
def test_a_message_that_this_version_does_not_know_is_ignored_and_counted(
    receiver: str,
) -> None:
    reader = Reader(receiver)
    for message in {}, {"new": 1}, {"new": [1], "version": "99"}:
        assert reader.read(message) is None
    assert reader.unknown == 3
    assert repr(reader) == f"<Reader for the {receiver} [3 unknown messages]>"


def test_each_kind_of_message_stands_on_its_page() -> None:
    page = (ROOT / "docs" / "protocol.md").read_text()
    described = set(re.findall(r"^\| `(\w+)` \|", page, re.M))
    assert described == {key for kinds in KINDS.values() for key in kinds}


@pytest.mark.parametrize(
    "kind", [protocol.Adopt, protocol.Expect, protocol.Follow, protocol.ExpectFollow]
)
@pytest.mark.parametrize("field", Stream._fields)
def test_a_stream_with_a_field_of_a_wrong_type_is_refused(
    kind: type[Message], field: str
) -> None:
    message = {kind.key: stream_to_json(NEWER), "ticket": "t"}
    read = Reader("hub").read(message)
    assert isinstance(read, (protocol.Adopt, protocol.Expect)) and read.stream == NEWER
    numbers = "last", "lifetime", "poll", "visible", "gzip", "every", "expires"
    wrong = "7" if field in numbers else 7
    message[kind.key] = {**stream_to_json(NEWER), field: wrong}
    with pytest.raises((ValueError, TypeError, AttributeError), match=f"'{field}'|int"):
        Reader("hub").read(message)


@pytest.mark.parametrize("every", [-1, 60.5, float("nan"), float("inf")])
def test_a_stream_with_a_pause_that_the_hub_does_not_keep_is_refused(every: float) -> None:
    message = {"adopt": {**stream_to_json(STREAM), "every": every}}
    with pytest.raises(ValueError, match="'every' of a stream is"):
        Reader("hub").read(message)


@pytest.mark.parametrize("expires", [-1, float("nan"), float("inf")])
def test_a_stream_that_expires_at_no_time_is_refused(expires: float) -> None:
    message = {"adopt": {**stream_to_json(STREAM), "expires": expires}}
    with pytest.raises(ValueError, match="'expires' of a stream is"):
        Reader("hub").read(message)


@pytest.mark.parametrize("channels", [[], ["chat", 7], [None]])
def test_a_stream_whose_channels_are_not_names_is_refused(channels: list[t.Any]) -> None:
    message = {"adopt": {**stream_to_json(STREAM), "channels": channels}}
    with pytest.raises(ValueError, match="'channels' of a stream is"):
        Reader("hub").read(message)


def test_a_hub_says_that_it_knows_streams_that_follow_a_run() -> None:
    welcome = protocol.Welcome("1", follows=True)
    assert Reader("worker").read(welcome.to_json()) == welcome
    older = protocol.Welcome("1").to_json()
    assert older == {"welcome": 1, "version": "1", "no_accel": ""}
    read = Reader("worker").read(older)
    assert isinstance(read, protocol.Welcome) and not read.follows
