"""What an app has in one process: with several apps, and after a fork."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import pytest
from flask import Flask
from support.apps import app as app
from support.apps import client as client
from support.apps import hub_of
from support.apps import make_app
from support.apps import push as push

from flask_push import Push
from flask_push.testing import read_events

# Apps.


def test_an_app_in_a_thread_and_without_a_context(push: Push, app: Flask) -> None:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(push.publish("a", "x")))
    thread.start()
    thread.join()
    assert len(found) == 1


def test_several_apps_are_told_apart_by_their_context(push: Push) -> None:
    one, two = make_app(push, "one"), make_app(push, "two")
    with one.app_context():
        push.publish("a", "1")
    with two.app_context():
        push.publish("a", "2")
        assert [event.data for event in push.history("a", 9).events] == ["2"]
    with pytest.raises(RuntimeError, match="2 apps.*app_context"):
        push.publish("a", "3")


def test_an_app_that_nothing_uses_any_more_is_not_meant(push: Push) -> None:
    """As when each test makes an app of its own: an older one is in a circle of references,
    and Python has not collected it yet."""
    for name in "one", "two", "three":
        app = make_app(push, name)
        with app.test_client().get("/stream") as response:
            push.publish("a", name)
            assert [event.data for event in read_events(response, 1)] == [name]
        del app, response
    assert repr(push) == "<Push ['three']>"


def test_two_apps_that_are_in_use_are_not_mixed_up(push: Push) -> None:
    apps = [make_app(push, name) for name in ("one", "two")]
    with pytest.raises(RuntimeError, match="2 apps"):
        push.publish("a", "1")
    del apps[0]
    push.publish("a", "1")
    with apps[0].app_context():
        assert [event.data for event in push.history("a", 9).events] == ["1"]


def test_an_app_that_is_not_registered_is_an_error_that_says_what_to_do(
    push: Push, app: Flask
) -> None:
    with pytest.raises(RuntimeError, match="init_app"):
        Push().publish("a", "x")
    other = Flask("other")
    with other.app_context(), pytest.raises(RuntimeError, match="'other'.*init_app"):
        push.publish("a", "x")


def test_forks_while_a_thread_publishes_first_harm_nobody(tmp_path: Path) -> None:
    """As with ``gunicorn --preload`` and a thread that the app has started."""
    code = f"""
import os, signal, sys, threading, time
from flask import Flask
from flask_push import Push
app = Flask("app", instance_path={str(tmp_path)!r})
push = Push(app)
threading.Thread(target=lambda: [push.publish("a", "x") for _ in range(200)]).start()
children = []
for _ in range(20):
    if (child := os.fork()) == 0:
        signal.alarm(10)
        try:
            push.publish("a", "child")
            os._exit(0)
        finally:
            os._exit(1)
    children.append(child)
    time.sleep(0.003)
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_child_of_a_fork_makes_its_own_choice() -> None:
    started = threading.Event()

    class SlowApp(Flask):
        @property
        def testing(self) -> bool:  # type: ignore[override]
            started.set()
            time.sleep(0.2)
            return True

    app = SlowApp("app", instance_path="/nonexistent")
    push = Push(app)
    thread = threading.Thread(target=push.publish, args=("a", "1"))
    thread.start()
    started.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        try:
            push.publish("a", "2")
            os._exit(0)
        finally:
            os._exit(1)
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    push.publish("a", "3")


def test_a_process_that_has_published_ends_without_a_warning(tmp_path: Path) -> None:
    code = f"""
import atexit
from flask import Flask
from flask_push import Push
push = Push()
app = Flask("app", instance_path={str(tmp_path)!r})
push.init_app(app)
push.publish("a", "x")
atexit.register(push.publish, "a", "y")
"""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_app_is_not_kept_alive(push: Push) -> None:
    app = make_app(push)
    client = app.test_client()
    with client.get("/stream") as response:
        read_events(response, 1, own=True)
    push.publish("a", "x")
    before = threading.active_count()
    ref = weakref.ref(app)
    del app, client, response
    gc.collect()
    assert ref() is None
    assert threading.active_count() < before, "and its hub has ended"
    with pytest.raises(RuntimeError, match="no app"):
        push.publish("a", "x")


@pytest.mark.parametrize("hub", ["process", "/nonexistent/hub.sock"])
def test_what_is_in_memory_is_streamed_from_there(push: Push, hub: str) -> None:
    """A hub elsewhere would open a memory of its own, in which nothing happens."""
    app = make_app(push, PUSH_HUB=hub)
    with app.test_client().get("/stream") as response:
        push.publish("a", "x")
        (event,) = read_events(response, 1)
    assert event.data == "x"
    assert not hasattr(hub_of(push), "all_files")


def test_a_configuration_that_cannot_be_is_refused_at_once(push: Push) -> None:
    with pytest.raises(ValueError, match="PUSH_HEARTBEAT = 0"):
        make_app(push, PUSH_HEARTBEAT=0)
    with pytest.raises(ValueError, match="PUSH_HARTBEAT.*Did you mean PUSH_HEARTBEAT"):
        make_app(push, PUSH_HARTBEAT=5)


def test_an_extension_is_found_where_extensions_are(push: Push, app: Flask) -> None:
    assert app.extensions["push"] is push
    assert repr(push) == "<Push ['app']>"
    with app.app_context():
        assert repr(Push(app)) == "<Push ['app']>"


def test_the_default_is_a_file_that_a_publisher_finds(tmp_path: Path) -> None:
    from flask_push import Publisher

    push = Push()
    app = Flask("shop", instance_path=str(tmp_path))
    push.init_app(app)
    assert push.broker_url == f"sqlite://{tmp_path}/push-shop/push.db"
    publisher = Publisher(push.broker_url)
    id = publisher.publish("a", {"n": 1})
    assert [event.id for event in push.history("a", 9).events] == [id]
    assert publisher.position() == push.position()
    publisher.close()
    push._parts().close()
