"""A hub in a thread: in each process its own, and gone with it."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import pytest
from support.hub_threads import broker as broker
from support.hub_threads import connect
from support.hub_threads import hub as hub
from support.servers import until
from support.sockets import read_until

from flask_push import Event
from flask_push._delivery.disconnect import Disconnect
from flask_push._delivery.options import Options
from flask_push._delivery.stream import Stream
from flask_push._hub import thread as hub_thread
from flask_push._hub.thread import ThreadDoor
from flask_push._ipc.client import Client
from flask_push.brokers.memory import MemoryBroker
from flask_push.brokers.sqlite import SqliteBroker


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def test_a_hub_starts_with_its_first_stream(hub: ThreadDoor, broker: MemoryBroker) -> None:
    assert repr(hub) == "<ThreadDoor not running>"
    assert "flask-push" not in threads()
    browsers = [connect(hub) for _ in range(3)]
    assert threads().count("flask-push") == 1
    broker.publish([Event("a", "x")])
    for browser in browsers:
        read_until(browser, b"data: x\n\n")
        browser.close()


def test_a_process_knows_the_position_of_its_own_hub(
    hub: ThreadDoor, broker: MemoryBroker
) -> None:
    assert hub.known is None
    with connect(hub) as browser:
        position = broker.append("disconnect", Disconnect(channel="a").to_bytes(), 3600)
        read_until(browser, b"push:disconnect")
        assert hub.known is not None and hub.known >= position
    hub.stop()
    assert hub.known is None


def test_a_probe_waits_for_the_hub_and_starts_none(hub: ThreadDoor) -> None:
    later = time.monotonic() + 20
    assert hub.answers(later) is None and "flask-push" not in threads()
    with connect(hub):
        assert hub.answers(later) == ""
        ended = threading.Event()
        assert hub._hub is not None
        hub._hub.loop.call_soon_threadsafe(ended.wait, 20)
        try:
            with pytest.raises(TimeoutError, match="does not answer"):
                hub.answers(time.monotonic() + 0.1)
        finally:
            ended.set()
        assert hub.answers(later) == ""
    hub.stop()
    assert hub.answers(later) is None


def test_many_threads_start_one_hub(hub: ThreadDoor) -> None:
    browsers: list[socket.socket] = []
    starters = [
        threading.Thread(target=lambda: browsers.append(connect(hub))) for _ in range(20)
    ]
    for thread in starters:
        thread.start()
    for thread in starters:
        thread.join()
    assert threads().count("flask-push") == 1
    for browser in browsers:
        browser.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """To stop a hub takes as long as the machine needs."""
    monkeypatch.setattr(hub_thread, "STOP_SECONDS", 20)


def test_stopping_ends_the_streams_and_is_final(hub: ThreadDoor, patient: None) -> None:
    browser = connect(hub)
    hub.stop()
    assert "flask-push" not in threads()
    assert b"retry: " in read_until(browser, b"\n")
    assert browser.recv(100) == b""
    browser.close()
    browser, theirs = socket.socketpair()
    with browser, theirs, pytest.raises(RuntimeError, match="ending"):
        hub.adopt(Stream(("a",), "x"), Client(theirs.fileno()))
    hub.stop()


def test_a_hub_without_a_thread_leaves_nothing_open(
    hub: ThreadDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: threading.Thread) -> t.NoReturn:
        raise RuntimeError("can't start new thread")

    before = os.listdir("/proc/self/fd")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError, match="new thread"):
            hub.adopt(Stream(("a",), "x"), Client(99))
    assert os.listdir("/proc/self/fd") == before
    hub.stop()


def test_a_hub_may_be_stopped_by_its_own_thread(
    hub: ThreadDoor, caplog: pytest.LogCaptureFixture
) -> None:
    """As when an app is collected there."""
    browser = connect(hub)
    assert hub._hub is not None
    hub._hub.loop.call_soon_threadsafe(hub.stop)
    read_until(browser, b"retry: ")
    until(lambda: "flask-push" not in threads())
    assert not caplog.records
    browser.close()


def test_a_store_that_is_locked_does_not_delay_the_last_word(
    tmp_path: Path, patient: None
) -> None:
    hub = ThreadDoor(lambda: SqliteBroker(tmp_path / "push.db", timeout=1000), Options())
    browser = connect(hub)
    with open(tmp_path / "push.db.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        hub.stop()
        assert "flask-push" not in threads()
    assert b"retry: " in read_until(browser, b"\n")
    assert browser.recv(100) == b""
    browser.close()


def test_a_hub_that_failed_is_replaced(
    hub: ThreadDoor, caplog: pytest.LogCaptureFixture
) -> None:
    browser = connect(hub)
    assert hub._hub is not None

    def fail() -> None:
        raise SystemExit

    hub._hub.loop.call_soon_threadsafe(fail)
    read_until(browser, b"retry: ")
    until(lambda: "flask-push" not in threads())
    assert "The hub failed" in caplog.text
    again = connect(hub)
    again.close()
    browser.close()


@pytest.mark.parametrize("loop_ends", [SystemExit, None], ids=["it fails", "it stops"])
def test_a_browser_that_arrives_while_the_hub_ends_is_closed(
    hub: ThreadDoor, loop_ends: type[BaseException] | None
) -> None:
    connect(hub).close()
    assert hub._hub is not None
    loop = hub._hub.loop
    busy, go_on = threading.Event(), threading.Event()

    def end() -> None:
        busy.set()
        go_on.wait(20)
        if loop_ends is not None:
            raise loop_ends
        loop.stop()

    loop.call_soon_threadsafe(end)
    busy.wait(20)
    late, theirs = socket.socketpair()
    drained, drain = socket.socketpair()
    late.settimeout(20)
    drained.settimeout(20)
    hub.adopt(Stream(("a",), "x"), Client(theirs.detach(), drain.detach()))
    go_on.set()
    assert b"retry: " in read_until(late, b"\n")
    assert late.recv(100) == b"" == drained.recv(100)
    late.close()
    drained.close()
    until(lambda: "flask-push" not in threads())


def test_a_child_of_a_fork_has_none_of_the_streams(hub: ThreadDoor) -> None:
    browser = connect(hub)
    ready, go = os.pipe()
    child = os.fork()
    if child == 0:
        # It lives on, with whatever it has inherited, until its parent is done.
        os.close(go)
        os.read(ready, 1)
        os._exit(0)
    hub.stop()
    read_until(browser, b"retry: ")
    assert browser.recv(100) == b"", "the stream is not held open by the child"
    browser.close()
    os.close(go)
    os.close(ready)
    assert os.waitpid(child, 0)[1] == 0


# As uWSGI forks, of which Python learns nothing.
without_hooks: t.Callable[[], int] = ctypes.PyDLL(None).fork


@pytest.mark.parametrize("fork", [os.fork, without_hooks], ids=["hooks", "no hooks"])
def test_a_child_of_a_fork_starts_its_own(
    fork: t.Callable[[], int], hub: ThreadDoor
) -> None:
    before = connect(hub)
    # A thread that is about to run may hold what the interpreter needs to change threads.
    # Without hooks, a child that is forked at that moment never gets it.
    (thread,) = (each for each in threading.enumerate() if each.name == "flask-push")
    waits = Path(f"/proc/self/task/{thread.native_id}/wchan")
    until(lambda: "epoll" in waits.read_text())
    child = fork()
    if child == 0:
        signal.alarm(20)
        try:
            if fork is os.fork:
                assert repr(hub) == "<ThreadDoor not running>"
            browser = connect(hub)
            hub.stop()
            read_until(browser, b"retry: ")
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert "1 connections" in repr(hub), "the parent's goes on"
    before.close()


def test_a_process_that_exits_ends_its_streams_first() -> None:
    code = """
import socket, sys
from flask_push._hub.thread import ThreadDoor
from flask_push._delivery.options import Options
from flask_push._delivery.stream import Stream
from flask_push.brokers.memory import MemoryBroker
from flask_push._ipc.client import Client
hub = ThreadDoor(MemoryBroker, Options())
hub.adopt(Stream(("a",), "x"), Client(int(sys.argv[1])))
sys.stdin.read()
"""
    browser, theirs = socket.socketpair()
    browser.settimeout(20)
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(theirs.fileno())],
        stdin=subprocess.PIPE,
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    read_until(browser, b"push:open")
    assert process.stdin is not None
    process.stdin.close()
    assert b"retry: " in read_until(browser, b"\n")
    assert process.wait(20) == 0
    browser.close()
