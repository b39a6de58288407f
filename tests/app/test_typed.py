"""Calls that have to pass mypy, as users write them, and calls that must not.

They run, too: what is typed is true.
"""

from __future__ import annotations

import json
import typing as t
from pathlib import Path
from uuid import UUID

import pytest
from flask import Response
from support.pushes import push as push

from flask_push import Event
from flask_push import Held
from flask_push import History
from flask_push import Items
from flask_push import Later
from flask_push import Listener
from flask_push import Member
from flask_push import Presence
from flask_push import Publisher
from flask_push import Push
from flask_push import Run
from flask_push import RunBusy
from flask_push import RunOver
from flask_push._push_later import PushHeld
from flask_push._push_later import PushLater
from flask_push._response import StreamResponse
from flask_push.testing import read_events


class User(t.NamedTuple):
    id: int
    uuid: UUID
    name: str


def test_the_types_of_user_are_accepted(push: Push) -> None:
    (app,) = push._states
    user = User(7, UUID(int=7), "ann")
    with app.test_request_context():
        for response in (
            push.stream("a", user=user.id),
            push.stream("a", user=user.uuid),
            push.stream("a", user=user.name, last=1, lifetime=60, replay=False),
            push.stream(*push.requested(), "a", user=None, lifetime=None),
        ):
            t.assert_type(response, StreamResponse)
            answer: Response = response
            t.assert_type(response.connection, str)
            assert answer.status_code == 200 and response.connection
        with pytest.raises(TypeError):
            push.stream("a", user=user)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            push.stream(["a"])  # type: ignore[arg-type]


def test_published_data_may_be_anything_that_can_be_json(push: Push) -> None:
    events = [
        Event("a", "text"),
        Event("a", {"n": [1, None, True]}),
        Event("a", 5, type="said", key="k"),
        Event("a", None, store=False, exclude=None),
    ]
    t.assert_type(push.publish_many(events), str)
    t.assert_type(push.publish_many(event for event in events), str)
    t.assert_type(push.publish("a", {"n": 1}, key=None, exclude=None), str)
    with pytest.raises(TypeError):
        push.publish_many([("a", "b")])  # type: ignore[list-item]
    with pytest.raises(ValueError):
        push.publish(5, "a")  # type: ignore[arg-type]


def test_data_in_a_history_is_text(push: Push) -> None:
    push.publish("a", {"n": 1})
    history = push.history("a", last=1)
    t.assert_type(history, History)
    for event in history.events:
        t.assert_type(event, Event)
        assert type(event.data) is str
        assert json.loads(event.data) == {"n": 1} and event.data.startswith("{")


def test_dumps_may_be_typed_as_returning_bytes(tmp_path: Path) -> None:
    def dumps(data: object) -> bytes:
        return json.dumps(data).encode()

    url = f"sqlite://{tmp_path}/push.db"
    for publisher in Publisher(url), Publisher(url, dumps=dumps), Publisher(url, timeout=1):
        publisher.publish("a", {"n": 1})
        t.assert_type(publisher.position(), str)
        publisher.close()


def test_the_response_of_a_test_client_can_be_read(push: Push) -> None:
    (app,) = push._states
    app.add_url_rule("/stream", view_func=lambda: push.stream("a"))
    with app.test_client().get("/stream") as response:
        push.publish("a", "1")
        events = read_events(response, 1, timeout=20, own=False)
        t.assert_type(events, list[Event])


def test_items_are_named_and_typed_as_a_user_writes_them(push: Push) -> None:
    user = User(7, UUID(int=7), "ann")
    t.assert_type(push.set("typing", user.id, True, ttl=5), str)
    t.assert_type(push.set("typing", user.uuid, {"n": [1]}, version=1, type="t"), str)
    t.assert_type(push.set("typing", user.name, None, ttl=0.5, version=None), str)
    items = push.items("typing")
    t.assert_type(items, Items)
    t.assert_type(items.events, dict[str, Event])
    t.assert_type(items.position, str)
    assert [*items.events] == ["7", str(user.uuid), "ann"]
    t.assert_type(push.unset("typing", user.id, user.uuid, version=2), str)
    t.assert_type(push.unset("typing", *items.events), str)
    with pytest.raises(TypeError):
        push.set("typing", None, True)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        push.unset("typing", ["ann"])  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        push.set("typing", "ann", True, ttl="5")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        push.set("typing", "ann", True, key="k")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        push.set("typing", "ann", True, version=UUID(int=1))  # type: ignore[arg-type]


def test_a_task_sets_all_that_it_has_measured(push: Push) -> None:
    def sample() -> dict[str, float]:
        return {"cpu": 0.5, "disk": 0.25}

    measured = (Event("metrics", value, item=name) for name, value in sample().items())
    t.assert_type(push.publish_many(measured), str)
    found = {name: event.json for name, event in push.items("metrics").events.items()}
    assert found == sample()


def test_a_switch_in_a_row_has_the_version_of_the_row(push: Push) -> None:
    class Flag:
        on, version = False, 0

    flag, versions = Flag(), []
    for on in True, False:
        flag.on, flag.version = on, flag.version + 1
        versions.append((flag.on, flag.version))
    for on, version in reversed(versions):
        push.set("flags", "beta", on, version=version)
    event = push.items("flags").events["beta"]
    assert (event.json, event.version, event.channel, event.item) == (
        *(False, 2),
        *("flags", "beta"),
    )


def test_runs_are_made_and_written_as_a_user_writes_it(push: Push) -> None:
    user = User(7, UUID(int=7), "ann")
    t.assert_type(push.run("a", key=user.id), Run)
    t.assert_type(push.running("a"), Run | None)
    t.assert_type(push.stop("a", key=user.id), bool)
    about = {"name": user.name}
    run = push.run("a", key=user.uuid, listed="l", info=about, wait=60)
    with run as entered:
        t.assert_type(entered, Run)
        run.write({"n": 1}, type="said")
        t.assert_type(run.write_all(["x", "y"]), list[str])
        t.assert_type(run.write_all({"n": n} for n in range(2)), list[dict[str, int]])
        run.progress(1)
        run.progress(0.5, 2, "reading")
        run.check()
    names = (run.id, run.channel, run.key)
    t.assert_type(names, tuple[str, str, str])
    t.assert_type(run.over, bool)
    t.assert_type(run.attempt, int)
    assert run.status in ("queued", "done") and run.over
    with pytest.raises(AttributeError):
        run.status = "done"  # type: ignore[misc]
    with pytest.raises(ValueError):
        push.run("a", key=None, listed=7)  # type: ignore[arg-type]
    with pytest.raises(RunOver) as over, run:
        pass
    t.assert_type(over.value.run, Run)
    push.run("a")
    with pytest.raises(RunBusy) as busy:
        push.run("a")
    t.assert_type(busy.value.run, Run)


def test_presence_is_granted_and_read_as_a_user_writes_it(push: Push) -> None:
    (app,) = push._states
    user, rooms = User(7, UUID(int=7), "ann"), ("room:1", "room:2")
    with app.test_request_context():
        for presence in (
            push.stream("a", user=user.id, present={r: {"n": user.name} for r in rooms}),
            push.stream("a", user=user.uuid, present=None, watch=rooms, counted=["a"]),
            push.stream("a", present={}, watch={room for room in rooms}, counted=()),
        ):
            t.assert_type(presence, StreamResponse)
        with pytest.raises(TypeError):
            push.stream("a", user=7, present="room:1")  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            # Text is an iterable of text, so no checker finds this.
            push.stream("a", watch="room:1")
        with pytest.raises(TypeError):
            push.stream("a", watch=[7])  # type: ignore[list-item]
    found = push.presence("room:1")
    t.assert_type(found, Presence)
    t.assert_type(found.members, dict[str, Member])
    t.assert_type(found.count, int)
    t.assert_type(found.position, str)
    for member in found.members.values():
        t.assert_type(member.user, str)
    assert (found.members, found.count) == ({}, 0)
    with push.listen("a", watch=["room:1"], timeout=0.01) as listener:
        t.assert_type(listener, Listener)


def test_what_is_sent_after_a_commit_is_typed(push: Push) -> None:
    from sqlalchemy.orm import Session

    user, session = User(7, UUID(int=7), "ann"), Session()
    later = push.after(session)
    t.assert_type(later, PushLater)
    gathered: Later = later
    gathered.publish("a", {"n": 1}, type="said", key=None, exclude=None, store=True)
    later.publish_many(Event("a", n) for n in range(2))
    later.set("flags", user.uuid, True, version=1, ttl=5, type="t")
    later.unset("flags", user.id, "other", version=2)
    later.disconnect(user=user.id, session="login", channel="a", reason="removed")
    # There is no id yet.
    assert later.publish("a", "1") is None  # type: ignore[func-returns-value]
    with pytest.raises(TypeError):
        later.disconnect(user=None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        push.publish("a", "1", after=session)  # type: ignore[call-arg]
    session.commit()
    t.assert_type(push.unsent, int)
    assert len(push.history("a", 9).events) == 4
    with push.held() as held:
        t.assert_type(held, PushHeld)
        kept: Held = held
        kept.publish("a", "1")
        t.assert_type(kept.send(), str)
        kept.drop()


def test_a_function_for_errors_after_a_commit_is_typed() -> None:
    def failed(error: Exception, later: Held) -> None:
        later.send()

    publisher = Publisher("memory:", after_commit_error=failed)
    t.assert_type(publisher.held(), Held)
    with pytest.raises(TypeError):
        Publisher("memory:", after_commit_error="log")  # type: ignore[arg-type]
