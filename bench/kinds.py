"""The servers that are measured, each in the configuration that is best for it."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import typing as t
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

from machine import Answer
from machine import CACHE
from machine import CPUS
from machine import find_program
from machine import free_port
from machine import Group
from machine import HERE
from machine import Loader

#: Bytes of an event's data.
SIZE = 150
_PACKAGES = (
    *("flask-sse", "hiredis", "gevent", "gunicorn", "packaging"),
    *("sse-starlette", "starlette", "uvicorn", "uvloop", "httptools"),
    *("aiohttp", "aiohttp-sse", "django", "django-eventstream"),
)
_BODY = f"Content-Length: {SIZE}\r\n\r\n%D"
_HOST = "HTTP/1.1\r\nHost: localhost\r\n"


@dataclass(frozen=True)
class Kind:
    """How one sort of server is started and spoken to."""

    name: str
    start: cabc.Callable[[Running], None]
    stream: str = "/stream?channel=%C"
    publish: str = f"POST /publish?channel=%C {_HOST}{_BODY}"
    #: What it says when it has published: a response, a line, or nothing.
    reply: str = "http"
    #: Connections that publish, where order is kept on each channel only.
    publishers: int = 8
    #: Events in each request to publish.
    batch: int = 1
    #: Readers that may connect at once.
    at_once: int = 500
    #: Readers that it can hold on one processor, within the minute.
    most: int = 20_000
    #: Whether a stream may have several channels, and whether a reader is replayed to.
    several: bool = False
    replays: bool = False
    #: Whether it says nothing before the first event, not even a head.
    silent: bool = False
    #: Whether it is measured only when it is named.
    hidden: bool = False
    #: A Debian package, and what of it has to be there.
    package: str = ""
    program: str = ""


@dataclass
class Running:
    """A server that runs, and its loader."""

    kind: Kind
    group: Group
    directory: Path
    readers: int
    channels: int = 1
    per: int = 1
    #: The configuration of an app of ours.
    config: dict[str, t.Any] = field(default_factory=dict)
    #: Another version of ours, if not this one: what is to be imported from.
    source: str = ""
    #: More arguments of gunicorn for an app of ours.
    workers: tuple[str, ...] = ("--worker-class", "gthread", "--threads", "4")
    #: Whether another server of the app's is published to.
    apart: bool = False
    port: int = 0
    publish_port: int = 0

    def loader(self, path: str = "", readers: int | None = None) -> Loader:
        """Another one for this server: on its streams, or for requests of a path."""
        close = "Connection: close\r\n" if path else "Accept: text/event-stream\r\n%I"
        request = f"GET {path or self.kind.stream} {_HOST}{close}\r\n"
        publishers = 1 if self.channels == 1 else self.kind.publishers
        return Loader(
            *(self.port, request, "&channel=", self.publish_port, self.kind.publish),
            *(self.kind.reply[0], self.readers if readers is None else readers),
            *(self.channels, self.per, SIZE, publishers, self.kind.batch),
        )

    def come(self, loader: Loader, readers: int, seconds: float = 60) -> Answer:
        """Have readers connect, no more at once than a server's queue takes."""
        seconds = 3 if self.kind.silent else seconds
        return loader.do("come", readers, self.kind.at_once, seconds)

    def end(self) -> None:
        self.group.end()
        shutil.rmtree(self.directory, ignore_errors=True)


def start(kind: Kind, readers: int, **more: t.Any) -> Running:
    directory = Path(tempfile.mkdtemp(prefix="flask-push-bench-"))
    running = Running(kind, Group(directory / "log"), directory, readers, **more)
    running.port, running.publish_port = free_port(), free_port()
    try:
        kind.start(running)
    except BaseException:
        running.end()
        raise
    return running


# Ours, and the measure.


def _bare(running: Running, *more: str) -> None:
    words = [str(CACHE / "bare"), str(running.port), str(running.publish_port), *more]
    running.group.start(words, running.port)


def _direct(running: Running) -> None:
    words = [sys.executable, str(HERE / "apps" / "direct.py")]
    words += [str(running.port), str(running.publish_port)]
    running.group.start(words, running.port, env=_version(running))


def _version(running: Running) -> dict[str, str]:
    return {"PYTHONPATH": running.source} if running.source else {}


def _ours(running: Running, redis: bool = False) -> None:
    config = {**running.config}
    if redis:
        config["PUSH_BROKER_URL"] = f"redis://127.0.0.1:{_redis(running)}"
    env = {f"FLASK_{key}": json.dumps(value) for key, value in config.items()}
    env |= {"INSTANCE": str(running.directory), **_version(running)}
    command = [sys.executable, "-m", "gunicorn", "--no-control-socket"]
    command += ["--backlog", "4096", "--keep-alive", "600", *running.workers, "app:app"]
    if not running.apart:
        running.publish_port = running.port
    # A view that computes is to be in the hub's way by what they share, not by where it is.
    cpus = CPUS if running.apart else None
    for port in {running.port, running.publish_port}:
        bound = [*command, "-b", f"127.0.0.1:{port}"]
        running.group.start(bound, port, HERE / "apps", env, cpus)


_FRONT = """\
daemon off; worker_processes 2; worker_rlimit_nofile 20000; {user}
pid {directory}/pid; error_log {directory}/error.log;
events {{ worker_connections 19900; }}
http {{
    access_log off;
    client_body_temp_path {directory}/1; proxy_temp_path {directory}/2;
    fastcgi_temp_path {directory}/3; uwsgi_temp_path {directory}/4;
    scgi_temp_path {directory}/5;
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_read_timeout 1h;
    proxy_set_header Host $host;
    server {{
        listen 127.0.0.1:{port} backlog=4096 reuseport;
        location / {{ proxy_pass http://127.0.0.1:{app}; }}
        location = /stream {{
            error_page 421 502 504 = @app;
            proxy_pass http://unix:{directory}/run/accel.sock;
            proxy_intercept_errors on;
            proxy_set_header Host $host; proxy_set_header X-Push-Return 1;
        }}
        location @app {{ proxy_pass http://127.0.0.1:{app}; }}
    }}
}}
"""


def _behind_nginx(running: Running, ticket: float = 0) -> None:
    """The app with nginx in front of it, as the page on return tickets has it."""
    front, running.port = running.port, free_port()
    running.config["PUSH_RUN_DIR"] = str(running.directory / "run")
    running.config |= {"PUSH_RETURN_TICKET": ticket, "SECRET_KEY": "bench"}
    _ours(running)
    path = running.directory / "nginx.conf"
    # Its workers are the user's who measures, and so is the run directory.
    user = "user root;" if os.geteuid() == 0 else ""
    given = {"directory": running.directory, "app": running.port, "user": user}
    path.write_text(_FRONT.format(**given, port=front))
    words = ["nginx", "-p", str(running.directory), "-c", str(path)]
    running.group.start(words, front)
    running.port = front


def _in_memory(running: Running) -> None:
    """What one worker holds by itself, as nchan, Go and node hold it."""
    running.config["PUSH_BROKER_URL"] = "memory:"
    _ours(running)


def _redis(running: Running) -> int:
    port = free_port()
    words = ["redis-server", "--port", str(port), "--save", "", "--maxclients", "19000"]
    # Readers and publishers come from all of 127.0.0.0/8.
    words += ["--protected-mode", "no"]
    words += ["--client-output-buffer-limit", "pubsub", "0", "0", "0"]
    running.group.start([*words, "--dir", str(running.directory)], port)
    return port


# Others.


@functools.cache
def _python() -> Path:
    """A Python of its own, with what only peers need."""
    python = CACHE / "venv" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", CACHE / "venv"], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *_PACKAGES], check=True)
    return python


def _uvicorn(running: Running, app: str) -> None:
    words = [str(_python()), "-m", "uvicorn", "--no-access-log", "--log-level", "error"]
    words += ["--backlog", "4096", "--timeout-keep-alive", "600"]
    words += ["--port", str(running.port), f"{app}:app"]
    running.group.start(words, running.port, HERE / "peers")
    running.publish_port = running.port


def _flask_sse(running: Running) -> None:
    running.publish_port = _redis(running)
    words = [str(_python()), "-m", "gunicorn", "--no-control-socket", "--backlog", "4096"]
    words += ["-k", "gevent", "--worker-connections", "20000"]
    words += ["-b", f"127.0.0.1:{running.port}", "flask_sse_app:app"]
    env = {"REDIS_URL": f"redis://127.0.0.1:{running.publish_port}"}
    running.group.start(words, running.port, HERE / "peers", env)


def _aiohttp(running: Running) -> None:
    words = [str(_python()), "aiohttp_sse_app.py", str(running.port)]
    running.group.start(words, running.port, HERE / "peers")
    running.publish_port = running.port


def _node(running: Running, script: str) -> None:
    # It looks for packages beside the script, so the script goes to the packages.
    path = shutil.copy(HERE / "peers" / script, CACHE)
    if script == "better_sse.mjs" and not (CACHE / "node_modules" / "better-sse").exists():
        words = ["npm", "--prefix", str(CACHE), "install", "--no-audit", "--no-fund"]
        subprocess.run([*words, "--no-package-lock", "better-sse"], check=True)
    running.group.start(["node", path, str(running.port)], running.port)
    running.publish_port = running.port


def _go(running: Running) -> None:
    program, source = CACHE / "hub", HERE / "peers" / "hub.go"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["go", "build", "-o", program, source], check=True)
    env = {"GOMAXPROCS": "1"}
    running.group.start([program, str(running.port)], running.port, env=env)
    running.publish_port = running.port


_NGINX = """\
load_module /usr/lib/nginx/modules/ngx_nchan_module.so;
daemon off; worker_processes 1; worker_rlimit_nofile 20000;
pid {directory}/pid; error_log {directory}/error.log;
events {{ worker_connections 19900; }}
http {{
    access_log off; keepalive_timeout 600; keepalive_requests 100000000;
    client_body_temp_path {directory}/1; proxy_temp_path {directory}/2;
    fastcgi_temp_path {directory}/3; uwsgi_temp_path {directory}/4;
    scgi_temp_path {directory}/5;
    nchan_max_reserved_memory 512M;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /stream {{
            nchan_subscriber eventsource; nchan_channel_id $arg_channel;
            nchan_subscriber_first_message newest;
        }}
        location = /publish {{
            nchan_publisher; nchan_channel_id $arg_channel;
            nchan_message_buffer_length 200; nchan_message_timeout 1h;
        }}
        location = /grip {{
            default_type text/event-stream;
            add_header Grip-Hold stream; add_header Grip-Channel $arg_channel;
            return 200 ":\\n\\n";
        }}
    }}
}}
"""


def _nginx(running: Running, port: int) -> None:
    path = running.directory / "nginx.conf"
    path.write_text(_NGINX.format(directory=running.directory, port=port))
    words = ["nginx", "-p", str(running.directory), "-c", str(path)]
    running.group.start(words, port)


def _nchan(running: Running) -> None:
    _nginx(running, running.port)
    running.publish_port = running.port


_ZURL = """\
[General]
in_spec=ipc://{directory}/zurl-in
in_stream_spec=ipc://{directory}/zurl-in-stream
out_spec=ipc://{directory}/zurl-out
in_req_spec=ipc://{directory}/zurl-req
max_open_requests=2000
timeout=600
"""

_PUSHPIN = """\
[global]
include={{libdir}}/internal.conf
rundir={directory}
ipc_prefix=p
port_offset=0
stats_connection_ttl=120
[runner]
services=condure,pushpin-proxy,pushpin-handler
http_port=127.0.0.1:{port}
client_maxconn=19000
client_buffer_size=4096
logdir={directory}
log_level=0
[proxy]
zurl_out_specs=ipc://{directory}/zurl-in
zurl_out_stream_specs=ipc://{directory}/zurl-in-stream
zurl_in_specs=ipc://{directory}/zurl-out
routesfile={directory}/routes
accept_x_forwarded_protocol=false
set_x_forwarded_protocol=proto-only
[handler]
push_in_http_addr=127.0.0.1
push_in_http_port={publish_port}
message_rate=1000000
message_hwm=1000000
"""


def _pushpin(running: Running) -> None:
    origin = free_port()
    _nginx(running, origin)
    given = {"directory": running.directory, "port": running.port}
    text = _PUSHPIN.format(**given, publish_port=running.publish_port)
    (running.directory / "pushpin.conf").write_text(text)
    (running.directory / "zurl.conf").write_text(_ZURL.format(**given))
    (running.directory / "routes").write_text(f"* 127.0.0.1:{origin}\n")
    zurl = ["zurl", f"--config={running.directory}/zurl.conf"]
    running.group.start(zurl, origin, cpus=CPUS)
    words = ["pushpin", "--config", str(running.directory / "pushpin.conf")]
    running.group.start(words, running.port, cpus=CPUS)
    # It listens before its parts know each other.
    deadline = time.monotonic() + 20
    while not _says_ok(f"http://127.0.0.1:{running.port}/grip?channel=none"):
        if time.monotonic() > deadline:
            raise RuntimeError("Pushpin does not answer.")
        time.sleep(0.1)


def _says_ok(url: str) -> bool:
    with contextlib.suppress(OSError), urlopen(url, timeout=2) as answer:
        return bool(answer.status == 200)
    return False


def _json(before: str, after: str, start: str) -> str:
    """A request to publish whose body is this around the data."""
    names = before.replace("%C", "c0000") + after
    return f"{start}Content-Length: {len(names) + SIZE}\r\n\r\n{before}%D{after}"


def _resp(before: str, after: str) -> str:
    size = len(before) + len(after) + SIZE
    return f"*3\r\n$7\r\nPUBLISH\r\n$5\r\n%C\r\n${size}\r\n{before}%D{after}\r\n"


_LINE: dict[str, t.Any] = {"publish": "%C %D\n", "reply": "-", "publishers": 1}
_GRIP = '{"items":[{"channel":"%C","formats":{"http-stream":{"content":"data: '

BARE = Kind("C", _bare, **_LINE, several=True)
BATCH = Kind("C, joined", lambda r: _bare(r, "batch"), **_LINE, several=True)
LOSSY = Kind("C, lossy", lambda r: _bare(r, "lossy"), **_LINE, hidden=True)
DIRECT = Kind("Flask-Push, hub alone", _direct, **_LINE, several=True)
OURS = Kind("Flask-Push", _ours, several=True, replays=True)
REDIS = Kind(
    "Flask-Push on Redis",
    lambda r: _ours(r, redis=True),
    several=True,
    replays=True,
    program="redis-server",
)
BEHIND = Kind(
    "Flask-Push behind nginx",
    _behind_nginx,
    replays=True,
    package="nginx",
    program="nginx",
)
TICKET = replace(
    BEHIND,
    name="Flask-Push behind nginx, by ticket",
    start=lambda r: _behind_nginx(r, ticket=3600),
)
BATCHES = Kind(
    "Flask-Push, 100 a request",
    _ours,
    publish=f"POST /publish_many {_HOST}Content-Length: {100 * (SIZE + 7)}\r\n\r\n%D",
    publishers=1,
    batch=100,
)
MEMORY = replace(
    BATCHES,
    name="Flask-Push in memory, 100 a request",
    start=_in_memory,
)
NCHAN = Kind(
    "nchan",
    _nchan,
    replays=True,
    package="libnginx-mod-nchan",
    program="/usr/lib/nginx/modules/ngx_nchan_module.so",
)
GO = Kind("Go net/http", _go, package="golang-go", program="go")
NODE = Kind("node", lambda r: _node(r, "node.mjs"), program="node")
BETTER = Kind("better-sse", lambda r: _node(r, "better_sse.mjs"), program="node")
PUSHPIN = Kind(
    "Pushpin",
    _pushpin,
    stream="/grip?channel=%C",
    publish=_json(_GRIP, '\\n\\n"}}}]}', f"POST /publish/ {_HOST}"),
    most=1000,
    # Of more, some are let go again.
    at_once=5,
    package="pushpin",
    program="pushpin",
)
AIOHTTP = Kind("aiohttp-sse", _aiohttp)
STARLETTE = Kind("sse-starlette", lambda r: _uvicorn(r, "sse_starlette_app"))
DJANGO = Kind("django-eventstream", lambda r: _uvicorn(r, "django_app"), most=1000)
FLASK_SSE = Kind(
    "Flask-SSE",
    _flask_sse,
    publish=_resp('{"data": "', '"}'),
    reply="line",
    publishers=1,
    most=1000,
    silent=True,
    at_once=1000,
    program="redis-server",
)

PEERS = [NCHAN, GO, NODE, BETTER, PUSHPIN, AIOHTTP, STARLETTE, DJANGO, FLASK_SSE]


def missing(kind: Kind) -> str:
    """What has to be there before it can be measured."""
    if not kind.program or find_program(kind.program) or Path(kind.program).exists():
        return ""
    return kind.package or kind.program
