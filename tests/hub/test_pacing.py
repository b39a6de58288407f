"""When paced streams are written to, and when they are not."""

from __future__ import annotations

import asyncio
import typing as t

import pytest
from support.failing import Store
from support.hubs import first as first
from support.hubs import HubScene
from support.hubs import run
from support.reader import SocketReader
from support.sockets import noise

from flask_push import Event
from flask_push import Position
from flask_push._delivery.paced import PacedGroup
from flask_push._hub.hub import Hub
from flask_push._system import sockets
from flask_push.brokers import ItemChange
from flask_push.brokers.base import Retention
from flask_push.testing._sink import until

#: Longer than any test. Events that wait are written only when the test flushes them.
LONG = 60


def flush(scene: HubScene) -> None:
    scene.hub._fanout.pacing.flush()


def waiting(scene: HubScene) -> str:
    return repr(scene.hub._fanout.pacing)


def groups(scene: HubScene) -> list[PacedGroup]:
    found = scene.hub._log.groups.values()
    return [group for group in found if isinstance(group, PacedGroup)]


async def wait_for_turn(scene: HubScene, channel: str) -> None:
    """Let the hub take everything that was published, and write to all that are due."""
    other = await scene.open(channel)
    scene.say(channel, "end")
    await other.until(lambda: other.data[-1:] == ["end"])
    for _ in range(5):
        await asyncio.sleep(0)


async def open_paced(scene: HubScene, *channels: str, **how: t.Any) -> list[SocketReader]:
    """Open two paced streams, one of which is compressed, after a first write."""
    two = [await scene.open(*channels, every=LONG, **how) for _ in range(2)]
    for reader in two:
        await reader.until(lambda r=reader: r.last_id)  # type: ignore[misc]
    scene.say(channels[0], "first")
    for reader in two:
        await reader.receives("first")
    return two


def test_the_first_event_is_sent_at_once_and_others_wait_together() -> None:
    async def test(scene: HubScene) -> None:
        two = await open_paced(scene, "a", "b")
        scene.say("a", "1")
        scene.say("b", "2")
        scene.say("a", "passing", store=False)
        scene.say("a", "3")
        await wait_for_turn(scene, "a")
        for reader in two:
            reader.read()
            assert reader.data == ["first"]
        assert "0 behind" in repr(scene.hub)
        flush(scene)
        for reader in two:
            await reader.receives("first", "1", "2", "passing", "3", "end")
            numbers = [Position.parse(event.id).number for event in reader.events]
            assert numbers == sorted(numbers)

    run(test)


def test_events_that_wait_are_sent_when_the_pause_is_over() -> None:
    async def test(scene: HubScene) -> None:
        fast, *paced = [await scene.open("a", every=n / 100) for n in range(7)]
        for n in range(100):
            scene.say("a", str(n))
            await fast.until(lambda n=n: len(fast.data) == n + 1)  # type: ignore[misc]
        for reader in paced:
            await reader.until(lambda r=reader: len(r.data) == 100)  # type: ignore[misc]
            assert reader.data == fast.data
        await until(lambda: waiting(scene) == "<Pacing [0 groups wait]>")

    run(test)


def test_streams_with_other_pauses_have_groups_of_their_own() -> None:
    async def test(scene: HubScene) -> None:
        for every in (0, 1, 1, 2):
            for gzip in False, True:
                await scene.open("a", every=every, gzip=gzip)
        assert len(scene.hub._log.groups) == 6
        assert sorted(group.members for group in groups(scene)) == [1, 1, 2, 2]

    run(test)


def test_of_each_item_only_the_newest_row_is_sent() -> None:
    async def test(scene: HubScene) -> None:
        two = await open_paced(scene, "a", items=True)
        for n in range(3):
            changes = [ItemChange("a", item, f"{item} {n}") for item in "xy"]
            scene.broker.change([*changes, Event("a", f"event {n}")])
        await wait_for_turn(scene, "a")
        flush(scene)
        for reader in two:
            await reader.until(lambda r=reader: r.data[-1:] == ["end"])  # type: ignore[misc]
            events = ["event 0", "event 1", "x 2", "y 2", "event 2", "end"]
            assert reader.data[-6:] == events

    run(test)


def test_heartbeats_do_not_wait() -> None:
    async def test(scene: HubScene) -> None:
        two = await open_paced(scene, "a", visible=True)
        scene.say("a", "1")
        for reader in two:
            await reader.until(lambda r=reader: r.body.count(b"push:heartbeat") > 1)  # type: ignore[misc]
            assert reader.data == ["first"]
        flush(scene)
        for reader in two:
            await reader.receives("first", "1")

    run(test, heartbeat=0.2)


def test_a_stream_that_begins_while_others_wait_waits_with_them() -> None:
    async def test(scene: HubScene) -> None:
        two = await open_paced(scene, "a")
        (id,) = scene.say("a", "1")
        await wait_for_turn(scene, "b")
        late = [await scene.open("a", every=LONG) for _ in range(2)]
        resumed = await scene.open("a", every=LONG, position=id)
        assert "0 behind" in repr(scene.hub)
        assert scene.hub.status()["behind"] == 0
        late.pop().close()
        await until(lambda: "5 connections, 0 behind" in repr(scene.hub))
        scene.say("a", "2")
        await wait_for_turn(scene, "b")
        for reader in *late, resumed:
            reader.read()
            assert reader.data == []
        flush(scene)
        for reader in two:
            await reader.receives("first", "1", "2")
        for reader in *late, resumed:
            await reader.receives("2")
        # Now all of them are alike.
        scene.say("a", "3")
        await wait_for_turn(scene, "b")
        flush(scene)
        for reader in *late, resumed:
            await reader.receives("2", "3")

    run(test)


def test_a_connection_is_excluded_from_events_that_wait() -> None:
    async def test(scene: HubScene) -> None:
        me = [await scene.open("a", every=LONG) for _ in range(2)]
        other = [await scene.open("a", every=LONG) for _ in range(2)]
        scene.say("a", "first")
        for reader in *me, *other:
            await reader.receives("first")
        for n in range(2):
            scene.say("a", f"not for {n}", exclude=f"reader {n + 1}")
        scene.say("a", "1")
        scene.say("a", "passing", store=False, exclude="reader 1")
        await wait_for_turn(scene, "b")
        flush(scene)
        for reader in other:
            await reader.receives("first", "not for 0", "not for 1", "1", "passing")
        await me[0].receives("first", "not for 1", "1")
        await me[1].receives("first", "not for 0", "1", "passing")
        assert "0 behind" in repr(scene.hub)

    run(test)


def test_a_slow_reader_reads_on_by_itself() -> None:
    async def test(scene: HubScene) -> None:
        slow, fast = await scene.open("a", every=0.01), await scene.open("a", every=0.01)
        texts = [noise(50_000) for _ in range(40)]
        for n, text in enumerate(texts):
            scene.say("a", text)
            await fast.until(lambda n=n: len(fast.data) == n + 1)  # type: ignore[misc]
        assert "1 behind" in repr(scene.hub)
        await slow.until(lambda: len(slow.data) == 40)
        assert slow.data == fast.data == texts
        await until(lambda: "0 behind" in repr(scene.hub))

    run(test)


def test_a_new_epoch_is_a_gap_after_which_nothing_is_missing() -> None:
    broker = Store()

    async def test(scene: HubScene) -> None:
        two = await open_paced(scene, "a")
        scene.say("a", "lost")
        await wait_for_turn(scene, "b")
        broker.begin_again()
        epoch = broker.read([]).epoch
        await until(lambda: scene.hub.status()["position"].startswith(epoch))
        scene.say("a", "1")
        await wait_for_turn(scene, "b")
        for reader in two:
            reader.read()
            assert reader.data == ["first"] and not reader.gaps
        flush(scene)
        for reader in two:
            await reader.receives("first", "1")
            assert [gap["reason"] for gap in reader.gaps] == ["restarted"]

    run(test, broker=broker, disconnect=False)


def test_readers_share_a_page_if_the_log_has_dropped_what_waits() -> None:
    async def test(scene: HubScene) -> None:
        readers = [await scene.open("a", every=LONG) for _ in range(20)]
        scene.say("a", "first")
        for reader in readers:
            await reader.receives("first")
        texts = [noise(1000) for _ in range(30)]
        scene.say("a", *texts)
        await wait_for_turn(scene, "b")
        flush(scene)
        # One for each group.
        assert scene.hub._feed.asked == 2
        for reader in readers:
            await reader.receives("first", *texts)

    run(test, log_bytes=5000)


def test_events_that_are_not_stored_wait_as_far_as_the_log_may_grow() -> None:
    async def test(scene: HubScene) -> None:
        two = await open_paced(scene, "a")
        texts = [noise(1000) for _ in range(30)]
        scene.say("a", *texts, store=False)
        scene.say("a", "1")
        await wait_for_turn(scene, "b")
        passing = scene.hub._log.passing
        # Both groups keep the same ones.
        assert 3000 < passing.size <= 5000
        flush(scene)
        for reader in two:
            await reader.until(lambda r=reader: r.data[-1] == "1")  # type: ignore[misc]
            assert reader.data[1:-1] == texts[: len(reader.data) - 2]
            assert 2 <= len(reader.data[1:-1]) <= 4
        assert passing.size == 0
        scene.say("a", "passing", store=False)
        await wait_for_turn(scene, "b")
        assert passing.size
        for reader in two:
            reader.close()
        await until(lambda: not groups(scene))
        assert passing.size == 0 and waiting(scene) == "<Pacing [0 groups wait]>"

    run(test, log_bytes=5000)


def test_nothing_is_kept_for_a_group_without_live_readers() -> None:
    async def test(scene: HubScene) -> None:
        (reader, _) = await open_paced(scene, "a")
        scene.say("a", "1")
        await wait_for_turn(scene, "b")
        late = await scene.open("a", every=LONG, gzip=scene.gzip)
        reader.close()
        await until(lambda: "3 connections" in repr(scene.hub))
        scene.say("a", "passing", store=False)
        await wait_for_turn(scene, "b")
        kept = [len(group._passing) for group in groups(scene)]
        assert sorted(kept) == [0, 1]
        flush(scene)
        scene.say("a", "2")
        await wait_for_turn(scene, "b")
        flush(scene)
        await late.receives("2")

    run(test)


def test_another_hub_continues_after_all_that_has_waited() -> None:
    async def test(scene: HubScene) -> None:
        two = await open_paced(scene, "a")
        scene.say("a", "1")
        scene.say("a", "passing", store=False)
        await wait_for_turn(scene, "b")
        frozen, hub = scene.hub.freeze(), scene.hub
        assert all(place.cursor == frozen.log.end for place, _ in frozen.readers)
        scene.hub = Hub(t.cast(t.Any, scene.broker), hub.options, hub._loop, frozen)
        assert [group.every for group in groups(scene)] == [LONG, LONG]
        for reader in two:
            await reader.receives("first", "1", "passing")
        scene.say("a", "2")
        for reader in two:
            await reader.receives("first", "1", "passing", "2")

    run(test)


def test_a_hub_that_fails_writes_to_no_paced_stream_of_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test(scene: HubScene) -> None:
        two = await open_paced(scene, "a")
        scene.say("a", "1")
        await wait_for_turn(scene, "b")
        pacing = scene.hub._fanout.pacing
        timers = list(pacing._timers.values())
        scene.hub._guard(lambda: 1 / 0)
        assert timers and all(timer.cancelled() for timer in timers)
        for reader in two:
            await reader.until(lambda r=reader: r.ended)  # type: ignore[misc]
            again = await scene.open("a", every=LONG, position=reader.last_id)
            await again.receives("1")

    run(test)


@pytest.mark.parametrize("waits", [False, True])
def test_a_paced_stream_gets_newer_ids_and_no_gap(waits: bool) -> None:
    async def test(scene: HubScene) -> None:
        (idle, _) = await open_paced(scene, "idle")
        opened = len(idle.events)
        if waits:
            scene.say("idle", "1")

        def another() -> bool:
            scene.say("busy", "x")
            return len(idle.events) > opened + 1

        await idle.until(another)
        assert "push:open" in [event.type for event in idle.events[opened:]]
        assert idle.data == ["first", "1"] if waits else ["first"]
        again = await scene.open("idle", position=idle.last_id)
        assert not again.gaps

    run(test, Retention(age=0.4), heartbeat=0.2)


def test_no_newer_id_comes_before_the_gap_of_a_new_epoch() -> None:
    broker = Store(Retention(age=0.4))

    async def test(scene: HubScene) -> None:
        two = await open_paced(scene, "a")
        idle = await scene.open("idle")
        broker.begin_again()
        epoch = broker.read([]).epoch
        await until(lambda: scene.hub.status()["position"].startswith(epoch))
        before = [len(reader.events) for reader in two]

        def another() -> bool:
            scene.say("busy", "x")
            return len(idle.events) > 3 and idle.events[-1].type == "push:open"

        await idle.until(another)
        for reader, count in zip(two, before, strict=True):
            reader.read()
            assert len(reader.events) == count
        flush(scene)
        for reader in two:
            await reader.receives_a_gap()
            assert reader.gaps[0]["reason"] == "restarted"

    run(test, broker=broker, heartbeat=0.2, disconnect=False)


def test_a_reader_that_takes_half_a_heartbeat_gets_what_waits_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write, halves = sockets.write, 0

    def half(fd: int, data: t.Any) -> int:
        nonlocal halves
        halves -= 1
        return write(fd, data[: len(data) // 2] if halves >= 0 else data)

    monkeypatch.setattr(sockets, "write", half)

    async def test(scene: HubScene) -> None:
        nonlocal halves
        two = await open_paced(scene, "a", visible=True)
        scene.say("a", "1")
        await until(lambda: "2 groups" in waiting(scene))
        halves = 2
        for reader in two:
            await reader.receives("first", "1")

    run(test, heartbeat=0.2)


def test_a_reader_for_which_something_waits_is_handed_over_with_its_place() -> None:
    async def test(scene: HubScene) -> None:
        await open_paced(scene, "a")
        here = scene.hub._log.end
        scene.say("a", "1")
        await until(lambda: "2 groups" in waiting(scene))
        end = scene.hub._log.end
        assert end > here
        assert [c.freeze(0, end).cursor for c in scene.connections] == [here, here]
        flush(scene)
        assert [c.freeze(0, end).cursor for c in scene.connections] == [end, end]

    run(test)
