"""One hub takes another's place, and either may die at any step: the right to write passes
with ``commit`` (law 10)."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import os
import signal
import socket
import threading
import typing as t
from dataclasses import asdict
from pathlib import Path

import pytest
from support.crowd import talk
from support.failing import Line
from support.failing import Tracer
from support.hub_processes import replace
from support.servers import gunicorn
from support.servers import hubs
from support.servers import kill_hubs
from support.servers import serve
from support.servers import Server
from support.servers import status
from support.servers import the_hub
from support.servers import until

from flask_push._delivery.options import Options
from flask_push._delivery.snapshot import HubState
from flask_push._delivery.snapshot import LogState
from flask_push._delivery.snapshot import ReaderState
from flask_push._delivery.snapshot import stream_to_json
from flask_push._delivery.stream import Stream
from flask_push._delivery.stream_presence import StreamPresence
from flask_push._hub import takeover
from flask_push._hub.process import HubProcess
from flask_push._hub.takeover import _batches
from flask_push._hub.takeover import _frames
from flask_push._hub.takeover import _parts
from flask_push._hub.takeover import give
from flask_push._hub.takeover import Handover
from flask_push._hub.takeover import take
from flask_push._ipc.files import HubFiles
from flask_push._ipc.messages import Messages
from flask_push._ipc.messages import MOST_BYTES
from flask_push._ipc.version import version

STREAMS = 30


@pytest.fixture
def server(tmp_path: Path) -> cabc.Iterator[Server]:
    with serve(
        gunicorn, tmp_path, "-w", "2", PUSH_RETRY=0.5, PUSH_KEEP=1_000_000
    ) as server:
        yield server


def store(directory: Path) -> str:
    return f"sqlite://{directory}/push-basic/push.db"


class Successor:
    """A process that takes a hub's place, step by step."""

    def __init__(self, directory: Path) -> None:
        self.messages = Messages(HubFiles.of(directory / "push-basic").connect())
        self.messages.sock.settimeout(20)
        self.fds: list[int] = []

    def ask(self, forced: bool = True, version: str = "0") -> None:
        self.messages.send({"replace": {"version": version, "forced": forced}})

    def read_until(self, word: str) -> dict[str, t.Any]:
        while True:
            for message, fds in self.messages.receive():
                self.fds += fds
                if word in message:
                    return message

    def close(self) -> None:
        self.messages.close()
        for fd in self.fds:
            os.close(fd)


@pytest.fixture
def successor(
    server: Server, tmp_path: Path
) -> cabc.Iterator[cabc.Callable[[], Successor]]:
    made: list[Successor] = []

    def make() -> Successor:
        made.append(Successor(tmp_path))
        return made[-1]

    yield make
    for one in made:
        one.close()


Make = cabc.Callable[[], Successor]


@pytest.mark.parametrize("word", ["chains", "places", "all"])
def test_a_successor_that_fails_before_it_may_write_changes_nothing(
    word: str, server: Server, successor: Make, tmp_path: Path
) -> None:
    with talk(server, store(tmp_path), STREAMS) as crowd:
        (before,) = hubs(tmp_path)
        for _ in range(3):
            one = successor()
            one.ask()
            one.read_until(word)
            # Its descriptors are still open, as those of one that hangs would be.
            one.messages.shut()
            until(lambda: status(tmp_path).get("streams") == STREAMS)
        assert hubs(tmp_path) == [before]
    assert crowd.ended == 0
    until(lambda: "was not replaced" in server.log)


def test_a_hub_whose_successor_does_not_confirm_ends_all_streams(
    server: Server, successor: Make, tmp_path: Path
) -> None:
    with talk(server, store(tmp_path), STREAMS, returns=True) as crowd:
        (before,) = hubs(tmp_path)
        one = successor()
        one.ask()
        one.read_until("all")
        one.messages.send({"ready": 1})
        one.read_until("commit")
        # Dead, but for what it holds open.
        one.messages.shut()
        until(lambda: crowd.ended == STREAMS)
        until(lambda: before not in hubs(tmp_path))
        one.close()
        one.fds.clear()
        until(lambda: crowd.here == STREAMS)


def test_after_commit_the_old_hub_writes_nothing(
    server: Server, successor: Make, tmp_path: Path
) -> None:
    reader = server.stream("a").opened()
    one = successor()
    one.ask()
    one.read_until("all")
    server.publish("a", "x")
    one.messages.send({"ready": 1})
    one.read_until("commit")
    one.messages.send({"taken": 1})
    until(lambda: not hubs(tmp_path))
    assert reader.data == []
    # Only this process has the stream's socket now: the stream ends when it is closed.
    one.close()
    one.fds.clear()
    assert reader.read_to_end().data == []


def test_a_hub_gives_way_to_a_newer_one_only(
    server: Server, successor: Make, tmp_path: Path
) -> None:
    server.stream("a").opened()
    for older in "0", version():
        one = successor()
        one.ask(forced=False, version=older)
        assert "already" in one.read_until("refused")["refused"]
    one = successor()
    one.ask(forced=False, version="99")
    one.read_until("all")


def test_half_a_frame_is_finished_by_the_successor(server: Server, tmp_path: Path) -> None:
    slow = server.stream("a", receive_buffer=4096).opened()
    texts = [f"{n} {'x' * 100_000}" for n in range(20)]
    server.publish("a", *texts)
    until(lambda: status(tmp_path)["behind"] == 1)
    for _ in range(3):
        before = the_hub(tmp_path)
        replace(tmp_path)
        the_hub(tmp_path, but=before)
        until(lambda: status(tmp_path).get("streams") == 1)
    assert slow.read_data(20) == texts
    assert slow.gaps == []


def test_if_a_hub_is_killed_while_it_is_replaced_all_browsers_resume(
    server: Server, successor: Make, tmp_path: Path
) -> None:
    with talk(server, store(tmp_path), STREAMS, returns=True) as crowd:
        one = successor()
        one.ask()
        one.read_until("places")
        before = list(crowd.readers.values())
        kill_hubs(tmp_path)
        one.close()
        one.fds.clear()
        # Some may come while there is no hub, and be sent away once more.
        until(lambda: all(reader.ended for reader in before))
        until(lambda: crowd.here == STREAMS)


def test_a_frame_is_sent_once_however_many_readers_are_behind_it() -> None:
    frames = [os.urandom(3_000_000), "é\n".encode() * 1000]
    rests: list[bytes | memoryview] = [memoryview(frames[0])[n:] for n in range(1, 300)]
    rests += [memoryview(frames[1])[5:], b"", b"push:open \xff"]
    pair = socket.socketpair()
    ours, theirs = map(Messages, pair)
    places = []
    for n, rest in enumerate(rests):
        stream = Stream((f"c{n}",), "c")
        place = ReaderState(stream, True, "epoch", n, rest, 4, None, 9, 1, 2)
        places.append((place, os.dup(pair[0].fileno())))
    things = Handover({}, HubState(LogState(), places, []), [], [])
    _, shared = _frames(places)
    assert sum(len(d) for p in _parts(shared) for _, d in p) == 3_003_000
    sent: list[int] = []
    thread = threading.Thread(target=lambda: sent.append(give(ours, things)))
    thread.start()
    taken = take(theirs, forced=True)
    thread.join()
    assert sent == [True]
    found = [place.rest for place, _ in taken.state.readers]
    assert list(map(bytes, found)) == list(map(bytes, rests))
    views = [rest for rest in found if isinstance(rest, memoryview)]
    assert len(views) == 300 and len({id(view.obj) for view in views}) == 2
    for _, fd in [*places, *taken.state.readers]:
        os.close(fd)
    ours.close()


def test_streams_that_show_much_are_sent_in_several_messages() -> None:
    present = tuple((f"c{n}", f'"{"x" * 1022}"') for n in range(1000))
    stream = Stream(("a",), "c", user="ann", presence=StreamPresence(present))
    places = [
        (ReaderState(stream, True, "epoch", n, b"", 4, None, 9), n) for n in range(100)
    ]
    batches = list(_batches(places, {}))
    assert [fd for _, fds in batches for fd in fds] == list(range(100))
    assert max(len(json.dumps(states)) for states, _ in batches) < MOST_BYTES / 10


def hand_over(line: Line | None = None) -> Tracer:
    """Give a stream to another process, which may fail at a line."""
    browser, stream = socket.socketpair()
    browser.setblocking(False)
    ours, theirs = map(Messages, socket.socketpair())
    rest = memoryview(bytes(100))[1:]
    place = ReaderState(Stream(("a",), "c"), True, "epoch", 1, rest, 4, None, 9)
    things = Handover({}, HubState(LogState(), [(place, stream.fileno())], []), [], [])
    pid = os.fork()
    if not pid:
        ours.close()
        with contextlib.suppress(OSError):
            take(theirs, forced=True)
        os._exit(0)
    theirs.close()
    given: bool | None = None
    with Tracer(line, below=("_hub.takeover", "give")) as tracer:
        with contextlib.suppress(OSError):
            given = give(ours, things)
    ours.close()
    os.waitpid(pid, 0)
    if given is None:
        # It is not known, and so the stream has ended.
        assert browser.recv(100) == b""
        stream.detach()
    else:
        # It is the other's, or it goes on here.
        assert given is not tracer.raised
        with pytest.raises(BlockingIOError):
            browser.recv(100)
        stream.close()
    browser.close()
    return tracer


def test_whatever_fails_while_a_hub_is_handed_over_has_one_of_two_ends() -> None:
    lines = hand_over().lines
    assert len(lines) > 30
    for line in lines:
        hand_over(line)


def begin_hub(files: HubFiles, line: Line) -> int:
    """Begin a hub that fails at a line, once, when it is replaced. Return its process."""
    lock = files.try_lock()
    assert lock is not None
    with files.listen() as listener:
        pid = os.fork()
        if not pid:
            with contextlib.suppress(BaseException):
                with Tracer(line, below=("_hub.process", "_be_replaced")):
                    HubProcess(files, listener, lock, stays=True).run()
            os._exit(1)
    os.close(lock)
    return pid


def goes_on_or_ends(files: HubFiles, hello: dict[str, t.Any]) -> bool:
    """Replace a hub that has a stream. Whether the stream is not left in the dark."""
    browser, stream = socket.socketpair()
    worker, successor = (Messages(files.connect()) for _ in range(2))
    with browser, worker.sock, successor.sock:
        worker.sock.settimeout(20)
        assert "welcome" in worker.ask({"hello": hello})
        with stream:
            worker.send({"adopt": stream_to_json(Stream(("a",), "c"))}, [stream.fileno()])
        browser.settimeout(20)
        while b"push:open" not in browser.recv(1000):
            pass
        try:
            given = take(successor, forced=True)
        except OSError:
            # Either it has ended, or there is another heartbeat.
            browser.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while browser.recv(1000):
                    pass
                return True
            browser.settimeout(10)
            with contextlib.suppress(TimeoutError):
                browser.recv(1000)
                return True
            return False
        for _, fd in given.state.readers:
            os.close(fd)
        for fd in given.fds:
            os.close(fd)
        for messages, _ in given.peers:
            messages.close()
    return True


def test_whatever_fails_in_a_hub_that_is_replaced_each_stream_goes_on_or_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Either side waits so long for the other.
    monkeypatch.setattr(takeover, "_STEP_SECONDS", 1)
    (directory := tmp_path / "run").mkdir(0o700)
    files = HubFiles.of(directory)
    hello = {
        **{"url": f"sqlite://{tmp_path}/push.db", "retention": None, "timeout": 2},
        **{"options": {**asdict(Options()), "heartbeat": 0.2}, "linger": 5},
    }
    lines = {n for _, _, n in HubProcess._replace.__code__.co_lines() if n}
    _, *others, _ = sorted(lines)
    assert len(others) > 15
    for number in others:
        pid = begin_hub(files, ("_hub.process", number))
        try:
            assert goes_on_or_ends(files, hello), number
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
