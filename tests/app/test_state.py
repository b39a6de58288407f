"""What an app has in one process: with several apps, and after a fork."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import typing as t
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


def test_a_thread_without_an_app_context_can_publish(push: Push, app: Flask) -> None:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(push.publish("a", "x")))
    thread.start()
    thread.join()
    assert len(found) == 1


def test_the_app_context_selects_one_of_several_apps(push: Push) -> None:
    one, two = make_app(push, "one"), make_app(push, "two")
    with one.app_context():
        push.publish("a", "1")
    with two.app_context():
        push.publish("a", "2")
        assert [event.data for event in push.history("a", 9).events] == ["2"]
    with pytest.raises(RuntimeError, match="2 apps.*app_context"):
        push.publish("a", "3")


def test_an_app_that_is_no_longer_referenced_does_not_count(push: Push) -> None:
    """As when each test makes an app of its own: an older one is in a circle of references,
    and Python has not collected it yet."""
    for name in "one", "two", "three":
        app = make_app(push, name)
        with app.test_client().get("/stream") as response:
            push.publish("a", name)
            assert [event.data for event in read_events(response, 1)] == [name]
        del app, response
    assert repr(push) == "<Push ['three']>"


def test_two_apps_without_an_app_context_are_an_error(push: Push) -> None:
    apps = [make_app(push, name) for name in ("one", "two")]
    with pytest.raises(RuntimeError, match="2 apps"):
        push.publish("a", "1")
    del apps[0]
    push.publish("a", "1")
    with apps[0].app_context():
        assert [event.data for event in push.history("a", 9).events] == ["1"]


def test_an_app_that_is_not_registered_raises_an_error_with_the_remedy(
    push: Push, app: Flask
) -> None:
    with pytest.raises(RuntimeError, match="init_app"):
        Push().publish("a", "x")
    other = Flask("other")
    with other.app_context(), pytest.raises(RuntimeError, match="'other'.*init_app"):
        push.publish("a", "x")


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
def test_a_memory_broker_has_its_hub_in_the_same_process(push: Push, hub: str) -> None:
    """A hub elsewhere would open a memory of its own, in which nothing happens."""
    app = make_app(push, PUSH_HUB=hub)
    with app.test_client().get("/stream") as response:
        push.publish("a", "x")
        (event,) = read_events(response, 1)
    assert event.data == "x"
    assert not hasattr(hub_of(push), "all_files")


def test_an_invalid_configuration_is_refused_by_init_app(push: Push) -> None:
    with pytest.raises(ValueError, match="PUSH_HEARTBEAT = 0"):
        make_app(push, PUSH_HEARTBEAT=0)
    with pytest.raises(ValueError, match="PUSH_HARTBEAT.*Did you mean PUSH_HEARTBEAT"):
        make_app(push, PUSH_HARTBEAT=5)


def test_push_is_in_app_extensions(push: Push, app: Flask) -> None:
    assert app.extensions["push"] is push
    assert repr(push) == "<Push ['app']>"
    with app.app_context():
        assert repr(Push(app)) == "<Push ['app']>"


def test_a_publisher_can_open_the_default_store(tmp_path: Path) -> None:
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
    push._services().close()


def test_testing_may_be_set_until_the_first_use(push: Push) -> None:
    app = make_app(push)
    app.testing = False
    app.testing = True
    assert push.broker_url == "memory:"


def test_a_hello_names_the_bounds_of_items_apart_from_those_of_events(
    push: Push, tmp_path: Path
) -> None:
    """Older hubs take three values as the retention, and no more."""
    app = Flask("app", instance_path=str(tmp_path))
    app.config |= {"PUSH_RETENTION": 60, "PUSH_KEEP": 5, "PUSH_STORE_BYTES": 2**20}
    app.config |= {"PUSH_MAX_ITEMS": 7, "PUSH_ITEMS_BYTES": 2000}
    push.init_app(app)
    values = hub_of(push).hello.to_json()["hello"]
    assert values["retention"] == (60, 5, 2**20)
    assert values["items"] == (7, 2000)
    push._services().close()


@pytest.mark.parametrize(
    ("testing", "config", "grace"),
    [
        (True, {}, 0),
        (True, {"PUSH_PRESENCE_GRACE": 3}, 3),
        (False, {"PUSH_BROKER_URL": "memory:"}, 10),
    ],
)
def test_while_testing_there_is_no_grace_unless_it_is_set(
    push: Push, testing: bool, config: dict[str, t.Any], grace: float
) -> None:
    app = make_app(push, **config)
    app.testing = testing
    with app.app_context():
        assert push._services().config.options.grace == grace
        push._services().close()
