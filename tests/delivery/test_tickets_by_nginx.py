"""Return tickets by way of nginx, as the page about them has it."""

from __future__ import annotations

import contextlib
import re
import typing as t
from pathlib import Path

from support.cookie_paths import PATHS
from support.nginx import nginx
from support.return_tickets import come
from support.return_tickets import CONFIG
from support.return_tickets import front as front
from support.return_tickets import server as server
from support.return_tickets import views
from support.servers import gunicorn
from support.servers import hubs
from support.servers import kill_hubs
from support.servers import serve
from support.servers import Server
from support.servers import status
from support.servers import until

from flask_push._doctor.browser import BrowserRequest
from flask_push.client.address import Address

# By way of nginx, as the page has it.


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
        with BrowserRequest(Address(url)) as first:
            assert first.read(lambda: first.events, 20)
        cookies = re.findall(
            r"((?:session|push_ticket)=[^;]+)", first.headers["set-cookie"]
        )
        front.publish("a", "1")
        for encoding, asked in ("gzip", 0), ("identity", 1), ("br", 1):
            before = views(front)
            position = first.parser.last_event_id
            address = Address(url, {"Cookie": "; ".join(cookies)})
            with BrowserRequest(address, encoding=encoding, position=position) as again:
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
    (pid,) = kill_hubs(tmp_path)
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


def sends_cookie(path: str, of_cookie: str) -> bool:
    """Whether a browser sends a cookie there (RFC 6265, 5.1.4)."""
    return path == of_cookie or (
        path.startswith(of_cookie) and (of_cookie[-1] == "/" or path[len(of_cookie)] == "/")
    )


def test_a_ticket_is_sent_back_and_good_whatever_its_path(
    server: Server, tmp_path: Path
) -> None:
    front = nginx(tmp_path, server, CONFIG.replace("location = /stream", "location /at/"))
    try:
        for path in PATHS:
            first = front.stream(path=path).opened()
            ((ticket, where),) = re.findall(
                r"^set-cookie: push_ticket=([^;]+);.*; path=(.*?)\r$",
                first.head.decode(),
                re.I | re.M,
            )
            assert sends_cookie(path, where), (path, where)
            before = views(front)
            headers = {"Cookie": f"push_ticket={ticket}"}
            again = front.stream(path=path, last_id=first.last_id, headers=headers).opened()
            assert again.status == 200
            assert views(front) == before + 1, (path, "which was the question itself")
    finally:
        front.kill()


def test_a_page_of_another_origin_is_answered_by_the_view(front: Server) -> None:
    cookies: dict[str, str] = {}
    origins = "https://a.test", "https://b.test"
    first = come(front, cookies, origin=origins[0])
    assert first.headers["access-control-allow-origin"] == origins[0]
    for origin, asked in (origins[0], 0), (origins[1], 1):
        before = views(front)
        again = come(front, dict(cookies), first.last_id, origin)
        assert again.headers["access-control-allow-origin"] == origin
        assert views(front) == before + asked + 1, "which was the question itself"


def test_an_app_is_not_opened_by_the_ticket_of_another(tmp_path: Path) -> None:
    """With the same secret, at the same address, before the same nginx."""
    with contextlib.ExitStack() as stack:
        fronts = []
        for name in "one", "two":
            directory = tmp_path / name
            directory.mkdir()
            config: dict[str, t.Any] = {"PUSH_RETURN_TICKET": 60, "PUSH_RETRY": 0.5}
            server = stack.enter_context(serve(gunicorn, directory, **config))
            fronts.append(nginx(directory, server, CONFIG))
            stack.callback(fronts[-1].kill)
            # So that the hub knows the keys.
            come(fronts[-1], {}).close()
        cookies: dict[str, str] = {}
        first = come(fronts[0], cookies)
        for front, asked in zip(fronts, (0, 1), strict=True):
            before = views(front)
            come(front, dict(cookies), first.last_id)
            assert views(front) == before + asked + 1, "which was the question itself"
