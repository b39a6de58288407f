"""A list of streams has each stream once, takes a bounded time, and is bounded in size."""

from __future__ import annotations

import json
import typing as t

import pytest
from support.hubs import first as first
from support.hubs import HubScene
from support.hubs import run
from support.sockets import noise

from flask_push._delivery.stream import LISTENER
from flask_push._hub import listing
from flask_push._hub.listing import lists
from flask_push._hub.listing import MAX_NAME
from flask_push._ipc.listing_protocol import ChannelPage
from flask_push._ipc.listing_protocol import ListChannels
from flask_push._ipc.listing_protocol import ListStreams
from flask_push._ipc.listing_protocol import StreamPage
from flask_push._ipc.messages import MOST_SAID
from flask_push.testing._sink import until


def all_of(scene: HubScene, **asked: t.Any) -> tuple[list[dict[str, t.Any]], int]:
    """All streams that match, and how many pages there were."""
    rows: list[dict[str, t.Any]] = []
    after: int | None = -1
    pages = matching = 0
    while after is not None:
        page = scene.hub.listing.streams(ListStreams(after, **asked))
        rows, after, pages = rows + page.streams, page.next, pages + 1
        matching += page.matching
    assert matching == len(rows)
    return rows, pages


def test_a_stream_is_listed_with_what_its_view_granted() -> None:
    async def test(scene: HubScene) -> None:
        await scene.open("chat", "user:7", user="7", session="s1")
        await scene.open("chat", poll=False, every=1.0)
        (row, other), _ = all_of(scene)
        assert row == {
            **{"id": "reader 1", "user": "7", "session": "s1"},
            **{"channels": ["chat", "user:7"], "more": 0, "cut": False, "seconds": 0},
            **{"place": "live", "held": "relay", "poll": False, "follows": False},
        }
        assert (other["user"], other["session"], other["place"]) == (None, None, "live")

    run(test)


def test_streams_are_found_by_user_session_channel_and_id() -> None:
    async def test(scene: HubScene) -> None:
        for user in "ann", "ben":
            for session in "1", "2":
                await scene.open(f"of {user}", "all", user=user, session=user + session)

        def ids(**asked: t.Any) -> list[str]:
            return [row["id"] for row in all_of(scene, **asked)[0]]

        assert ids(user="ann") == ["reader 1", "reader 2"]
        assert ids(session="ben2") == ["reader 4"]
        assert ids(channel="of ben", session="ben1") == ["reader 3"]
        assert ids(channel="all", user="nobody") == []
        assert ids(id="reader 2") == ["reader 2"]

    run(test)


def test_one_page_looks_at_so_many_descriptors_and_the_next_one_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listing, "LOOK", 10)

    async def test(scene: HubScene) -> None:
        for _ in range(25):
            await scene.open("a")
        page = scene.hub.listing.streams(ListStreams())
        assert page.matching <= 10 and page.next is not None
        rows, pages = all_of(scene)
        assert len({row["id"] for row in rows}) == len(rows) == 25
        assert pages > 2
        # They are counted, and not shown.
        nothing = scene.hub.listing.streams(
            ListStreams(max(scene.hub._streams.connections))
        )
        assert nothing == StreamPage([], 0, None)
        counted = scene.hub.listing.streams(ListStreams(most=0))
        assert not counted.streams and counted.next == page.next

    run(test)


def test_a_page_of_long_names_is_small_enough_to_be_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(scene: HubScene) -> None:
        long = "\u4e00" * 100_000
        names = [f"{n:060}" for n in range(100)]
        for n in range(80):
            await scene.open(*names, user=f"{n} {long}", session=long)
        page = scene.hub.listing.streams(ListStreams())
        assert page.next is not None
        assert len(json.dumps(page.to_json())) < 2 * listing.PAGE_BYTES < MOST_SAID
        row = page.streams[0]
        assert row["cut"] and len(row["user"]) == MAX_NAME + 1 and row["more"] == 90
        assert len(all_of(scene)[0]) == 80

    run(test)


def test_a_stream_that_is_behind_is_shown_so() -> None:
    async def test(scene: HubScene) -> None:
        slow, fast = await scene.open("a"), await scene.open("a", every=0.1)
        scene.say("a", noise(4_000_000))
        await until(lambda: "1 behind" in repr(scene.hub) or "2 behind" in repr(scene.hub))
        assert all_of(scene)[0][0]["place"] == "behind"
        await slow.until(lambda: slow.data)
        await fast.until(lambda: fast.data)
        await until(lambda: [r["place"] for r in all_of(scene)[0]] == ["live", "live"])

    run(test, max_event=8_000_000)


def test_a_listener_of_the_app_is_shown_without_its_session() -> None:
    async def test(scene: HubScene) -> None:
        scene.adopt("a", session=LISTENER)
        await until(lambda: all_of(scene)[0][0]["place"] == "live")
        ((row,), _) = all_of(scene)
        assert (row["held"], row["session"]) == ("app", None)

    run(test)


def test_a_stream_is_as_old_after_a_take_over() -> None:
    async def test(scene: HubScene) -> None:
        await scene.open("a")
        (connection,) = scene.connections
        connection.opened -= 50
        scene.hub = scene.make_hub(scene.hub.freeze())
        ((row,), _) = all_of(scene)
        assert 50 <= row["seconds"] < 60

    run(test)


def test_the_channels_with_the_most_readers_come_first() -> None:
    async def test(scene: HubScene) -> None:
        for n in range(3):
            await scene.open("all", *["some"][: n > 0], f"user:{n}")
        page = scene.hub.listing.channels(ListChannels(most=2))
        assert page == ChannelPage([("all", 3), ("some", 2)], None)

    run(test)


def test_one_page_looks_at_so_many_channels_and_groups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listing, "LOOK", 8)

    async def test(scene: HubScene) -> None:
        for n in range(20):
            await scene.open("all", f"user:{n}")
        page = scene.hub.listing.channels(ListChannels())
        assert page == ChannelPage([("all", 20)], 1), "its groups are many"
        found: dict[str, int] = {}
        after: int | None = 0
        while after is not None:
            page = scene.hub.listing.channels(ListChannels(after))
            assert len(page.channels) <= 8
            found |= dict(page.channels)
            after = page.next
        assert found == {"all": 20, **{f"user:{n}": 1 for n in range(20)}}

    run(test)


def test_a_hub_that_has_had_no_hello_has_no_streams() -> None:
    sent: list[t.Any] = []

    class Asker:
        send = staticmethod(sent.append)

    handlers = lists(lambda: None)
    for asked in ListStreams(), ListChannels():
        handlers[type(asked)](asked, t.cast(t.Any, Asker), [])
    assert sent == [StreamPage([], 0, None), ChannelPage([], None)]
