"""The items of a stream that is read in Python, and whether they are asked for again."""

from __future__ import annotations

import re

import pytest
from support.scripted import Answer
from support.scripted import body
from support.scripted import hasty as hasty
from support.scripted import listen
from support.scripted import Scripted
from support.scripted import status

import flask_push
from flask_push._delivery import wire
from flask_push._delivery.own_events import HeldItems
from flask_push._event import Position

WORD = wire.holds("aaaaa", ["p"])
OPEN = wire.opening("x.y", ["p"], Position("aaaaa", 5))
ALL = wire.opening("x.y", ["p"], Position("aaaaa", 5), "all")
CHANGES = wire.opening("x.y", ["p"], Position("aaaaa", 5), "changes")
GAP = wire.gap(["p"], "trimmed", 0.0, Position("aaaaa", 6))
ITEMS = wire.all_items(["p"])
ONE = b"id: aaaaa-5.p.a~2eb.3\ndata: 1\n\n"
WHOLE = wire.whole(["p"], Position("aaaaa", 6))
CHANGE = b"id: aaaaa-7.p.a~2eb\nevent: set\ndata: 2\n\n"
UNSET = b'id: aaaaa-8.p.a~2eb\nevent: push:unset\ndata: {"channel":"p","item":"a.b"}\n\n'


def claims(*connections: Answer) -> list[str | None]:
    """The words that a client sends, which gets these answers one after another."""
    with Scripted(*connections) as server:
        listen(server.url)
        found = [re.search(r"[?&]holds=([^& ]*)", line) for line in server.requests]
    return [word and word[1] for word in found]


def test_events_of_items_have_the_item(hasty: None) -> None:
    with Scripted(body(ALL, ITEMS, ONE, WHOLE, CHANGE, UNSET)) as server:
        with flask_push.connect(server.url) as source:
            events = list(source)
    assert [(e.type, e.channel, e.item) for e in events] == [
        ("push:items", "", ""),
        ("message", "p", "a.b"),
        ("push:whole", "", ""),
        ("set", "p", "a.b"),
        ("push:unset", "p", "a.b"),
    ]
    assert source.last_id == "aaaaa-8.p.a~2eb"


def test_events_of_presence_have_the_user(hasty: None) -> None:
    joined = b'id: aaaaa-5.r.a~2eb.3\nevent: push:joined\ndata: {"user":"a.b"}\n\n'
    count = b'id: aaaaa-5.r.-.4\nevent: push:count\ndata: {"count":7}\n\n'
    left = b'id: aaaaa-7.r.a~2eb\nevent: push:left\ndata: {"user":"a.b"}\n\n'
    heartbeat = b'event: push:heartbeat\ndata: {"seconds":15}\n\n'
    with Scripted(body(ALL, ITEMS, joined, count, WHOLE, heartbeat, left)) as server:
        with flask_push.connect(server.url) as source:
            _, *members, last = (event for event in source if event.type != "push:whole")
    assert [(e.type, e.channel, e.item) for e in [*members, last]] == [
        ("push:joined", "r", "a.b"),
        ("push:count", "r", "-"),
        ("push:left", "r", "a.b"),
    ]
    assert source.last_id == last.id == "aaaaa-7.r.a~2eb"


def test_an_event_without_an_id_is_not_of_the_item_before_it(hasty: None) -> None:
    with Scripted(body(ALL, ITEMS, ONE, WHOLE, CHANGE, ITEMS)) as server:
        with flask_push.connect(server.url) as source:
            *_, again = source
    assert (again.type, again.channel, again.item) == ("push:items", "", "")
    assert again.id == "aaaaa-7.p.a~2eb"


@pytest.mark.parametrize(
    ("options", "query"),
    [
        ({}, ""),
        ({"items": True}, "?items=1"),
        ({"items": True, "channels": ["p"]}, "?channel=p&items=1"),
    ],
)
def test_a_client_says_that_it_wants_the_items(
    options: dict[str, object], query: str, hasty: None
) -> None:
    with Scripted(body(b"data: 1\n\n")) as server:
        listen(server.url, **options)
        assert [line.split()[1] for line in server.requests] == [f"/stream{query}"] * 2


def test_a_client_that_has_all_items_is_sent_changes_only(hasty: None) -> None:
    first = body(ALL, ITEMS, ONE, WHOLE, CHANGE)
    # The stream is opened again later, with a newer id.
    later = body(CHANGES, UNSET, OPEN)
    cut = body(CHANGES), body(CHANGES, b"id: aaaaa-9.p.c\ndata: ha"), [status(503)], body()
    assert claims(first, later, *cut) == [None, *[WORD] * 6]


@pytest.mark.parametrize(
    "cut",
    [
        # All items follow, and the client's position is newer than the items that it has.
        [ALL],
        [ALL, GAP],
        # The server of an older version sends no items.
        [OPEN],
        [OPEN, CHANGE],
        # Unsets may be lost.
        [CHANGES, ITEMS],
        [ALL, ITEMS, ONE],
        [CHANGES, CHANGE, ITEMS, ONE],
    ],
)
def test_a_client_that_may_lack_items_gets_all_of_them_again(
    cut: list[bytes], hasty: None
) -> None:
    whole = body(ALL, ITEMS, ONE, WHOLE)
    assert claims(whole, body(*cut), body()) == [None, WORD, None, None]
    assert claims(whole, body(*cut), whole, body()) == [None, WORD, None, WORD, WORD]


def test_a_permanent_redirect_does_not_keep_a_word_that_no_longer_holds(
    hasty: None,
) -> None:
    whole = body(ALL, ITEMS, ONE, WHOLE)
    # Servers redirect with the query that was sent.
    moved = [status(301, f"Location: /there?a=b&connection=x&holds={WORD}")]
    with Scripted(whole, moved, body(ALL), body()) as server:
        listen(server.url)
        paths = [request.split()[1] for request in server.requests]
    assert paths == [
        "/stream",
        f"/stream?connection=x&holds={WORD}",
        f"/there?a=b&connection=x&holds={WORD}",
        *["/there?a=b&connection=x"] * 2,
    ]


@pytest.mark.parametrize("holds", ['"a b"', '"a&b=c"', '""', "5", f'"{"x" * 65}"', "{"])
def test_a_word_that_could_break_the_request_is_never_sent(holds: str) -> None:
    items = HeldItems()
    for word, expected in ((f'"{WORD}"', WORD), (holds, "")):
        data = f'{{"channels":["p"],"holds":{word}}}'
        items.take(flask_push.Event("", data, "push:whole"))
        assert items.word == expected
