"""The servers that are measured."""

from __future__ import annotations

import typing as t
from dataclasses import replace
from pathlib import Path

from processes import find_program
from start import flask_push
from start import peers
from start.server import HOST
from start.server import Server
from start.server import SIZE

# The server in C, and Flask-Push.

#: Each event is a line, on a connection of its own, and nothing answers.
_LINE: dict[str, t.Any] = {"publish": "%C %D\n", "reply": "-", "publishers": 1}

BARE = Server("C", flask_push.bare, **_LINE, several_channels=True)
JOINED = replace(BARE, name="C, joined", start=lambda r: flask_push.bare(r, "batch"))
#: It loses one event, so that a test can check that the loader finds it.
LOSSY = replace(
    BARE, name="C, lossy", start=lambda r: flask_push.bare(r, "lossy"), hidden=True
)
HUB_ALONE = replace(BARE, name="Flask-Push, hub alone", start=flask_push.hub_alone)
FLASK_PUSH = Server("Flask-Push", flask_push.app, several_channels=True)
ON_REDIS = replace(
    FLASK_PUSH,
    name="Flask-Push on Redis",
    start=flask_push.app_on_redis,
    program="redis-server",
)
BEHIND_NGINX = Server(
    "Flask-Push behind nginx",
    flask_push.app_behind_nginx,
    package="nginx",
    program="nginx",
)
BY_TICKET = replace(
    BEHIND_NGINX,
    name="Flask-Push behind nginx, by ticket",
    start=lambda r: flask_push.app_behind_nginx(r, ticket=3600),
)
IN_BATCHES = Server(
    "Flask-Push, 100 a request",
    flask_push.app,
    publish=f"POST /publish_many {HOST}Content-Length: {100 * (SIZE + 7)}\r\n\r\n%D",
    publishers=1,
    batch=100,
)
IN_MEMORY = replace(
    IN_BATCHES,
    name="Flask-Push in memory, 100 a request",
    start=flask_push.app_in_memory,
)
IN_MEMORY_OF_UWSGI = replace(
    IN_BATCHES,
    name="Flask-Push in memory on uWSGI, 100 a request",
    start=flask_push.app_in_memory_of_uwsgi,
    package="pyuwsgi",
    program="pyuwsgi",
)

# Other servers.


def _json(before: str, after: str, start: str) -> str:
    """A request to publish whose body has this before and after the data."""
    names = before.replace("%C", "c0000") + after
    return f"{start}Content-Length: {len(names) + SIZE}\r\n\r\n{before}%D{after}"


def _resp(before: str, after: str) -> str:
    size = len(before) + len(after) + SIZE
    return f"*3\r\n$7\r\nPUBLISH\r\n$5\r\n%C\r\n${size}\r\n{before}%D{after}\r\n"


_GRIP = '{"items":[{"channel":"%C","formats":{"http-stream":{"content":"data: '

NCHAN = Server(
    "nchan",
    peers.nchan,
    package="libnginx-mod-nchan",
    program="/usr/lib/nginx/modules/ngx_nchan_module.so",
)
GO = Server("Go net/http", peers.go, package="golang-go", program="go")
NODE = Server("node", lambda r: peers.node(r, "node.mjs"), program="node")
BETTER = Server("better-sse", lambda r: peers.node(r, "better_sse.mjs"), program="node")
PUSHPIN = Server(
    "Pushpin",
    peers.pushpin,
    stream="/grip?channel=%C",
    publish=_json(_GRIP, '\\n\\n"}}}]}', f"POST /publish/ {HOST}"),
    most_readers=1000,
    # If more connect at a time, it drops some of them.
    at_once=5,
    package="pushpin",
    program="pushpin",
)
AIOHTTP = Server("aiohttp-sse", peers.aiohttp)
STARLETTE = Server("sse-starlette", lambda r: peers.uvicorn(r, "sse_starlette_app"))
DJANGO = Server(
    "django-eventstream", lambda r: peers.uvicorn(r, "django_app"), most_readers=1000
)
FLASK_SSE = Server(
    "Flask-SSE",
    peers.flask_sse,
    publish=_resp('{"data": "', '"}'),
    reply="line",
    publishers=1,
    most_readers=1000,
    sends_head_late=True,
    at_once=1000,
    program="redis-server",
)

PEERS = [NCHAN, GO, NODE, BETTER, PUSHPIN, AIOHTTP, STARLETTE, DJANGO, FLASK_SSE]


def missing(server: Server) -> str:
    """The package or program without which it can't be measured."""
    program = server.program
    if not program or find_program(program) or Path(program).exists():
        return ""
    return server.package or program
