"""A hub stores which users are present, and unsets the rows of hubs that are dead."""

from __future__ import annotations

import contextlib
import json
import threading
import typing as t

import pytest
from support.each_store import url as url
from support.hubs import HubScene
from support.hubs import run
from support.hubs import Test

from flask_push import NotPublished
from flask_push import Position
from flask_push._delivery import hub_record
from flask_push._delivery.options import Options
from flask_push._delivery.presence_plan import HUBS
from flask_push._delivery.presence_plan import PresenceState
from flask_push._delivery.roster import PRESENT
from flask_push._delivery.snapshot import HubState
from flask_push._delivery.stream_presence import NOTHING
from flask_push._delivery.stream_presence import StreamPresence
from flask_push._hub.hub_presence import HubPresence
from flask_push._ipc.takeover_protocol import Presence
from flask_push.brokers import Conflict
from flask_push.brokers import ItemChange
from flask_push.brokers import KeepsItems
from flask_push.brokers import open_broker
from flask_push.brokers import PublishUncertain
from flask_push.brokers.memory import MemoryBroker
from flask_push.testing._sink import until

GRACE = 0.2
SHOWS = StreamPresence(present=(("room", '{"name":"Ann"}'),))


class Store(MemoryBroker):
    """It may fail."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[Exception] = []
        #: Whether it stores a call nevertheless that fails.
        self.stores = False
        self.conflicts = 0

    def change(self, changes: t.Any) -> list[Position]:
        if self.failures:
            if self.stores:
                super().change(changes)
            raise self.failures.pop(0)
        try:
            return super().change(changes)
        except Conflict:
            self.conflicts += 1
            raise


def rows(broker: KeepsItems, channel: str = "room") -> dict[str, str]:
    """By item, without the hub's name."""
    page = broker.read_items([channel], kind=PRESENT, limit=2**30)
    return {row.item.partition(".")[2]: row.data.decode() for row in page.rows}


def records(broker: KeepsItems) -> dict[str, t.Any]:
    page = broker.read_items([HUBS], kind=HUBS, limit=2**30)
    return {row.item: json.loads(row.data) for row in page.rows}


async def becomes(scene: HubScene, *users: str) -> None:
    await until(lambda: rows(scene.broker).keys() == {*users})


def run_at(url: str, test: Test, **options: t.Any) -> None:
    with contextlib.closing(open_broker(url)) as broker:
        run(test, broker=t.cast(MemoryBroker, broker), **options)


def writers() -> int:
    return [thread.name for thread in threading.enumerate()].count("flask-push")


def presence(scene: HubScene) -> HubPresence:
    return scene.hub.presence


async def enter(scene: HubScene, user: str, **how: t.Any) -> t.Any:
    how.setdefault("presence", SHOWS)
    return await scene.open("a", user=user, **how)


def test_a_user_is_present_while_a_stream_shows_it_and_for_the_grace(url: str) -> None:
    async def test(scene: HubScene) -> None:
        reader = await enter(scene, "ann")
        await becomes(scene, "ann")
        assert rows(scene.broker) == {"ann": '{"name":"Ann"}'}
        (record,) = records(scene.broker).values()
        assert record == {"beat": 1, "members": 1}
        assert scene.hub.status()["present"] == 1
        reader.close()
        await until(lambda: not scene.connections)
        assert rows(scene.broker).keys() == {"ann"}
        await becomes(scene)
        await until(lambda: not records(scene.broker))
        assert scene.hub.status()["present"] == 0

    run_at(url, test, grace=GRACE)


def test_a_user_who_returns_within_the_grace_does_not_leave() -> None:
    async def test(scene: HubScene) -> None:
        reader = await enter(scene, "ann")
        await becomes(scene, "ann")
        (before,) = scene.broker.read_items(["room"], kind=PRESENT).rows
        for _ in range(3):
            reader.close()
            await until(lambda: not scene.connections)
            reader = await enter(scene, "ann")
        await enter(scene, "bob")
        await becomes(scene, "ann", "bob")
        after = scene.broker.read_items(["room"], kind=PRESENT).rows
        assert before in after

    run(test, grace=60)


def test_users_are_counted_where_they_are_not_listed() -> None:
    counted = StreamPresence(counted=("hall",))

    async def test(scene: HubScene) -> None:
        first = await enter(scene, "ann", presence=counted)
        await enter(scene, "ann", presence=counted)
        await enter(scene, "bob", presence=counted)
        await until(lambda: rows(scene.broker, "hall") == {"": "2"})
        first.close()
        await enter(scene, "cid", presence=counted)
        await until(lambda: rows(scene.broker, "hall") == {"": "3"})

    run(test, grace=0)


def test_a_stream_without_presence_costs_nothing(url: str) -> None:
    async def test(scene: HubScene) -> None:
        await scene.open("a", user="ann")
        await scene.open("a", user="ann", presence=StreamPresence(watch=("room",)))
        assert repr(presence(scene)).startswith("<HubPresence <HubRecord ")
        assert "no record" in repr(presence(scene)) and writers() == 0
        assert records(scene.broker) == {}

    run_at(url, test)


def test_a_stream_that_was_refused_shows_no_user() -> None:
    async def test(scene: HubScene) -> None:
        await enter(scene, "ann")
        scene.adopt("a", user="bob", presence=SHOWS)
        await enter_and_wait(scene)
        assert rows(scene.broker).keys() == {"ann"}

    async def enter_and_wait(scene: HubScene) -> None:
        await becomes(scene, "ann")
        await until(lambda: presence(scene).is_stored)

    run(test, max_streams=1)


def test_the_grace_begins_when_the_browser_may_reconnect() -> None:
    async def test(scene: HubScene) -> None:
        await enter(scene, "ann")
        await enter(scene, "bob", poll=True)
        await becomes(scene, "ann", "bob")
        (connection,) = scene.connections
        scene.hub._streams.end(connection, 10_000)
        members = {row[1]: row[4] for row in presence(scene).state().members}
        # A poll waits for at most 30 seconds, and the next one may fail.
        assert 55 < members["bob"] <= 60
        assert 15 < members["ann"] <= 80
        # The grace of one who has left is over.
        (await enter(scene, "cid")).close()
        await becomes(scene, "ann", "bob", "cid")
        await becomes(scene, "ann", "bob")

    run(test, grace=GRACE, retry=30)


def test_all_streams_that_are_sent_back_are_in_the_record() -> None:
    async def test(scene: HubScene) -> None:
        for user in ("ann", "bob"):
            await enter(scene, user)
        await becomes(scene, "ann", "bob")
        scene.hub.options = Options(disconnect=False, retry=30)
        scene.hub.options = Options(retry=30)
        await until(lambda: not scene.connections)
        await until(lambda: "leaving" in next(iter(records(scene.broker).values())))
        (record,) = records(scene.broker).values()
        assert 45 < record["leaving"] <= 51
        assert rows(scene.broker).keys() == {"ann", "bob"}

    run(test)


def test_a_hub_that_ends_unsets_no_user_and_stores_leaving(
    url: str,
) -> None:
    async def test(scene: HubScene) -> None:
        await enter(scene, "ann")
        scene.hub.stop()
        assert rows(scene.broker).keys() == {"ann"}
        (record,) = records(scene.broker).values()
        assert 13 < record["leaving"] <= 15
        assert writers() == 0

    run_at(url, test)


def test_a_hub_ends_soon_if_its_store_fails() -> None:
    store = Store()

    async def test(scene: HubScene) -> None:
        await enter(scene, "ann")
        await becomes(scene, "ann")
        store.failures += [NotPublished("down")] * 1000
        scene.hub.stop()
        assert rows(store).keys() == {"ann"}

    run(test, broker=store)


def test_after_a_failure_of_the_hub_its_users_are_still_there() -> None:
    async def test(scene: HubScene) -> None:
        await enter(scene, "ann")
        await becomes(scene, "ann")
        name = next(iter(records(scene.broker)))
        scene.hub._guard(scene.hub._log.channels.__getitem__, "missing")
        assert scene.hub.failures and not scene.connections
        await enter(scene, "bob")
        await becomes(scene, "ann", "bob")
        assert records(scene.broker).keys() == {name}
        # Its browser may have reconnected by now.
        scene.hub.options = Options(grace=0)
        await becomes(scene, "bob")

    run(test, grace=60, retry=0.1)


@pytest.mark.parametrize("stores", [True, False])
@pytest.mark.parametrize("error", [NotPublished("down"), PublishUncertain("cut")])
def test_a_store_that_fails_gets_everything_in_the_end(
    error: Exception, stores: bool, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store()
    store.failures, store.stores = [error, error], stores and "cut" in str(error)

    async def test(scene: HubScene) -> None:
        for user in ("ann", "bob"):
            await enter(scene, user)
        await becomes(scene, "ann", "bob")
        await until(lambda: presence(scene).is_stored)
        assert "Could not change items" in caplog.text

    run(test, broker=store, grace=GRACE)


def test_a_hub_that_another_marked_as_dead_goes_on_under_another_name() -> None:
    async def test(scene: HubScene) -> None:
        await enter(scene, "ann")
        await becomes(scene, "ann")
        (name,) = records(scene.broker)
        dead = ItemChange(HUBS, name, '{"dead":true}', kind=HUBS, version=10)
        scene.broker.change([dead])
        await enter(scene, "bob")
        await becomes(scene, "ann", "bob")
        page = scene.broker.read_items(["room"], kind=PRESENT)
        others = {row.item.partition(".")[0] for row in page.rows} - {name}
        assert len(others) == 1 and len(page.rows) == 3

    run(test)


def test_a_hub_without_members_unsets_the_rows_of_a_dead_one(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The feed tells it of the record; or a feed that starts finds it."""
    # It looks at the record three times before it takes the hub for dead.
    monkeypatch.setattr(hub_record, "BEAT_SECONDS", 0.9)

    async def test(scene: HubScene) -> None:
        for name in ("x", "y"):
            changes = [
                ItemChange(HUBS, name, '{"dead":true}', kind=HUBS, version=1),
                ItemChange("room", f"{name}.u", "1", kind=PRESENT, owner=name),
                ItemChange("room", name, "5", kind=PRESENT, owner=name),
                # It belongs to a hub that lives.
                ItemChange("room", "z.v", "1", kind=PRESENT, owner="z"),
            ]
            scene.broker.change(changes)
            await becomes(scene, "v")
            await until(lambda: not records(scene.broker))
            scene.hub.stop()
            scene.broker.change(changes)
            scene.hub = scene.make_hub()
            await becomes(scene, "v")
            await until(lambda: not records(scene.broker))

    run_at(url, test)


def test_a_hub_that_has_failed_still_notices_a_dead_one() -> None:
    async def test(scene: HubScene) -> None:
        scene.hub._guard(scene.hub._log.channels.__getitem__, "missing")
        # Its next feed watches.
        (await enter(scene, "ann", presence=NOTHING)).close()
        scene.broker.change(
            [
                ItemChange(HUBS, "x", '{"dead":true}', kind=HUBS, version=1),
                ItemChange("room", "x.u", "1", kind=PRESENT, owner="x"),
            ]
        )
        await becomes(scene)
        await until(lambda: not records(scene.broker))

    run(test)


def test_a_hub_that_stores_no_beats_is_marked_as_dead_and_its_rows_are_unset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The writer stores three batches between two beats.
    monkeypatch.setattr(hub_record, "BEAT_SECONDS", 0.9)
    store = Store()

    async def test(scene: HubScene) -> None:
        await enter(scene, "ann")
        scene.broker.change(
            [
                ItemChange(HUBS, "x", '{"members":1}', kind=HUBS, version=1),
                ItemChange("room", "x.u", "1", kind=PRESENT, owner="x"),
            ]
        )
        await becomes(scene, "ann", "u")
        await becomes(scene, "ann")
        await until(lambda: len(records(scene.broker)) == 1)
        assert store.conflicts == 0, "it expected another id than that of its own mark"

    run(test, broker=store)


def test_users_whose_number_is_too_great_are_not_listed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_push._delivery.members.MAX_LISTED", 2)

    async def test(scene: HubScene) -> None:
        for user in ("ann", "bob", "cid"):
            await enter(scene, user)
        await becomes(scene, "ann", "bob")
        assert caplog.text.count("Did not list a user on 'room'") == 1

    run(test)


# A hub takes another's place.


def sent(state: HubState) -> HubState:
    """The state as another process gets it."""
    assert state.presence is not None
    message = Presence(state.presence.record, state.presence.members)
    read = Presence.from_json(json.loads(json.dumps(message.to_json())))
    return state._replace(presence=PresenceState(read.record, read.members))


def replace(scene: HubScene, older: bool = False) -> None:
    assert scene.hub.whole
    state = scene.hub.freeze()
    scene.hub = scene.make_hub(state._replace(presence=None) if older else sent(state))


def test_a_successor_goes_on_with_the_members_and_the_record(url: str) -> None:
    async def test(scene: HubScene) -> None:
        readers = [await enter(scene, user) for user in ("ann", "bob", "cid")]
        await becomes(scene, "ann", "bob", "cid")
        readers[1].close()
        await until(lambda: len(scene.connections) == 2)
        before = scene.broker.read_items(["room"], kind=PRESENT).rows
        (name,) = records(scene.broker)
        await until(lambda: scene.hub.whole)
        replace(scene)
        await until(lambda: presence(scene).is_stored)
        assert [*scene.broker.read_items(["room"], kind=PRESENT).rows] == [*before]
        assert records(scene.broker).keys() == {name}
        scene.hub.options = Options(grace=GRACE)
        readers[0].close()
        await becomes(scene, "cid")
        assert records(scene.broker).keys() == {name}

    run_at(url, test, grace=30)


def test_a_hub_and_its_successor_note_no_stream_that_shows_no_user() -> None:
    async def test(scene: HubScene) -> None:
        await enter(scene, "ann", presence=NOTHING)
        await enter(scene, "bob", presence=StreamPresence(watch=("room",)))
        await enter(scene, "cid")
        for _ in range(2):
            assert [c.stream.user for c in presence(scene)._entered] == ["cid"]
            await until(lambda: scene.hub.whole)
            replace(scene)

    run(test)


def test_a_successor_of_an_older_hub_stores_its_users_under_a_new_name() -> None:
    async def test(scene: HubScene) -> None:
        await enter(scene, "ann")
        await becomes(scene, "ann")
        (name,) = records(scene.broker)
        await until(lambda: scene.hub.whole)
        replace(scene, older=True)
        await until(lambda: len(records(scene.broker)) == 2)
        assert len(scene.broker.read_items(["room"], kind=PRESENT).rows) == 2
        assert name in records(scene.broker)

    run(test)


def test_a_hub_whose_successor_failed_goes_on() -> None:
    async def test(scene: HubScene) -> None:
        await enter(scene, "ann")
        await becomes(scene, "ann")
        (name,) = records(scene.broker)
        await until(lambda: scene.hub.whole)
        scene.hub = scene.make_hub(scene.hub.freeze())
        await enter(scene, "bob")
        await becomes(scene, "ann", "bob")
        assert records(scene.broker).keys() == {name}

    run(test)
