"""Signed addresses on real servers: until when they are valid, whatever happens."""

from __future__ import annotations

import base64
import collections.abc as cabc
import contextlib
import json
import os
import re
import time
import typing as t
from pathlib import Path
from urllib.parse import parse_qs
from urllib.parse import urlsplit

import pytest
from support.asgi_servers import SERVERS
from support.hub_processes import replace
from support.nginx import granian
from support.nginx import nginx
from support.pages import DOCS
from support.reader import HttpReader
from support.redises import Redis
from support.servers import flask_run
from support.servers import gunicorn
from support.servers import kill_hubs
from support.servers import serve
from support.servers import Server
from support.servers import the_hub
from support.servers import until

PATH = "/push/stream"
CONFIG: dict[str, t.Any] = {"PUSH_STREAM_URL": PATH, "SECRET_KEY": "tests"}
CONFIG |= {"PUSH_RETRY": 0.5, "PUSH_HEARTBEAT": 0.5, "PUSH_RELAY_LIFETIME": 60}
#: The formats of the page, which leave out the query.
(GUNICORN_FORMAT,) = re.findall("--access-logformat '(.*?)'", DOCS["signed-addresses"])
(NGINX_FORMAT,) = re.findall("(log_format .*?;)\n", DOCS["signed-addresses"])


@contextlib.contextmanager
def behind_nginx(path: Path) -> cabc.Iterator[Server]:
    """Streams that nginx gets from the hub."""
    config = {**CONFIG, "PUSH_ACCEL": "/_push/"}
    with serve(granian, path, app="apps.logins", **config) as server:
        front = nginx(path, server)
        try:
            yield front
        finally:
            front.kill()


@contextlib.contextmanager
def on_redis(path: Path) -> cabc.Iterator[Server]:
    redis = Redis(path)
    config = {**CONFIG, "PUSH_BROKER_URL": redis.url}
    try:
        with serve(gunicorn, path, "-w", "2", app="apps.logins", **config) as server:
            yield server
    finally:
        redis.kill()


def started(command: t.Any, *more: str, app: str = "apps.logins", **config: t.Any) -> t.Any:
    return lambda path: serve(command, path, *more, app=app, **{**CONFIG, **config})


STARTS: dict[str, t.Any] = {
    "gunicorn": started(
        *(gunicorn, "-w", "2", "--access-logfile", "-"),
        *("--access-logformat", GUNICORN_FORMAT),
    ),
    "several hubs": started(gunicorn, "-w", "4", PUSH_HUB_PROCESSES=2),
    "threads": started(gunicorn, "-w", "2", PUSH_HUB="thread"),
    "redis": on_redis,
    "relays": started(granian),
    "flask run": started(flask_run),
    "asgi": started(
        SERVERS["uvicorn"], "--timeout-keep-alive", "0", app="apps.logins_asgi"
    ),
    "nginx": behind_nginx,
}


@pytest.fixture(params=STARTS, ids=lambda name: name.replace(" ", "-"))
def server(request: pytest.FixtureRequest, tmp_path: Path) -> cabc.Iterator[Server]:
    with STARTS[request.param](tmp_path) as server:
        yield server


@pytest.fixture
def workers(tmp_path: Path) -> cabc.Iterator[Server]:
    with STARTS["gunicorn"](tmp_path) as server:
        yield server


def sign(server: Server, **asked: t.Any) -> str:
    words = "&".join(f"{name}={value}" for name, value in {"user": "7", **asked}.items())
    url = server.get(f"/address?channel=a&{words}")
    assert urlsplit(url).path == PATH
    return parse_qs(urlsplit(url).query)["signed"][0]


def expires(signed: str) -> float:
    body = signed.split(".")[0]
    found: float = json.loads(base64.urlsafe_b64decode(body + "=="))["expires"]
    return found


def stream(server: Server, signed: str, **query: t.Any) -> HttpReader:
    return server.stream(path=PATH, signed=signed, **query)


def status(server: Server, signed: str) -> int:
    return server.request("GET", f"{PATH}?signed={signed}&poll=1")[0]


def hears(reader: HttpReader, type: str) -> None:
    """It gets an event of the type. Some servers keep its connection after that."""
    reader.read_until(lambda r: type in types(r))


def types(reader: HttpReader) -> list[str]:
    return [event.type for event in reader.events]


def test_a_stream_ends_with_its_address_and_resumes_by_another(server: Server) -> None:
    signed = sign(server, expires=2)
    reader = stream(server, signed).opened()
    server.publish("a", "1")
    assert reader.read_data(1) == ["1"]
    hears(reader, "push:expired")
    assert time.time() >= expires(signed), "not before"
    assert types(reader) == ["push:open", "message", "push:expired"]
    server.publish("a", "2")
    assert status(server, signed) == 410
    again = stream(server, sign(server), last_id=reader.last_id).opened()
    assert again.read_data(1) == ["2"] and not again.gaps


def test_a_disconnect_reaches_it_and_its_address(server: Server) -> None:
    signed = sign(server)
    reader = stream(server, signed).opened()
    other = sign(server, user="8")
    server.request("POST", "/disconnect", b'{"user": "7", "reason": "bye"}')
    hears(reader, "push:disconnect")
    assert status(server, signed) == 410
    assert status(server, other) == 200


def test_an_address_is_valid_in_each_process_and_after_the_server_has_restarted(
    workers: Server,
) -> None:
    signed = sign(workers)
    for _ in range(10):
        assert status(workers, signed) == 200
    workers.stop()
    workers.start()
    assert status(workers, signed) == 200


def test_a_hub_that_takes_over_ends_it_when_its_address_expires(
    workers: Server, tmp_path: Path
) -> None:
    signed = sign(workers, expires=4)
    reader = stream(workers, signed).opened()
    before = the_hub(tmp_path)
    replace(tmp_path)
    the_hub(tmp_path, before)
    assert time.time() < expires(signed)
    workers.publish("a", "1")
    assert reader.read_data(1) == ["1"], "the same stream"
    reader.read_to_end()
    assert time.time() >= expires(signed)
    assert types(reader) == ["push:open", "message", "push:expired"]


def test_a_stream_of_a_hub_that_was_killed_resumes_until_its_address_expires(
    workers: Server, tmp_path: Path
) -> None:
    signed = sign(workers, expires=6)
    reader = stream(workers, signed).opened()
    kill_hubs(tmp_path)
    reader.read_to_end()
    workers.publish("a", "1")

    def resumed() -> HttpReader | None:
        again = stream(workers, signed, last_id=reader.last_id)
        while not again.ended and not again.data:
            again.read()
        return None if again.ended else again

    again: HttpReader = until(resumed)
    again.read_to_end()
    assert types(again)[-1] == "push:expired" and time.time() >= expires(signed)


def test_return_tickets_are_not_given_to_it(tmp_path: Path) -> None:
    config = {**CONFIG, "PUSH_RETURN_TICKET": 3600}
    with serve(gunicorn, tmp_path, app="apps.logins", **config) as server:
        asked: dict[str, t.Any] = {"last_event_id": server.get("/position")}
        with contextlib.closing(stream(server, sign(server), **asked).opened()) as signed:
            assert b"push_ticket" not in signed.head
        with contextlib.closing(server.stream("a", **asked).opened()) as plain:
            assert b"push_ticket" in plain.head, "those of views are"


def logs(directory: Path) -> str:
    """All that is in the files of the directory."""
    found = []
    for path, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                found.append(Path(path, name).read_text(errors="replace"))
    return "\n".join(found)


def test_what_is_signed_is_in_no_file(workers: Server, tmp_path: Path) -> None:
    """Neither in a log, nor in the store, nor in anything else."""
    signed = sign(workers)
    stream(workers, signed).opened()
    assert status(workers, signed[:-1]) == 410
    until(lambda: f'"GET {PATH}" 410' in workers.log)
    workers.request("POST", "/disconnect", b'{"user": "7"}')
    assert signed[:40] not in logs(tmp_path)


def test_nginx_logs_no_query_with_the_format_of_the_page(
    workers: Server, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    config = f"""
        access_log {log};
        location / {{ proxy_pass http://127.0.0.1:8000; }}"""
    front = nginx(tmp_path, workers, config)
    path = tmp_path / "nginx.conf"
    front.kill()
    text = path.read_text().replace("access_log off;", NGINX_FORMAT)
    path.write_text(text.replace(f"{log};", f"{log} without_query;"))
    front.start()
    try:
        signed = sign(front)
        assert status(front, signed) == 200
        until(lambda: f'"GET {PATH}" 200' in log.read_text())
        assert signed[:40] not in logs(tmp_path)
    finally:
        front.kill()
