"""Which streams a hub ends and which it sends back, when users are disconnected."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import json
import typing as t

import pytest
from support import hubs
from support.disconnects import is_ended
from support.disconnects import is_sent_back
from support.disconnects import Plain
from support.disconnects import reasons
from support.disconnects import run as run
from support.disconnects import run_with
from support.disconnects import Scene
from support.each_store import url as url
from support.hubs import Run
from support.sockets import noise

from flask_push import Position
from flask_push._delivery.stream import LISTENER
from flask_push.brokers import KeepsOwnLogs
from flask_push.testing._sink import until

first = hubs.first


# Streams that have begun.


def test_each_stream_that_matches_ends_with_the_reason_and_no_other_does(run: Run) -> None:
    async def test(scene: Scene) -> None:
        ann = [await scene.user("ann", visible=visible) for visible in (True, False)]
        others = [await scene.user(name) for name in ("bob", None)]
        scene.say("a", "before")
        scene.disconnect("ann", reason="logged out – é")
        scene.say("a", "after")
        for reader in ann:
            await is_ended(reader)
            assert reasons(reader) == ["logged out – é"]
            assert reader.data in ([], ["before"]), "and nothing that came later"
            assert b"retry: " in reader.body.rpartition(b"push:disconnect")[2]
            (event,) = [e for e in reader.events if e.type == "push:disconnect"]
            assert not event.id or event.id == reader.last_id
        for reader in others:
            await reader.receives("before", "after")
        assert scene.disconnects() == (2, 0)
        status = scene.hub.status()
        assert (status["with_user"], status["without_user"]) == (1, 1)

    run(test)


def test_what_the_app_itself_listens_to_is_not_disconnected(run: Run) -> None:
    async def test(scene: Scene) -> None:
        listener = await scene.open("a", session=LISTENER)
        browser = await scene.user("ann", "a")
        scene.disconnect(None, None, "a")
        await is_ended(browser)
        late = await scene.open("a", session=LISTENER)
        scene.replace_hub()
        scene.disconnect(None, None, "a")
        last = await scene.open("a", session=LISTENER, seen="unknown")
        scene.say("a", "x")
        for reader in listener, late, last:
            await reader.receives("x")
        assert scene.disconnects() == (0, 0)

    run(test)


def test_a_session_and_a_channel_select_streams_too(run: Run) -> None:
    async def test(scene: Scene) -> None:
        one = await scene.user("ann", "a", session="s1")
        two = await scene.user("ann", "a", "b", session="s2")
        none = await scene.user("ann", "b")
        scene.disconnect("ann", None, "b")
        for reader in two, none:
            await is_ended(reader)
        scene.disconnect(None, "s2")
        scene.say("a", "1")
        await one.receives("1")
        scene.disconnect(None, "s1")
        await is_ended(one)

    run(test)


def test_a_stream_whose_session_is_not_known_ends_with_each_session(run: Run) -> None:
    async def test(scene: Scene) -> None:
        older = await scene.user("ann", session=None)
        scene.disconnect(None, "s1")
        await is_ended(older)
        assert reasons(older) == [""]

    run(test)


def test_a_stream_in_the_middle_of_a_frame_is_closed_without_a_word(run: Run) -> None:
    async def test(scene: Scene) -> None:
        slow = await scene.user("ann")
        scene.say("a", noise(1_000_000))
        await until(lambda: "1 behind" in repr(scene.hub))
        scene.disconnect("ann", reason="why")
        await until(lambda: not scene.connections)
        body = len(slow.body)
        await is_ended(slow)
        assert not reasons(slow) and not slow.data and len(slow.body) > body
        assert b"push:disconnect" not in slow.body

    run(test)


def test_a_poll_that_waits_in_a_replay_ends_too(run: Run) -> None:
    async def test(scene: Scene) -> None:
        await scene.known()
        (start,) = scene.say("a", "first")
        for _ in range(4):
            scene.say("a", noise(400_000))
        how: dict[str, t.Any] = {
            "position": start,
            "user": "ann",
            "session": "",
            "seen": scene.seen,
        }
        behind = scene.adopt("a", poll=True, **how)
        await until(lambda: "1 behind" in repr(scene.hub) and scene.connections[0].begun)
        scene.disconnect("ann")
        scene.say("a", "last")
        await is_ended(behind)
        assert "last" not in behind.data and scene.disconnects()[0] == 1

    run(test)


def test_browsers_that_are_disconnected_together_reconnect_over_time(run: Run) -> None:
    async def test(scene: Scene) -> None:
        readers = [await scene.user("ann", visible=True) for _ in range(20)]
        scene.disconnect(None, None, "a")
        for reader in readers:
            await is_ended(reader)
        retries = [
            json.loads(e.data)["milliseconds"]
            for reader in readers
            for e in reader.events[-1:]
            if e.type == "push:retry"
        ]
        assert len(retries) == 20 and max(retries) > 3000 > 500 <= min(retries)

    run(test, return_rate=1)


# Streams that begin.


def test_a_stream_whose_view_is_late_is_sent_back(run: Run) -> None:
    async def test(scene: Scene) -> None:
        await scene.known()
        before = scene.seen
        number = scene.disconnect("ann").number
        await until(lambda: scene.noted[-1].number >= number)
        (start,) = scene.say("a", "1")
        for how in {}, {"position": start}, {"last": 1}, {"poll": True}, {"visible": True}:
            late = scene.adopt("a", user="ann", session="", seen=before, **how)
            await is_ended(late)
            assert is_sent_back(late)
            assert b"push:open" not in late.body, how
        # Others are not, and neither is who has logged in again.
        for name, seen in ("bob", before), ("ann", scene.seen):
            await scene.user(name, seen=seen)
        assert scene.disconnects() == (0, 5)

    run(test)


def test_a_user_who_is_disconnected_while_a_page_is_read_does_not_begin(run: Run) -> None:
    async def test(scene: Scene) -> None:
        await scene.known()
        (start,) = scene.say("a", "1")
        asked: list[cabc.Callable[[], None]] = []
        read = scene.hub._feed.read

        def hold(*args: t.Any, **more: t.Any) -> None:
            asked.append(lambda: read(*args, **more))

        scene.hub._feed.read = hold  # type: ignore[method-assign]
        late = scene.adopt("a", user="ann", session="", seen=scene.seen, position=start)
        await until(lambda: asked)
        number = scene.disconnect("ann").number
        scene.say("a", "2")
        await until(lambda: scene.noted[-1].number >= number)
        asked[0]()
        await is_ended(late)
        assert is_sent_back(late) and not late.data

    run(test)


@pytest.mark.parametrize("seen", ["unknown", "aaaaa-1", "{epoch}-1"])
def test_a_stream_whose_request_is_from_before_the_list_is_sent_back(
    seen: str, run: Run
) -> None:
    async def test(scene: Scene) -> None:
        t.cast(KeepsOwnLogs, scene.broker).append("disconnect", b'{"user": "x"}', 0.01)
        await asyncio.sleep(0.05)
        # Storing the next one removes what has expired.
        scene.disconnect("y")
        scene.hub.stop()
        scene.hub = scene.make_hub()
        await scene.known()
        epoch = scene.noted[-1].epoch
        late = scene.adopt("a", session="", seen=seen.format(epoch=epoch))
        await is_ended(late)
        assert is_sent_back(late)
        assert await scene.user(None)

    run(test)


def test_a_stream_of_an_older_version_begins_if_no_disconnect_names_it(run: Run) -> None:
    async def test(scene: Scene) -> None:
        await scene.known()
        number = scene.disconnect("ann").number
        await until(lambda: scene.noted[-1].number >= number)
        older: dict[str, t.Any] = {"session": None, "seen": ""}
        assert await scene.user("bob", **older)
        named = scene.adopt("a", user="ann", **older)
        await is_ended(named)
        assert is_sent_back(named)

    run(test)


def test_a_session_that_was_disconnected_stays_so(run: Run) -> None:
    async def test(scene: Scene) -> None:
        await scene.known()
        scene.disconnect("ann", "s1", "a", reason="only this channel")
        number = scene.disconnect(None, "s2", reason="logged out").number
        await until(lambda: scene.noted[-1].number >= number)
        await scene.user("ann", session="s1")
        again = scene.adopt("a", user="ann", session="s2", seen=scene.seen)
        await is_ended(again)
        assert reasons(again) == ["logged out"]

    run(test)


def test_a_process_may_be_ahead_of_its_hub(run: Run) -> None:
    async def test(scene: Scene) -> None:
        await scene.known()
        # It has seen its own disconnect, and a login after it.
        own = scene.disconnect("ann")
        reader = scene.adopt("a", user="ann", session="", seen=str(own))
        assert not scene.hub.disconnects.position.number >= own.number
        assert (
            "1 streams ahead" in repr(scene.hub.disconnects)
            or not scene.connections[0].begun
        )
        await reader.until(lambda: reader.events)
        scene.say("a", "1")
        await reader.receives("1")
        scene.hub._timer.tick()
        assert "0 streams ahead" in repr(scene.hub.disconnects)
        scene.disconnect("ann")
        await is_ended(reader)

    run(test)


def test_a_session_stays_disconnected_if_a_process_is_ahead_of_its_hub(run: Run) -> None:
    async def test(scene: Scene) -> None:
        await scene.known()
        # The view has not noticed that the session is over, as with a copied cookie.
        own = scene.disconnect(session="s", reason="why")
        named = scene.adopt("a", session="s", seen=str(own))
        other = scene.adopt("a", session="t", seen=str(own))
        await is_ended(named)
        assert reasons(named) == ["why"]
        scene.say("a", "1")
        await other.receives("1")

    run(test)


# The position.


def test_the_position_is_noted_before_any_stream_begins_or_ends(run: Run) -> None:
    async def test(scene: Scene) -> None:
        scene.hub.stop()
        scene.hub = scene.make_hub()
        order: list[str] = []
        note, end = scene.note, scene.hub._streams.end
        find = scene.hub._readers.begin

        def noted(position: Position) -> None:
            order.append("note")
            note(position)

        def ended(*args: t.Any) -> None:
            order.append("end")
            end(*args)

        def begun(*args: t.Any) -> bool:
            order.append("begin")
            return find(*args)

        scene.hub.disconnects._note = noted
        scene.hub._streams.end = ended  # type: ignore[method-assign, assignment]
        scene.hub._readers.begin = begun  # type: ignore[method-assign, assignment]
        older: dict[str, t.Any] = {"session": None, "seen": ""}
        await scene.open("a", user="ann", **older)
        number = scene.disconnect("ann").number
        await until(lambda: "end" in order)
        assert scene.noted[-1].number >= number
        assert order == ["note", "begin", "note", "end"]

    run(test)


def test_the_position_follows_the_events(run: Run) -> None:
    async def test(scene: Scene) -> None:
        reader = await scene.user("ann")
        (id,) = scene.say("a", "1")
        await reader.receives("1")
        scene.hub._timer.tick()
        assert scene.noted[-1] >= Position.parse(id)
        count = len(scene.noted)
        scene.hub._timer.tick()
        assert len(scene.noted) == count, "it has not changed"

    run(test)


def test_a_position_that_can_not_be_written_harms_no_stream(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(scene: Scene) -> None:
        reader = await scene.user("ann")
        scene.broken = True
        for n in "12":
            scene.say("a", n)
            await reader.until(lambda n=n: n in reader.data)  # type: ignore[misc]
            scene.hub._timer.tick()
        text = "Could not write the hub's position"
        assert caplog.text.count(text) == 1 and "the disk is full" in caplog.text
        scene.broken = False
        scene.hub._timer.tick()
        assert scene.noted[-1] == scene.hub.disconnects.position
        assert not scene.hub.failures

    run(test)


def test_a_store_that_keeps_no_disconnects_refuses_no_stream() -> None:
    async def test(scene: Scene) -> None:
        assert await scene.open("a", user="ann", session="", seen="unknown")
        assert not scene.hub.disconnects.on and not scene.noted

    run_with(test, Plain())
