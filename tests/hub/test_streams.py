"""What a stream promises, over HTTP, with a worker and a store that are real."""

from __future__ import annotations

import collections.abc as cabc
import json
import re
import socket
import sqlite3
from pathlib import Path

import pytest
from support.measures import memory
from support.reader import HttpReader
from support.servers import gunicorn
from support.servers import hubs
from support.servers import serve
from support.servers import Server
from support.servers import until

from flask_push import Position
from flask_push._event import base62


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> cabc.Iterator[Server]:
    directory = tmp_path_factory.mktemp("streams")
    with serve(
        gunicorn, directory, "-w", "2", PUSH_HEARTBEAT=0.2, PUSH_RETRY=0.5
    ) as server:
        yield server


@pytest.fixture
def channel(request: pytest.FixtureRequest) -> str:
    """A channel that no other test knows."""
    return re.sub(r"\W", "_", request.node.name)[-60:]


def numbers(reader: HttpReader) -> list[int]:
    return [Position.parse(event.id).number for event in reader.events]


# Opening.


def test_a_stream_opens_at_once_and_says_where(server: Server, channel: str) -> None:
    with server.stream(channel, "also").opened() as reader:
        assert re.match(
            rb":\nretry: \d+\nid: [^\n]+\nevent: push:open\ndata: ", reader.body
        )
        (opened,) = reader.events
        assert Position.parse(opened.id).epoch
        data = json.loads(opened.data)
        assert data["channels"] == sorted([channel, "also"])
        assert re.fullmatch(r"[\w-]{16}\.[\w-]{16}", data["connection"])
        assert reader.parser.retry in range(333, 700)


def test_an_event_says_which_channel_it_came_by(server: Server) -> None:
    with server.stream("غرفة", "user:42").opened() as reader:
        id = server.publish("غرفة", "1", type="said")
        server.publish("user:42", "2")
        reader.read_data(2)
        first, second = reader.events[1:]
        assert (first.id, first.type, first.channel) == (id, "said", "غرفة")
        assert second.channel == "user:42"
        assert second.id.endswith(".user~3a42")


def test_heartbeats_are_no_events(server: Server, channel: str) -> None:
    with server.stream(channel).opened() as reader:
        reader.read_until(lambda r: r.body.endswith(b"\n\n:\n:\n"))
        assert len(reader.events) == 1
        server.publish(channel, "x")
        assert reader.read_data(1) == ["x"]


# Where it begins.


def test_a_stream_begins_with_what_comes_or_some_events_back(
    server: Server, channel: str
) -> None:
    server.publish(channel, "1", "2", "3")
    with server.stream(channel).opened() as new:
        with server.stream(channel, last=2).opened() as back:
            server.publish(channel, "4")
            assert back.read_data(3) == ["2", "3", "4"]
            assert new.read_data(1) == ["4"]
    with server.stream(channel, last=99) as whole:
        assert whole.read_data(4) == ["1", "2", "3", "4"]
        assert whole.gaps == []


@pytest.mark.parametrize(
    "name", ["last_event_id", "lastEventId", "Last-Event-Id", "evs_last_event_id"]
)
def test_the_position_may_stand_in_the_address(
    name: str, server: Server, channel: str
) -> None:
    id = server.publish(channel, "1")
    server.publish(channel, "2")
    with server.stream(channel, **{name: id}) as reader:
        assert reader.read_data(1) == ["2"]


def test_the_header_is_newer_than_the_address(server: Server, channel: str) -> None:
    old = server.publish(channel, "1")
    new = server.publish(channel, "2")
    server.publish(channel, "3")
    with server.stream(channel, last_id=new, last_event_id=old) as reader:
        assert reader.read_data(1) == ["3"]
        assert reader.events[0].id == new.partition(".")[0]


def test_between_a_page_and_its_stream_nothing_falls(server: Server, channel: str) -> None:
    server.publish(channel, "1")
    page = json.loads(server.get(f"/history?channel={channel}"))
    server.publish(channel, "2")
    assert [event["data"] for event in page["events"]] == ["1"]
    with server.stream(channel, last_event_id=page["position"]) as reader:
        assert reader.read_data(1) == ["2"]
    position = server.get("/position")
    server.publish(channel, "3")
    with server.stream(channel, last_event_id=position) as reader:
        assert reader.read_data(1) == ["3"]


def test_a_position_may_be_ignored(server: Server, channel: str) -> None:
    id = server.publish(channel, "1")
    server.publish(channel, "2")
    with server.stream(channel, last_id=id, replay="no").opened() as reader:
        server.publish(channel, "3")
        assert reader.read_data(1) == ["3"]
        assert reader.gaps == []


def test_a_poll_answers_what_is_there_and_ends(server: Server, channel: str) -> None:
    id = server.publish(channel, "1")
    server.publish(channel, "2", "3")
    with server.stream(channel, last_id=id, poll=1) as reader:
        reader.read_to_end()
        assert reader.data == ["2", "3"]
    with server.stream(channel, last_id=reader.last_id, poll=1) as reader:
        assert reader.read_to_end().data == []


def test_a_client_that_sends_nothing_after_its_request_is_answered(
    server: Server, channel: str
) -> None:
    id = server.publish(channel, "1")
    server.publish(channel, "2", "3")
    with server.stream(channel, last_id=id, poll=1) as reader:
        # As `nc -N` and some HTTP/1.0 clients do.
        reader.sock.shutdown(socket.SHUT_WR)
        assert reader.read_to_end().data == ["2", "3"]


def test_after_its_lifetime_a_stream_ends_and_resumes(server: Server, channel: str) -> None:
    with server.stream(channel, lifetime=0.3).opened() as reader:
        server.publish(channel, "1")
        reader.read_to_end()
        assert re.search(rb"\nretry: \d+\n\Z", reader.body)
    server.publish(channel, "2")
    with server.stream(channel, last_id=reader.last_id) as again:
        seen = reader.data + again.read_data(2 - len(reader.data))
        assert seen == ["1", "2"]


# Browsers get a gap for events that the store has dropped.


def test_history_that_is_gone_is_a_gap_before_what_is_newer(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path, PUSH_KEEP=5) as server:
        first = server.publish("a", "0")
        with server.stream("a", "b") as reader:
            reader.opened()
        for n in range(1, 20):
            server.publish("a", str(n))
        server.publish("b", "kept")
        with server.stream("a", "b", last_id=first) as reader:
            reader.read_until(lambda r: "kept" in r.data)
            types = [event.type for event in reader.events]
            assert types[:3] == ["push:open", "push:gap", "message"]
            (gap,) = reader.gaps
            assert gap["channels"] == ["a"] and gap["reason"] == "trimmed"
            assert gap["wait"] >= 0
            assert reader.data[-1] == "kept" and reader.data[-2] == "19"
            assert reader.data[:-1] == [
                str(n) for n in range(20 - len(reader.data) + 1, 20)
            ]
            assert numbers(reader) == sorted(numbers(reader))
        # Cut right behind the gap: not again, and nothing of the rest is lost.
        told = reader.events[1].id
        with server.stream("a", "b", last_id=told) as again:
            assert again.read_data(len(reader.data)) == reader.data
            assert again.gaps == []


@pytest.mark.parametrize(
    ("position", "reason"),
    [
        ("garbage", "unknown"),
        ("12345", "unknown"),
        ("x" * 3000, "unknown"),
        ("\u00ff\u00fe", "unknown"),
        ("other-8DnrojJJO", "restarted"),
        ("other-8DnrojJJO.chat", "restarted"),
    ],
)
def test_a_position_that_is_nowhere_is_told(
    position: str, reason: str, server: Server, channel: str
) -> None:
    server.publish(channel, "1")
    with server.stream(channel, "also", last_event_id=position) as reader:
        reader.read_until(lambda r: r.gaps)
        server.publish(channel, "2")
        assert reader.read_data(1) == ["2"]
        assert reader.gaps[0]["channels"] == sorted([channel, "also"])
        assert reader.gaps[0]["reason"] == reason
        assert len(reader.gaps) == 1
        # It keeps its old id until the gap, and then has a new one.
        assert [bool(event.id) for event in reader.events[:2]] == [False, True]
    with server.stream(channel, "also", last_id=reader.last_id) as reader:
        assert reader.opened().gaps == []


def test_a_position_of_the_future_is_told(server: Server, channel: str) -> None:
    now = Position.parse(server.publish(channel, "1"))
    future = f"{now.epoch}-{base62(now.number + 10**12)}"
    with server.stream(channel, last_id=future) as reader:
        reader.read_until(lambda r: r.gaps)
        assert reader.gaps[0]["reason"] == "unknown"


def test_a_store_that_was_replaced_is_told_to_all(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path, "-w", "2") as server:
        readers = [server.stream("a").opened() for _ in range(8)]
        before = server.publish("a", "1")
        for reader in readers:
            reader.read_data(1)
        for path in tmp_path.glob("push-basic/push.db*"):
            if path.is_file() and path.suffix != ".lock":
                path.unlink()
        after = server.publish("a", "2")
        assert Position.parse(after).epoch != Position.parse(before).epoch
        again = []
        for reader in readers:
            # Its user may have been disconnected in the store that is lost.
            reader.read_to_end()
            assert reader.data == ["1"] and not reader.gaps
            again.append(server.stream("a", last_id=reader.last_id))
            again[-1].read_until(lambda r: r.gaps)
            assert again[-1].gaps[0]["reason"] == "restarted"
        server.publish("a", "3")
        for reader in again:
            # What the gap covers is not sent, since the page fetches it.
            assert reader.read_data(1) == ["3"]
            assert len(reader.gaps) == 1


def test_a_restart_of_the_server_loses_nothing(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path, "-w", "2") as server:
        reader = server.stream("a", "b").opened()
        server.publish("a", "1")
        reader.read_data(1)
        server.stop()
        server.start()
        server.publish("b", "2")
        again = server.stream("a", "b", last_id=reader.last_id)
        server.publish("a", "3")
        assert again.read_data(2) == ["2", "3"]
        assert again.gaps == []


# Hostile input.


@pytest.mark.parametrize(
    "event",
    [
        {"channel": "a", "data": "x", "type": "a\nid: 5"},
        {"channel": "a", "data": "x", "type": "a\r"},
        {"channel": "a", "data": "x", "type": "\0"},
        {"channel": "a", "data": "x", "type": "error"},
        {"channel": "a", "data": "x", "type": "push:gap"},
        {"channel": "", "data": "x"},
        {"channel": "x" * 65, "data": "x"},
        {"channel": "a", "data": "x" * (10 * 2**20)},
        {"channel": "a", "data": "\ud800"},
        {"channel": "a", "data": "x", "key": ""},
    ],
)
def test_what_cannot_be_sent_is_refused_and_nothing_else_is_lost(
    event: dict[str, str], server: Server, channel: str
) -> None:
    with server.stream(channel).opened() as reader:
        server.publish(channel, "before")
        status, _, _ = server.request("POST", "/publish", json.dumps([event]).encode())
        assert status == 500
        server.publish(channel, "after")
        assert reader.read_data(2) == ["before", "after"]
        assert reader.gaps == []


def test_text_of_any_kind_goes_through_unbroken(server: Server, channel: str) -> None:
    texts = ["", " ", "a\nb", "\n", "a\r\n\r\nid: 5\ndata: x", "\u2028", "\0", "x" * 2**20]
    with server.stream(channel).opened() as reader:
        for text in texts:
            server.publish(channel, text)
        received = reader.read_data(len(texts))
        assert received == [text.replace("\r\n", "\n") for text in texts]
        assert all(event.id.endswith(f".{channel}") for event in reader.events[1:])


def test_too_many_channels_are_refused(server: Server) -> None:
    names = "&".join(f"channel=c{n}" for n in range(10_000))
    assert server.request("GET", f"/stream?{names[:60_000]}")[0] in (400, 414, 500)
    names = "&".join(f"channel=c{n}" for n in range(101))
    status, _, body = server.request("GET", f"/stream?{names}")
    assert status == 400 and b"PUSH_MAX_CHANNELS" in body
    with server.stream(*(f"c{n}" for n in range(100))).opened() as reader:
        server.publish("c77", "x")
        assert reader.read_data(1) == ["x"]


def test_over_the_limit_a_stream_says_to_come_back(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path, PUSH_MAX_STREAMS=3) as server:
        readers = [server.stream("a").opened() for _ in range(3)]
        for _ in range(5):
            refused = server.stream("a").read_to_end()
            assert refused.status == 200
            assert refused.headers["content-type"].startswith("text/event-stream")
            assert re.fullmatch(rb":\nretry: \d+\n", refused.body)
        # A worker logs it after the hub.
        until(lambda: "PUSH_MAX_STREAMS" in server.log)
        assert server.log.count("PUSH_MAX_STREAMS") == 1, "once a minute at most"
        hub_log = tmp_path / "push-basic" / "hub.log"
        assert hub_log.read_text().count("PUSH_MAX_STREAMS") == 1
        server.publish("a", "x")
        for reader in readers:
            assert reader.read_data(1) == ["x"]
        readers[0].close()
        until(lambda: server.stream("a", poll=1).read_to_end().events)


def test_an_event_from_elsewhere_that_cannot_be_sent_is_a_gap(tmp_path: Path) -> None:
    """Something that does not know the rules writes into the store."""
    with serve(gunicorn, tmp_path) as server:
        reader = server.stream("a", "b").opened()
        server.publish("a", "1")
        store = sqlite3.connect(tmp_path / "push-basic" / "push.db", isolation_level=None)
        # In one transaction: the hub may just be reading.
        store.execute("BEGIN IMMEDIATE")
        store.execute("UPDATE store SET last = last + 1")
        store.execute(
            "INSERT INTO event (number, channel, prev, nth, size, type, data)"
            " SELECT last, 'a', max(number), 9, 9, 'a' || char(10), x'78' FROM store, event"
        )
        store.execute("COMMIT")
        store.close()
        server.publish("b", "2")
        server.publish("a", "3")
        assert reader.read_data(3) == ["1", "2", "3"]
        (gap,) = reader.gaps
        assert gap["channels"] == ["a"]
        types = [event.type for event in reader.events]
        assert types == ["push:open", "message", "push:gap", "message", "message"]
        until(lambda: "Could not send event" in server.log)


# Slow readers.


def test_a_reader_that_stops_costs_no_memory_and_reads_on(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path, PUSH_LOG_BYTES=2**20, PUSH_KEEP=10_000) as server:
        slow = server.stream("a", receive_buffer=4096).opened()
        (pid,) = hubs(tmp_path)
        fast = server.stream("a").opened()
        for n in range(30):
            server.publish("a", *(f"{n} {i} " + "x" * 10_000 for i in range(100)))
            if n == 4:
                early = memory(pid)
            fast.read_data(100 * (n + 1))
        assert memory(pid) < early + 8 * 2**20, "30 MB went by"
        slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)
        received = slow.read_data(3000)
        assert [data.split("x")[0] for data in received] == [
            f"{n} {i} " for n in range(30) for i in range(100)
        ]
        assert slow.gaps == []


def test_a_reader_that_stops_for_too_long_is_told(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path, PUSH_LOG_BYTES=2**20, PUSH_KEEP=100) as server:
        slow = server.stream("a", "b", receive_buffer=4096).opened()
        for n in range(20):
            server.publish("a", *(f"{n} {i} " + "x" * 10_000 for i in range(100)))
        server.publish("b", "last")
        slow.read_until(lambda r: r.data and r.data[-1] == "last")
        assert slow.gaps and all(gap["channels"] == ["a"] for gap in slow.gaps)
        assert numbers(slow) == sorted(set(numbers(slow)))
        assert slow.data[-2].startswith("19 99 ")
        assert len(slow.data) < 2000
