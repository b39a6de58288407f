"""Who comes back with a ticket, and who is asked by the view again."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import os
import re
import signal
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from servers import gunicorn
from servers import hubs
from servers import Reader
from servers import ROOT
from servers import serve
from servers import Server
from servers import status
from servers import until
from test_accel import nginx

from flask_push import Push
from flask_push._accel import returns
from flask_push._return import Asked
from flask_push._return import ReturnTickets
from flask_push._stream import Stream
from flask_push._visit import Visit

PAGE = (ROOT / "docs" / "return-tickets.md").read_text()
CONFIG = re.findall(r"^```nginx\n(.*?)^```", PAGE, re.M | re.S)[0]

STREAM = Stream(("a", "b"), "x", user="ann", address="::1", lifetime=100)
ASKED = Asked(b"/stream", "channel=a&channel=b", "session=1; theme=dark", "Basic x")
TICKETS = ReturnTickets([b"key"])


def make(**more: t.Any) -> Asked:
    """Somebody who comes back with a ticket that was made at 1000 for 60 seconds."""
    given: dict[str, t.Any] = {"stream": STREAM, "headers": [], "asked": ASKED}
    ticket = TICKETS.make(**{**given, "now": 1000, "seconds": 60, **more})
    cookie = f"{ASKED.cookie}; push_ticket={ticket}"
    return replace(ASKED, cookie=cookie, last_event_id="e-1.a")


def look(
    asked: Asked, now: float = 1030, tickets: ReturnTickets = TICKETS
) -> Stream | None:
    return tickets.look(asked, "y", now, "today")


# What a ticket is good for.


def test_who_comes_back_gets_what_the_view_decided() -> None:
    stream = look(make(headers=[("X-Theirs", "1"), ("Set-Cookie", "a=b; Path=/x")][:1]))
    assert stream is not None
    known = STREAM._replace(connection="y", lifetime=70, position="e-1.a")
    assert stream._replace(head=b"") == known
    assert stream.head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream")
    assert b"\r\nX-Theirs: 1\r\n" in stream.head
    assert stream.head.count(b"Cache-Control") == 1


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


def test_the_position_may_be_anywhere() -> None:
    for name in "last_event_id", "lastEventId", "Last-Event-Id", "evs_last_event_id":
        asked = replace(make(), query=f"channel=a&{name}=e-2.b&channel=b", last_event_id="")
        stream = look(asked)
        assert stream is not None and stream.position == "e-2.b"


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


def test_nginx_says_that_a_browser_comes_back() -> None:
    request = b"GET /str%C3%A9am?a=b HTTP/1.0\r\nX-Push-Return: 1\r\n%b\r\n"
    asked = returns(request.replace(b"%b", b"Cookie: a=b\r\nLast-Event-ID: x\r\n"))
    assert asked == Asked("/stréam".encode(), "a=b", "a=b", "", "x")
    accepted = returns(request.replace(b"%b", b"Accept-Encoding: gzip, br\r\n"))
    assert accepted is not None and accepted.accept_encoding == "gzip, br"
    assert returns(request.replace(b"X-Push-Return: 1\r\n%b", b"")) is None
    assert returns(b"POST" + request[3:].replace(b"%b", b"")) == Asked(b"", "")


def test_without_a_secret_key_it_says_what_to_do(tmp_path: Path) -> None:
    app = Flask(__name__)
    app.config["PUSH_RETURN_TICKET"] = 60
    app.config["PUSH_RUN_DIR"] = tmp_path
    push = Push(app)
    with pytest.raises(RuntimeError, match="Set it to a long random text"):
        push.publish("a", "b")
    app.config["PUSH_HUB_PROCESSES"] = 2
    with pytest.raises(ValueError, match="Set one of them to its default"):
        Push(app)


# By way of nginx, as the page has it.


@pytest.fixture
def server(tmp_path: Path) -> cabc.Iterator[Server]:
    with serve(gunicorn, tmp_path, PUSH_RETURN_TICKET=60, PUSH_RETRY=0.5) as server:
        yield server


@pytest.fixture
def front(server: Server, tmp_path: Path) -> cabc.Iterator[Server]:
    front = nginx(tmp_path, server, CONFIG)
    yield front
    front.kill()


def come(front: Server, cookies: dict[str, str], last_id: str = "") -> Reader:
    """As a browser does, with its cookies, which the response changes."""
    said = "; ".join(f"{name}={value}" for name, value in cookies.items())
    reader = front.stream("a", last_id=last_id, headers={"Cookie": said}).opened()
    for line in reader.head.decode().split("\r\n"):
        name, _, value = line.partition(": ")
        if name.lower() == "set-cookie":
            key, _, rest = value.partition("=")
            cookies[key] = rest.partition(";")[0]
    return reader


def views(front: Server) -> int:
    """How many requests the app has answered, this one not."""
    return int(front.get("/torn-down"))


def test_a_browser_comes_back_without_its_view(front: Server) -> None:
    cookies: dict[str, str] = {}
    first = come(front, cookies)
    (cookie,) = re.findall(
        r"set-cookie: push_ticket=[\w.-]+; (.*)\r", first.head.decode(), re.I
    )
    for said in "Max-Age=60", "HttpOnly", "Path=/stream", "SameSite=Lax":
        assert f"; {said}" in f"; {cookie}"
    front.publish("a", "1")
    first.read_data(1)
    first.close()
    front.publish("a", "2")
    before = views(front)
    again = come(front, cookies, first.last_id)
    assert again.read_data(1) == ["2"] and not again.gaps
    assert views(front) == before + 1, "which was the question itself"
    assert "x-after-request: yes" in again.head.decode().lower()
    # With another session it is another user, perhaps.
    again.close()
    front.publish("a", "3")
    before = views(front)
    other = come(front, {**cookies, "session": "another"}, again.last_id)
    assert other.read_data(1) == ["3"]
    assert views(front) == before + 2


def test_a_compressed_stream_comes_back_so(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        config: dict[str, t.Any] = {"PUSH_RETURN_TICKET": 60, "PUSH_GZIP": True}
        server = stack.enter_context(serve(gunicorn, tmp_path, **config))
        front = nginx(tmp_path, server, CONFIG)
        stack.callback(front.kill)
        url = f"{front.url}/stream?channel=a"
        with Visit(url) as first:
            assert first.read(lambda: first.events, 20)
        cookies = re.findall(
            r"((?:session|push_ticket)=[^;]+)", first.headers["set-cookie"]
        )
        front.publish("a", "1")
        for encoding, asked in ("gzip", 0), ("identity", 1), ("br", 1):
            before = views(front)
            position, said = first.parser.last_event_id, f"Cookie: {'; '.join(cookies)}"
            with Visit(url, [said], encoding=encoding, position=position) as again:
                assert again.read(lambda visit=again: len(visit.events) == 2, 20)  # type: ignore[misc]
            assert again.events[1].data == "1"
            assert ("content-encoding" in again.headers) == (encoding == "gzip")
            assert views(front) == before + asked + 1, "which was the question itself"


def test_who_was_never_here_is_asked_by_the_view(front: Server) -> None:
    assert front.request("GET", "/stream?channel=a&status=403")[0] == 403
    assert front.request("POST", "/stream?channel=a", b"x")[0] == 405
    before = views(front)
    come(front, {}, "x-1").close()
    come(front, {"push_ticket": "nonsense.really"}, "x-1").close()
    assert views(front) == before + 3


def test_a_ticket_outlives_the_hub_that_gave_it(front: Server, tmp_path: Path) -> None:
    cookies: dict[str, str] = {}
    first = come(front, cookies)
    (pid,) = hubs(tmp_path)
    os.kill(pid, signal.SIGKILL)
    until(lambda: hubs(tmp_path) not in ([], [pid]) and status(tmp_path))
    front.publish("a", "1")
    before = views(front)
    again = come(front, cookies, first.last_id)
    assert again.read_data(1) == ["1"]
    assert views(front) == before + 1


def test_while_there_is_no_hub_the_view_is_asked(front: Server, tmp_path: Path) -> None:
    first = come(front, (cookies := {"a": "b"}))
    (tmp_path / "push-basic" / "accel.sock").unlink()
    before = views(front)
    come(front, cookies, first.last_id)
    assert views(front) == before + 2
