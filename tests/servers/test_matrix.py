"""Every server of the page *Servers*, started as it says, in each version it names."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.packages import environment
from support.packages import install
from support.reader import HttpReader
from support.servers import free_port
from support.servers import ROOT
from support.servers import serve
from support.servers import Server
from support.servers import TESTS
from support.servers import until

PAGE = (ROOT / "docs" / "servers.md").read_text()

VERSIONS = dict(
    (name, (oldest, newest))
    for name, oldest, newest in re.findall(
        r"^\| (\S+) \| (\d\S*) \| (\d\S*) \|$", PAGE, re.M
    )
)

# The packages that each section needs but does not name.
NEEDS = {
    "flask run": ["Flask", "Werkzeug"],
    "gunicorn": ["gunicorn", "gevent"],
    "gevent": ["gevent"],
    "waitress": ["waitress"],
    "uWSGI": ["pyuwsgi", "gevent"],
    "uWSGI behind nginx": ["pyuwsgi"],
    "cheroot": ["cheroot"],
    "wsgiref": [],
    "Tested versions": [],
}

# Programs that are not all Python, and what they have wheels for.
NEED_WHEELS = {"gevent", "pyuwsgi"}


@dataclass(frozen=True)
class Row:
    """One way to start one server."""

    section: str
    # A command line, or a program in Python.
    start: str
    packages: tuple[str, ...]
    nginx: str = ""
    hub: str | None = None

    def __str__(self) -> str:
        start = "" if "\n" in self.start else f": {self.start}"
        more = ["hub in a thread"] if self.hub else []
        return f"{self.section}{start} ({', '.join([*self.packages, *more])})"


def sections() -> dict[str, str]:
    found = re.split(r"^##+ (.*)\n", PAGE, flags=re.M)[1:]
    return dict(zip(found[::2], found[1::2], strict=True))


def starts(text: str) -> list[str]:
    blocks = re.findall(r"^```(?:console\n\$ (.*)|python\n((?:.*\n)+?))\n?```$", text, re.M)
    return [command or program for command, program in blocks]


def rows() -> cabc.Iterator[Row]:
    for section, text in sections().items():
        nginx = "".join(re.findall(r"^```nginx\n(.*?)```$", text, re.M | re.S))
        needs = NEEDS[section]
        for start in starts(text):
            for age in range(2) if needs else [1]:
                if age == 0 and NEED_WHEELS & {*needs} and sys.version_info >= (3, 13):
                    continue
                packages = [f"{name}=={VERSIONS[name][age]}" for name in needs]
                yield Row(section, start, tuple(packages), nginx)
        newest = tuple(f"{name}=={VERSIONS[name][1]}" for name in needs)
        for start in MORE.get(section, []):
            yield Row(section, start, newest)
        if "gevent" in needs:
            # With greenlets, a thread is not a thread of the system.
            (start, *_) = [start for start in starts(text) if "gevent" in start]
            yield Row(section, start, newest, hub="thread")
    yield Row("eventlet", EVENTLET, ("eventlet==0.41.3",), hub="thread")


# Not on the page: its authors advise against it. It is not patched, because it has no
# threads.
EVENTLET = """\
import warnings

warnings.simplefilter("ignore")
import eventlet.wsgi
from hello import app

eventlet.wsgi.server(eventlet.listen(("127.0.0.1", 8000)), app)
"""

UNPATCHED = """\
from gevent.pywsgi import WSGIServer
from hello import app

WSGIServer(("127.0.0.1", 8000), app).serve_forever()
"""

# Commands that the page mentions but does not write out. In the newest version.
MORE = {
    "flask run": [
        "flask --app hello run --port 8000 --without-threads",
        "flask --app hello run --port 8000 --debug",
    ],
    "gunicorn": ["gunicorn -k gevent_pywsgi hello:app"],
    "gevent": [UNPATCHED],
    "uWSGI": [
        "uwsgi --http11-socket 127.0.0.1:8000 --enable-threads -w hello:app",
        "uwsgi --http 127.0.0.1:8000 --gevent 100 -w hello:app",
    ],
}
ROWS = list(rows())


class Running(t.NamedTuple):
    """A server, the port whose clients the hub gets, and a stream that stays open."""

    row: Row
    server: Server
    port: int
    first: HttpReader


@pytest.fixture(scope="module", params=ROWS, ids=str)
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> cabc.Iterator[Running]:
    row: Row = request.param
    packages = [install(request.config, package) for package in row.packages]
    directory = tmp_path_factory.mktemp("server")
    (directory / "hello.py").write_text("from apps.basic import app\n")
    inner = free_port() if row.nginx else 0

    def command(_: str, port: int) -> list[str]:
        start = row.start.replace("8000", str(inner or port))
        if "\n" in start:
            (directory / "serve.py").write_text(start)
            return [sys.executable, "serve.py"]
        if inner:
            stack.enter_context(nginx(directory, row.nginx, port, inner))
        words = shlex.split(start)
        # This is where gunicorn listens by default.
        return [*words, "-b", f"127.0.0.1:{port}"] if words[0] == "gunicorn" else words

    with contextlib.ExitStack() as stack:
        # gunicorn has one file in the user's directory for all processes.
        env = {**environment(*packages, TESTS), "HOME": str(directory)}
        config: dict[str, t.Any] = {"PUSH_RELAY_MAX": 0, "PUSH_HUB": row.hub}
        # No heartbeat notices that a browser has disconnected.
        config["PUSH_HEARTBEAT"] = 3600
        server = stack.enter_context(
            serve(command, directory, env=env, cwd=directory, **config)
        )
        # nginx may answer before the server does.
        until(lambda: server.request("GET", "/ping")[0] == 200)
        # Between uWSGI's router and its workers.
        own = re.search(r"socket 0 bound to TCP address 127\.0\.0\.1:(\d+)", server.log)
        port = int(own[1]) if own else server.port
        yield Running(row, server, port, server.stream("first", "a").opened())


def descriptors(server: Server) -> int:
    """The sockets that the server's processes have open."""
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in processes(server))


def processes(server: Server) -> list[int]:
    found = [server.process.pid]
    for pid in found:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found


NGINX = """
daemon off;
pid nginx.pid;
error_log error.log;
events {{}}
http {{
    access_log off;
    # The tests' readers can't read chunks.
    chunked_transfer_encoding off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    uwsgi_temp_path uwsgi;
    fastcgi_temp_path fastcgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port};
        {locations}
    }}
}}
"""


@contextlib.contextmanager
def nginx(directory: Path, locations: str, port: int, inner: int) -> cabc.Iterator[None]:
    """In front of a server, as the page says."""
    locations = locations.replace("8000", str(inner))
    (directory / "nginx.conf").write_text(NGINX.format(port=port, locations=locations))
    shutil.copy("/etc/nginx/uwsgi_params", directory)
    path = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert path, "nginx is not installed"
    command = [path, "-p", str(directory), "-c", str(directory / "nginx.conf")]
    with subprocess.Popen([*command, "-e", "error.log"]) as process:
        try:
            yield
        finally:
            process.terminate()
    # nginx may run before the server does.
    lines = (directory / "error.log").read_text().splitlines()
    assert not [line for line in lines if "Connection refused" not in line], lines


def connections(port: int) -> int:
    """How many clients of a port still have an open socket at the server."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    found = [line.split() for line in lines]
    # ESTABLISHED, and CLOSE_WAIT: only the client has closed it.
    return sum(f[1].endswith(f":{port:04X}") and f[3] in ("01", "08") for f in found)


def test_more_streams_than_workers_receive_every_event_and_disconnect(
    running: Running,
) -> None:
    _, server, port, _ = running
    readers = [server.stream("a", "b").opened() for _ in range(12)]
    assert server.get("/ping") == "pong", "a worker is free"
    assert connections(port) >= 13
    for n in range(20):
        server.publish("ab"[n % 2], f"{n}")
    for reader in readers:
        assert reader.read_data(20) == [str(n) for n in range(20)]
        assert b"HTTP/1" not in reader.body, "nothing that the server has said"
        reader.close()
    until(lambda: connections(port) <= 1)
    assert server.get("/ping") == "pong"


def test_streams_leave_nothing_behind(running: Running) -> None:
    server = running.server
    held = descriptors(server)
    readers = [server.stream("c").opened() for _ in range(100)]
    for reader in readers:
        reader.close()
    # Fewer than one for each stream: those of workers that had no stream before.
    until(lambda: descriptors(server) < held + 50)


def test_the_response_is_flasks(running: Running) -> None:
    headers = running.first.headers
    assert running.first.status == 200
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert "session=" in headers["set-cookie"]
    assert headers["x-after-request"] == "yes"


def test_other_responses_are_sent_as_usual(running: Running) -> None:
    server = running.server
    status, headers, body = server.request("HEAD", "/stream?channel=a")
    assert (status, body) == (200, b"")
    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert server.request("GET", "/stream?channel=a&status=401")[0] == 401


def test_the_server_logs_no_problem_and_exits_soon(running: Running) -> None:
    row, server, _, first = running
    server.publish("first", "last")
    assert first.read_until(lambda r: "last" in r.data).data[-1] == "last"
    assert b"HTTP/1" not in first.body
    assert not re.search("error|traceback|exception|relayed", server.log, re.I), server.log
    # Not in the middle of a request, where wsgiref takes it for the app's error, and
    # gunicorn may lock itself out. For uWSGI, SIGTERM means to reload.
    time.sleep(0.1)
    graceful = signal.SIGTERM if row.section == "gunicorn" else signal.SIGINT
    assert server.stop(graceful) < 5
