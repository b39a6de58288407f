"""Who comes back with a ticket, and who is asked by the view again."""

from __future__ import annotations

import base64
import json
import typing as t
from dataclasses import replace

import pytest

from flask_push._delivery import tickets as _return
from flask_push._delivery.stream import Stream
from flask_push._delivery.stream_presence import NOTHING
from flask_push._delivery.stream_presence import StreamPresence
from flask_push._delivery.tickets import derive_key
from flask_push._delivery.tickets import ReturnTickets
from flask_push._delivery.tickets import TicketRequest

STREAM = Stream(("a", "b"), "x", user="ann", address="::1", lifetime=100)


ASKED = TicketRequest(
    b"/stream",
    "channel=a&channel=b",
    "session=1; theme=dark",
    "Basic x",
    origin="https://a.test",
    host="a.test:8000",
)


TICKETS = ReturnTickets([b"key"])


def make(**more: t.Any) -> TicketRequest:
    """Somebody who comes back with a ticket that was made at 1000 for 60 seconds."""
    given: dict[str, t.Any] = {"stream": STREAM, "headers": [], "asked": ASKED}
    ticket = TICKETS.make(**{**given, "now": 1000, "seconds": 60, **more})
    cookie = f"{ASKED.cookie}; push_ticket={ticket}"
    return replace(ASKED, cookie=cookie, last_event_id="e-1.a")


def look(
    asked: TicketRequest, now: float = 1030, tickets: ReturnTickets = TICKETS
) -> Stream | None:
    return tickets.look(asked, lambda said: said or "y", now, "today")


# What a ticket is good for.


def test_who_comes_back_gets_what_the_view_decided() -> None:
    stream = look(make(headers=[("X-Theirs", "1"), ("Set-Cookie", "a=b; Path=/x")][:1]))
    assert stream is not None
    known = STREAM._replace(connection="y", lifetime=70, position="e-1.a")
    assert stream._replace(head=b"") == known
    assert stream.head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream")
    assert b"\r\nX-Theirs: 1\r\n" in stream.head
    assert stream.head.count(b"Cache-Control") == 1


def test_a_return_ticket_has_the_session_and_what_its_request_had_seen() -> None:
    for session, seen in ("s1", "epoch-1"), ("", "unknown"), (None, ""):
        stream = look(make(stream=STREAM._replace(session=session, seen=seen)))
        assert stream is not None
        assert (stream.session, stream.seen) == (session, seen)


@pytest.mark.parametrize("every", [0, 0.5])
def test_a_return_ticket_has_the_pause_that_the_view_granted(every: float) -> None:
    stream = look(make(stream=STREAM._replace(every=every)))
    assert stream is not None and stream.every == every


@pytest.mark.parametrize(
    "presence", [NOTHING, StreamPresence((("r", '{"name": "Ann"}'),), ("r",), ("shop",))]
)
def test_a_return_ticket_has_the_presence_that_the_view_granted(
    presence: StreamPresence,
) -> None:
    stream = look(make(stream=STREAM._replace(presence=presence)))
    assert stream is not None and stream.presence == presence


def test_a_ticket_of_a_version_that_disconnects_no_stream_is_not_valid() -> None:
    asked = make()
    body = asked.ticket.partition(".")[0].encode()
    says = json.loads(base64.urlsafe_b64decode(body + b"=="))
    for added, valid in (set(), True), ({"session", "seen"}, False):
        older = {name: value for name, value in says.items() if name not in added}
        body = _return._text(json.dumps(older, separators=(",", ":")).encode())
        ticket = (body + b"." + _return._sign(b"key", body)).decode()
        cookie = f"{ASKED.cookie}; push_ticket={ticket}"
        assert bool(look(replace(asked, cookie=cookie))) is valid


def test_a_stream_that_may_last_for_ever_still_may() -> None:
    stream = look(make(stream=STREAM._replace(lifetime=0)))
    assert stream is not None and stream.lifetime == 0


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"path": b"/other"}, "another view"),
        ({"query": "channel=a"}, "other channels"),
        ({"query": "channel=a&channel=b&poll=1"}, "no stream"),
        ({"authorization": "Basic y"}, "another user"),
        ({"last_event_id": ""}, "somebody who was never here"),
        ({"origin": ""}, "a page of the app's own origin"),
        ({"origin": "https://b.test"}, "a page of another origin"),
        ({"origin": "null"}, "a page of no origin"),
        ({"host": "b.test:8000"}, "another site"),
        ({"host": ""}, "a request that names no site"),
    ],
)
def test_whoever_asks_for_something_else_is_asked_by_the_view(
    changed: dict[str, t.Any], why: str
) -> None:
    assert look(replace(make(), **changed)) is None, why


@pytest.mark.parametrize("cookie", ["", "session=2; theme=dark", "session=1", "{}; x=y"])
def test_other_cookies_may_be_another_user(cookie: str) -> None:
    asked = make()
    ticket = asked.ticket
    cookie = cookie.format(ASKED.cookie)
    assert look(replace(asked, cookie=f"{cookie}; push_ticket={ticket}")) is None
    assert look(replace(asked, cookie=f"theme=dark; push_ticket={ticket}; session=1"))


def test_of_two_cookies_with_one_name_the_first_may_be_the_user() -> None:
    two = replace(ASKED, cookie="session=1; session=2; theme=dark")
    ticket = make(asked=two).ticket
    for cookie, good in (
        ("session=1; session=2; theme=dark", True),
        ("session=1; theme=dark; session=2", True),
        ("session=2; session=1; theme=dark", False),
        ("session=3; session=2; theme=dark", False),
        ("session=2; theme=dark", False),
    ):
        asked = replace(make(asked=two), cookie=f"{cookie}; push_ticket={ticket}")
        assert bool(look(asked)) is good, cookie


def test_of_two_tickets_the_first_is_for_the_longer_path() -> None:
    mine = make().ticket
    others = make(asked=replace(ASKED, path=b"/")).ticket
    cookie = f"{ASKED.cookie}; push_ticket={mine}; push_ticket={others}"
    assert look(replace(make(), cookie=cookie))


def test_the_same_site_may_be_named_in_capitals() -> None:
    assert look(replace(make(), host="A.test:8000"))


@pytest.mark.parametrize(
    ("vary", "good"),
    [
        (["Cookie, Authorization"], True),
        (["Origin", "cookie", "Accept-Encoding"], True),
        (["Host,", ""], True),
        (["*"], False),
        (["Accept-Language"], False),
        (["Cookie, User-Agent"], False),
        (["Cookie", "X-Forwarded-For"], False),
    ],
)
def test_there_is_no_ticket_for_what_depends_on_more_than_it_can_tell(
    vary: list[str], good: bool
) -> None:
    asked = make(headers=[("Vary", value) for value in vary])
    assert bool(asked.ticket) is good
    assert bool(look(asked)) is good


def test_apps_with_one_secret_have_tickets_of_their_own() -> None:
    keys = {
        derive_key(b"secret", app, store)
        for app in ("shop", "admin")
        for store in ("sqlite:///run/shop/push.db", "redis://127.0.0.1/0?prefix=shop")
    }
    assert len(keys) == 4 and b"secret" not in keys
    shop, admin = (
        ReturnTickets([derive_key(b"secret", app, "sqlite:///x")])
        for app in ("shop", "admin")
    )
    ticket = shop.make(STREAM, [], ASKED, 1000, 60)
    cookie = f"{ASKED.cookie}; push_ticket={ticket}"
    asked = replace(ASKED, cookie=cookie, last_event_id="e-1.a")
    assert look(asked, tickets=shop) and not look(asked, tickets=admin)
    assert derive_key(b"secret", "shop", "x") == derive_key(b"secret", "shop", "x")


def test_cookies_that_the_response_sets_are_the_next_requests() -> None:
    headers = [("Set-Cookie", "session=2; HttpOnly"), ("Set-Cookie", "theme=; Max-Age=0")]
    asked = make(headers=headers)
    assert look(asked) is None
    assert look(replace(asked, cookie=f"session=2; push_ticket={asked.ticket}"))


def test_a_connection_may_keep_its_name() -> None:
    name = "0123456789abcdef"
    asked = replace(make(), query=f"channel=a&connection={name}&channel=b")
    assert look(asked)
    assert asked.connection == name and make().connection == ""


def test_the_items_of_a_connection_are_its_own() -> None:
    for added, items, holds in (
        ("&items=1&holds=5f0a", True, "5f0a"),
        ("&holds=5f0a&holds=c1", False, "5f0a"),
        ("&items=yes&holds=" + "x" * 1000, False, ""),
        ("", False, ""),
    ):
        # Whether the request for the ticket had them makes no difference.
        for before in "", "&items=1&holds=ff00":
            asked = make(asked=replace(ASKED, query=ASKED.query + before))
            stream = look(replace(asked, query=ASKED.query + added))
            assert stream is not None and (stream.items, stream.holds) == (items, holds)


def test_the_position_may_be_anywhere() -> None:
    for name in "last_event_id", "lastEventId", "Last-Event-Id", "evs_last_event_id":
        asked = replace(make(), query=f"channel=a&{name}=e-2.b&channel=b", last_event_id="")
        stream = look(asked)
        assert stream is not None and stream.position == "e-2.b"


def test_no_more_of_a_position_is_carried_than_an_id_can_have() -> None:
    for where in {"last_event_id": "x" * 60_000}, {"query": f"lastEventId={'x' * 3000}"}:
        asked = TicketRequest(b"/stream", **{"query": "", **where})
        assert asked.position == "x" * 256


def test_a_stream_is_compressed_again_for_who_still_takes_it_so() -> None:
    accepts = replace(ASKED, accept_encoding="gzip, br")
    headers = [("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")]
    packed = STREAM._replace(gzip=True)
    asked = replace(
        make(stream=packed, headers=headers, asked=accepts), accept_encoding="gzip, br"
    )
    stream = look(asked)
    assert stream is not None and stream.gzip
    assert b"\r\nContent-Encoding: gzip\r\n" in stream.head
    for other in "", "br", "gzip":
        assert look(replace(asked, accept_encoding=other)) is None
    # One that is not, everybody can read.
    stream = look(replace(make(), accept_encoding="gzip"))
    assert stream is not None and not stream.gzip


def test_a_ticket_has_an_end() -> None:
    assert look(make(), now=1059) and not look(make(), now=1060)
    short = make(stream=STREAM._replace(lifetime=5))
    assert look(short, now=1004) and not look(short, now=1005)


def test_a_ticket_is_signed() -> None:
    asked = make()
    assert look(asked, tickets=ReturnTickets([b"new", b"key"]))
    assert not look(asked, tickets=ReturnTickets([b"new"]))
    assert not look(asked, tickets=ReturnTickets([]))
    for n in range(len(asked.ticket)):
        other = "x" if asked.ticket[n] != "x" else "y"
        ticket = asked.ticket[:n] + other + asked.ticket[n + 1 :]
        # The last letter of a signature holds bits that mean nothing, but are compared.
        assert not look(replace(asked, cookie=f"{ASKED.cookie}; push_ticket={ticket}"))
    for ticket in "", ".", "é.é", "a.b.c", asked.ticket.partition(".")[0]:
        assert not look(replace(asked, cookie=f"{ASKED.cookie}; push_ticket={ticket}"))


def test_no_ticket_is_larger_than_a_cookie_may_be() -> None:
    many = STREAM._replace(channels=tuple(f"channel-{n}" * 5 for n in range(100)))
    assert make(stream=many).ticket == ""


@pytest.mark.parametrize(
    ("name", "value", "good"),
    [
        ("query", "a=b&" * 1024, True),
        ("query", "a=b&" * 1025, False),
        ("cookie", "a=b; " * 3000, True),
        ("cookie", "a=b; " * 4000, False),
    ],
)
def test_a_request_that_takes_long_to_compare_is_answered_by_the_view(
    name: str, value: str, good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    large: TicketRequest = replace(ASKED, **{name: value})  # type: ignore[arg-type]
    assert bool(make(asked=large).ticket) is good
    with monkeypatch.context() as patch:
        patch.setattr(_return, "_MOST_QUERY", 10**9)
        patch.setattr(_return, "_MOST_COOKIES", 10**9)
        ticket = make(asked=large).ticket
        asked = replace(large, cookie=f"{large.cookie}; push_ticket={ticket}")
        asked = replace(asked, last_event_id="e-1.a")
        assert look(asked)
    assert bool(look(asked)) is good
