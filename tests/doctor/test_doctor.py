"""The doctor meets real servers and proxies, well and ill."""

from __future__ import annotations

import ast
import collections.abc as cabc
import contextlib
import functools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import typing as t
from pathlib import Path
from string import Formatter

import pytest
from flask import Flask
from support.certificates import certificate
from support.hub_processes import flask_push
from support.nginx import nginx
from support.pages import DOCS
from support.redises import Redis
from support.servers import free_port
from support.servers import gunicorn
from support.servers import ROOT
from support.servers import serve
from support.servers import Server
from support.servers import until

from flask_push import NotPublished
from flask_push import Position
from flask_push import Publisher
from flask_push import Push
from flask_push._cli import push as commands
from flask_push._delivery import gzip
from flask_push._delivery import wire
from flask_push._doctor import stream as _doctor
from flask_push._doctor.finding import Finding
from flask_push._doctor.finding import problem
from flask_push._doctor.finding import PROBLEMS
from flask_push._doctor.problem import ANY
from flask_push._doctor.problem import APACHE
from flask_push._doctor.problem import CADDY
from flask_push._doctor.problem import HAPROXY
from flask_push._doctor.problem import NGINX
from flask_push._ipc.files import HubFiles
from flask_push._ipc.messages import Messages
from flask_push._ipc.version import version
from flask_push._system import rundir
from flask_push.brokers.redis import RedisBroker

PAGE = DOCS["doctor"]

__all__ = ["certificate"]


class Said(dict[str, Finding]):
    """Findings by their names."""

    code = 0

    @property
    def wrong(self) -> list[str]:
        return [name for name, finding in self.items() if finding.level != "ok"]


@pytest.fixture
def ask(tmp_path: Path) -> cabc.Callable[..., Said]:
    """Run the command in the app of the servers, with this configuration."""

    def ask(*words: str, **config: t.Any) -> Said:
        app = Flask("basic", instance_path=str(tmp_path))
        app.config.update(config)
        Push(app)
        done = app.test_cli_runner().invoke(commands, ["doctor", "--json", *words])
        assert done.exit_code in (0, 1), done.output
        said = Said()
        for found in json.loads(done.stdout):
            finding = Finding(**{**found, "cures": tuple(found["cures"])})
            assert finding.name not in said, finding
            assert bool(finding.cures) == (finding.level != "ok"), finding
            said[finding.name] = finding
        said.code = done.exit_code
        assert said.code == any(finding.level == "error" for finding in said.values())
        return said

    return ask


Ask = cabc.Callable[..., Said]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held back shows in a second as well as in five."""
    monkeypatch.setattr(_doctor, "_ANSWER_SECONDS", 1.0)


@contextlib.contextmanager
def proxied(directory: Path, server: Server, *lines: str) -> cabc.Iterator[str]:
    """The URL of a stream behind nginx, which has these lines too."""
    more = " ".join(lines)
    config = f"location / {{ proxy_pass http://127.0.0.1:8000; {more} }}"
    front = nginx(directory, server, config)
    try:
        yield f"{front.url}/stream?channel=a"
    finally:
        front.kill()


ZIPPED = "gzip on; gzip_proxied any; gzip_types text/event-stream;"
IGNORED = "proxy_ignore_headers X-Accel-Buffering;"


# All is well.


def test_a_healthy_app_is_told_so(tmp_path: Path, ask: Ask) -> None:
    with serve(gunicorn, tmp_path, "-w", "2", PUSH_HEARTBEAT=0.5) as server:
        server.publish("a", "1", "2")
        said = ask(f"{server.url}/stream?channel=a", PUSH_HEARTBEAT=0.5)
        assert said.code == 0 and not said.wrong, said
        assert list(said) == [
            *("versions", "directory", "store", "hub", "limits"),
            *("server", "head", "stream", "events", "resume", "heartbeat"),
        ]
        assert "gunicorn" in said["server"].what
        assert "HTTP/1.1 200" in said["head"].what
        assert "the 2 events" in said["resume"].what
        assert re.search(r"[0-9a-zA-Z]{5}\.$", said["store"].what), "its epoch"
        said = ask()
        assert re.match(r"Process \d+, version .*, \d streams", said["hub"].what)
        assert not re.search("error|traceback", server.log, re.I), server.log


def test_the_doctor_disturbs_nobody_and_leaves_nothing(tmp_path: Path, ask: Ask) -> None:
    with serve(gunicorn, tmp_path) as server:
        reader = server.stream("a").opened()
        said = ask("--quick", f"{server.url}/stream?channel=a")
        assert said["events"].level == "ok"
        server.publish("a", "x")
        assert reader.read_data(1) == ["x"]
        types = {event.type for event in reader.events}
        assert types == {"push:open", "push:doctor", "message"}
        assert json.loads(server.get("/history?channel=a"))["events"][0]["data"] == "x"
        late = server.stream("a", last=100)
        assert late.read_data(1) == ["x"]
        assert not [event for event in late.events if event.type == "push:doctor"]


def test_without_a_url_it_looks_only_and_makes_nothing(tmp_path: Path, ask: Ask) -> None:
    said = ask()
    assert said.code == 0 and not said.wrong
    assert not any(tmp_path.iterdir())


def test_it_reads_as_text_too(tmp_path: Path) -> None:
    text = flask_push(tmp_path, "doctor")
    assert re.search(rf"^ok     versions: Flask-Push {re.escape(version())}, ", text, re.M)


def test_what_it_is_asked_has_to_make_sense(tmp_path: Path) -> None:
    app = Flask("basic", instance_path=str(tmp_path))
    Push(app)
    for words in (
        *(["/stream"], ["--header", "Cookie", "http://x/"], ["http://x:99999/"]),
        *(["http://me:s3cret@x/"], ["http://[s3cret/"], ["http://a..s3cret/"]),
        *(["--header", "Authorization s3cret", "http://x/"], ["s3cret"]),
    ):
        done = app.test_cli_runner().invoke(commands, ["doctor", *words])
        assert done.exit_code == 2, done.output
        assert "s3cret" not in done.output


# The way to it.


def test_nginx_that_buffers_is_named_with_its_directive(
    tmp_path: Path, ask: Ask, impatient: None
) -> None:
    with serve(gunicorn, tmp_path) as server, proxied(tmp_path, server, IGNORED) as url:
        said = ask(url)
        assert said.wrong == ["buffered"] and said.code == 1
        assert "nginx" in said["proxy"].what
        assert said["buffered"].cures[0].startswith("proxy_buffering off;")
    for line in IGNORED + " proxy_buffering off;", "":
        with serve(gunicorn, tmp_path) as server, proxied(tmp_path, server, line) as url:
            assert not ask("--quick", url).wrong, "the cure cures"


def test_nginx_that_compresses_and_buffers_is_found(
    tmp_path: Path, ask: Ask, impatient: None
) -> None:
    lines = IGNORED, ZIPPED
    with serve(gunicorn, tmp_path) as server, proxied(tmp_path, server, *lines) as url:
        assert ask(url).wrong == ["buffered"]
    # What comes in chunks is passed on by nginx, but not through its compressor.
    with serve(gunicorn, tmp_path, "--threads", "8", app="apps.relayed") as server:
        with proxied(tmp_path, server, "proxy_http_version 1.1;", *lines) as url:
            said = ask("--quick", url)
            assert "gzip" in said.wrong, said
            assert said["gzip"].cures[0].startswith("gzip off;")


def test_compression_that_holds_nothing_back_is_mentioned(tmp_path: Path, ask: Ask) -> None:
    with serve(gunicorn, tmp_path) as server, proxied(tmp_path, server, ZIPPED) as url:
        said = ask("--quick", url)
        assert said.wrong == ["compressed"] and said.code == 0
        assert said["events"].level == said["resume"].level == "ok"


def test_what_the_app_compresses_itself_is_no_trouble(tmp_path: Path, ask: Ask) -> None:
    with serve(gunicorn, tmp_path, PUSH_GZIP=True) as server:
        with proxied(tmp_path, server, ZIPPED) as url:
            for wrong, config in ([], {"PUSH_GZIP": True}), (["compressed"], {}):
                said = ask("--quick", url, **config)
                assert said.wrong == wrong and said.code == 0
                assert said["events"].level == said["resume"].level == "ok"


def test_a_timeout_below_the_heartbeat_is_found(tmp_path: Path, ask: Ask) -> None:
    with serve(gunicorn, tmp_path, PUSH_HEARTBEAT=4) as server:
        server.stream("a").opened()
        with proxied(tmp_path, server, "proxy_read_timeout 2s;") as url:
            said = ask(url, PUSH_HEARTBEAT=4)
    assert said.wrong == ["cut"]
    assert said["cut"].cures[0] == "proxy_read_timeout 60s;"
    (silent,) = re.findall(r"cut after (\d\.\d) seconds", said["cut"].what)
    assert 2 <= float(silent) < 4


def test_a_position_that_a_proxy_drops_is_missed(tmp_path: Path, ask: Ask) -> None:
    with serve(gunicorn, tmp_path) as server:
        with proxied(tmp_path, server, "proxy_set_header Last-Event-ID '';") as url:
            said = ask("--quick", url)
    assert said.wrong == ["not-resumed"]
    assert (
        "proxy_set_header Last-Event-ID $http_last_event_id;" in said["not-resumed"].cures
    )


def test_nginx_without_the_app_is_found(tmp_path: Path, ask: Ask) -> None:
    with serve(gunicorn, tmp_path) as server, proxied(tmp_path, server) as url:
        server.stop()
        said = ask(url)
    assert said.wrong == ["away"]
    assert "502" in said["away"].what
    assert said["away"].cures[0].startswith("error_page 502 503 504 = @later;")


def test_haproxy_that_waits_is_found(tmp_path: Path, ask: Ask) -> None:
    port = free_port()
    # It delays what comes in chunks, as a relay's does.
    with serve(gunicorn, tmp_path, "--threads", "8", app="apps.relayed") as server:
        # The first stream has to wait for the hub to begin.
        server.stream("a").opened()
        path = tmp_path / "haproxy.cfg"
        path.write_text(f"""
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen app
    bind 127.0.0.1:{port}
    server app 127.0.0.1:{server.port}
""")
        program = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin")
        assert program, "haproxy is missing: tests/install haproxy"
        command = [program, "-db", "-f", str(path)]
        front = Server(command, port, tmp_path / "haproxy.log", {}, tmp_path)
        try:
            said = ask("--quick", f"{front.url}/stream?channel=a")
        finally:
            front.kill()
    assert said.wrong == ["relayed", "late"]
    assert "HAProxy: option http-no-delay" in said["late"].cures


def test_refusals_are_told_apart(tmp_path: Path, ask: Ask) -> None:
    with serve(gunicorn, tmp_path) as server:
        for query, name in {
            "/stream?status=401": "denied",
            "/stream?status=403": "denied",
            "/stream?redirect=/ping": "denied",
            "/stream?status=500": "failed",
            "/stream?status=503": "away",
            "/nowhere": "missing",
            "/ping": "type",
        }.items():
            said = ask(server.url + query)
            assert said.wrong == [name], query
            assert said.code == 1
        assert "--header" in problem("denied", status=403, more="").cures[0]
        assert ask(f"{server.url}/stream").wrong == ["failed"], "a stream of no channel"


def test_headers_are_sent_with_each_request(ask: Ask) -> None:
    with canned(lambda request: b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n") as it:
        said = ask("--header", "Cookie: session=x", it.url, PUSH_BROKER_URL="memory:")
    assert "denied" in said
    assert it.requests and all(b"\r\nCookie: session=x\r\n" in r for r in it.requests)


def test_no_server_is_no_traceback(ask: Ask) -> None:
    said = ask(f"http://127.0.0.1:{free_port()}/stream")
    assert said.wrong == ["unreachable"]
    assert "Connection refused" in said["unreachable"].what


def test_a_server_without_tls_is_found(ask: Ask) -> None:
    with canned(lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n") as it:
        said = ask(it.url.replace("http:", "https:"), PUSH_BROKER_URL="memory:")
    assert ill(said) == ["tls"]
    assert said["tls"].cures[0].startswith("http://")


def test_a_server_that_says_nothing_is_found(ask: Ask, impatient: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        said = ask(f"http://127.0.0.1:{sock.getsockname()[1]}/stream")
    assert said.wrong == ["silent"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "it closed the connection"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "what came is not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000, "its head has more than 65,536 bytes"),
    ],
)
def test_a_server_that_speaks_something_else_is_found(
    ask: Ask, answer: bytes, why: str
) -> None:
    with canned(lambda _: answer) as it:
        said = ask(it.url, PUSH_BROKER_URL="memory:")
    assert ill(said) == ["no-http"]
    assert said["no-http"].what.endswith(f"HTTP/1.1: {why}.")


def wsgiref(app: str, port: int) -> list[str]:
    code = (
        "from wsgiref.simple_server import make_server;"
        f"from {app} import app; make_server('127.0.0.1', {port}, app).serve_forever()"
    )
    return [sys.executable, "-c", code]


def test_a_relay_is_told_with_its_reason(tmp_path: Path, ask: Ask) -> None:
    with serve(wsgiref, tmp_path, app="apps.relayed") as server:
        said = ask("--quick", f"{server.url}/stream?channel=a")
        assert said.wrong == ["relayed"]
        assert said.code == 0
        assert "does not give us the client's socket" in said["relayed"].what
        assert said["resume"].level == "ok", "though this server can do one thing at a time"


def test_tls_in_the_server_is_told(
    tmp_path: Path, ask: Ask, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    names = [f"--{name}file={certificate}/{name}" for name in ("cert", "key")]
    url = f"https://localhost:{port}/stream?channel=a"

    def command(app: str, _: int, *more: str) -> list[str]:
        return [*gunicorn(app, port, "--threads=8", *names, *more)]

    with serve_tls(command, tmp_path, port):
        said = ask("--quick", url)
        assert said.wrong == ["certificate"]
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert"))
        said = ask("--quick", url)
        assert said.wrong == ["http1", "relayed"], said
        assert "TLS ends in this server" in said["relayed"].what


@contextlib.contextmanager
def serve_tls(
    command: cabc.Callable[..., list[str]], directory: Path, port: int
) -> cabc.Iterator[None]:
    class TLS(Server):
        def answers(self) -> bool:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                return True
            return False

    env = {"INSTANCE": str(directory)}
    server = TLS(command("apps.basic", port), port, directory / "log", env)
    try:
        yield
    finally:
        server.kill()
        from support.servers import end_hubs

        end_hubs(directory)


# The hub and the store.


def test_a_hub_in_a_thread_is_told(tmp_path: Path, ask: Ask) -> None:
    with serve(gunicorn, tmp_path, PUSH_HUB="thread") as server:
        url = f"{server.url}/stream?channel=a"
        assert ask("--quick", url, PUSH_HUB="thread").wrong == ["thread"]
        said = ask("--quick", url)
        assert said.wrong == ["elsewhere"], "the app here means it to be a process"
        assert "hub.log" in said["elsewhere"].cures[0]


def test_a_stream_that_is_turned_away_is_found(tmp_path: Path, ask: Ask) -> None:
    with serve(gunicorn, tmp_path, PUSH_MAX_STREAMS=1) as server:
        server.stream("a").opened()
        said = ask(f"{server.url}/stream?channel=a")
    assert said.wrong == ["turned-away"]


def test_a_hub_that_is_not_there_is_found(tmp_path: Path, ask: Ask) -> None:
    door = str(tmp_path / "x.sock")
    with serve(gunicorn, tmp_path, PUSH_HUB=door) as server:
        said = ask(f"{server.url}/stream?channel=a", PUSH_HUB=door)
    assert said.wrong == ["no-hub", "turned-away"]
    assert said["no-hub"].cures == (f"flask push hub --socket {door}",)


def test_a_hub_that_does_not_answer_is_found(tmp_path: Path, ask: Ask) -> None:
    directory = tmp_path / "push-basic"
    directory.mkdir(0o700)
    lock = HubFiles.of(directory).try_lock()
    assert lock is not None
    assert ask().wrong == ["stuck"]
    os.close(lock)
    assert not ask().wrong


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"status": 1},
        {"status": {}},
        {"status": {"pid": 1}},
        {"status": {"pid": "1", "version": "0"}},
        {"status": {"pid": 1, "version": 0}},
        {"status": {"pid": 1, "version": "0", "streams": "many"}},
        {"status": {"pid": 1, "version": "0", "position": 9}},
        b"\0\0\0\4\0null",
        b"\0\0\0\2\0[]",
        b"\0\0\0\1\0{",
        b"\0\0\0\1\0\xff",
        b"\xff\xff\xff\xff\0",
        b"",
    ],
)
def test_what_answers_like_no_hub_is_no_hub(
    tmp_path: Path, ask: Ask, answer: dict[str, t.Any] | bytes
) -> None:
    files = HubFiles(tmp_path / "x.sock")

    def hub() -> None:
        messages = Messages(door.accept()[0])
        messages.receive()
        if isinstance(answer, bytes):
            messages.sock.sendall(answer)
        else:
            messages.send(answer)
        messages.close()

    with files.listen() as door:
        thread = threading.Thread(target=hub)
        thread.start()
        assert ask(PUSH_HUB=str(files.sock)).wrong == ["no-hub"]
        thread.join()


def test_a_hub_of_another_version_is_told(tmp_path: Path, ask: Ask) -> None:
    files = HubFiles(tmp_path / "x.sock")

    def hub() -> None:
        messages = Messages(door.accept()[0])
        messages.receive()
        messages.send({"status": {"pid": os.getpid(), "version": "0.0.1"}})
        messages.close()

    with files.listen() as door:
        thread = threading.Thread(target=hub)
        thread.start()
        assert ask(PUSH_HUB=str(files.sock)).wrong == ["version"]
        thread.join()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_a_hub_of_another_user_is_found(tmp_path: Path, ask: Ask) -> None:
    files = HubFiles(tmp_path / "x.sock")
    with files.listen() as door:
        # Whoever listens is whose it is.
        code = f"import socket; s = socket.socket(fileno={door.fileno()}); s.listen()"
        code += "; print(flush=True); input()"
        with subprocess.Popen(
            ["python3", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[door.fileno()],
            user=65534,
            cwd="/",
        ) as other:
            assert other.stdout is not None and other.stdout.readline()
            os.chown(files.sock, 65534, -1)
            said = ask(PUSH_HUB=str(files.sock))
            other.communicate(b"\n")
    assert said.wrong == ["stranger"]
    assert "65534" in said["stranger"].what
    assert said["stranger"].cures[0].startswith("sudo -u nobody ")


def test_another_users_run_directory_is_found_and_left_alone(
    tmp_path: Path, ask: Ask
) -> None:
    directory = Path("/usr")
    if os.geteuid() == 0:
        directory = tmp_path / "theirs"
        directory.mkdir(0o700)
        os.chown(directory, 65534, -1)
    before = sorted(directory.iterdir())
    said = ask(PUSH_RUN_DIR=str(directory))
    assert said.wrong == ["owner"] and said.code == 1
    assert str(directory) in said["owner"].what
    assert said["owner"].cures[0].startswith("sudo -u ")
    assert sorted(directory.iterdir()) == before


def test_a_run_directory_that_can_not_be_is_found(
    tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    assert ask(PUSH_RUN_DIR=str(tmp_path / "file")).wrong == ["directory"]
    assert ask(PUSH_RUN_DIR=str(tmp_path / "file" / "x")).wrong == ["directory"]
    (tmp_path / "wide").mkdir()
    (tmp_path / "wide").chmod(0o777)
    said = ask(PUSH_RUN_DIR=str(tmp_path / "wide"))
    assert said.wrong == ["open"] and said.code == 1
    (tmp_path / "wide").chmod(0o770)
    said = ask(PUSH_RUN_DIR=str(tmp_path / "wide"))
    assert said.wrong == ["group"] and said.code == 0
    (tmp_path / "link").symlink_to(tmp_path / "wide")
    said = ask(PUSH_RUN_DIR=str(tmp_path / "link"))
    assert said.wrong == ["directory"] and "symbolic link" in said["directory"].what
    (tmp_path / "far").mkdir(0o700)
    monkeypatch.setattr(rundir, "_REMOTE", re.compile(""))
    assert ask(PUSH_RUN_DIR=str(tmp_path / "far")).wrong == ["remote"]


def test_processes_that_may_not_meet_are_told(tmp_path: Path, ask: Ask) -> None:
    (tmp_path / "app").write_text("another\n")
    tmp_path.chmod(0o700)
    said = ask(PUSH_RUN_DIR=str(tmp_path))
    assert said.wrong == ["apart"] and said.code == 0
    assert "The apps 'another' and" in said["apart"].what


def test_a_store_that_can_not_be_used_is_found(tmp_path: Path, ask: Ask) -> None:
    (tmp_path / "push.db").mkdir()
    said = ask(PUSH_BROKER_URL=f"sqlite://{tmp_path}/push.db")
    assert said.wrong == ["store"]


def test_a_store_that_raises_anything_is_found(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error, text in (TypeError("odd"), "odd"), (KeyError(), "KeyError"):
        url = "redis://:s3cret@127.0.0.1:1/0"

        def fail(*_: object, error: Exception = error, **__: object) -> t.NoReturn:
            raise error

        monkeypatch.setattr(RedisBroker, "read", fail)
        said = ask(PUSH_BROKER_URL=url)
        assert said.wrong == ["store"]
        assert said["store"].what.endswith(f" can't be used: {text}")
        assert "s3cret" not in said["store"].what


def test_a_store_that_is_not_there_yet_is_another_one(tmp_path: Path, ask: Ask) -> None:
    """The server has made one somewhere else, if its streams have a position."""
    absent = tmp_path / "absent"
    with serve(gunicorn, tmp_path) as server:
        url = f"{server.url}/stream?channel=a"
        said = ask("--quick", url, PUSH_RUN_DIR=str(absent))
    assert said.wrong == ["other-store"]
    assert str(absent) in said["other-store"].what
    assert not absent.exists()


def test_no_password_of_a_store_is_shown(
    tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Redis.started(tmp_path) as redis:
        redis.do("ACL", "SETUSER", "app", "on", ">s3cret", "~*", "&*", "+@all")
        url = redis.url.replace("//", "//app:s3cret@")
        with serve(gunicorn, tmp_path, PUSH_BROKER_URL=url) as server:
            stream = f"{server.url}/stream?channel=a"
            said = ask("--quick", stream, PUSH_BROKER_URL=url)
            assert said["store"].level == said["events"].level == "ok"
            other = ask("--quick", stream, PUSH_BROKER_URL=f"{url}?prefix=other:")
            assert other.wrong[-1] == "other-store"

            def refuse(*_: object) -> t.NoReturn:
                raise NotPublished(f"{url} is full")

            monkeypatch.setattr(RedisBroker, "publish", refuse)
            app = Flask("basic", instance_path=str(tmp_path))
            app.config["PUSH_BROKER_URL"] = url
            Push(app)
            done = app.test_cli_runner().invoke(commands, ["doctor", "--quick", stream])
            assert re.search(r"^error  store: .* is full$", done.output, re.M)
    for shown in str(said), str(other), done.output:
        assert "s3cret" not in shown and "***@127.0.0.1" in shown


def test_a_server_with_another_store_is_found(tmp_path: Path, ask: Ask) -> None:
    (tmp_path / "ours").mkdir()
    with serve(gunicorn, tmp_path) as server:
        said = ask(
            *("--quick", f"{server.url}/stream?channel=a"),
            PUSH_BROKER_URL=f"sqlite://{tmp_path}/ours/push.db",
        )
    assert said.wrong == ["other-store"]


def test_workers_with_a_store_each_are_found(tmp_path: Path, ask: Ask) -> None:
    with serve(gunicorn, tmp_path, "-w", "4", PUSH_BROKER_URL="memory:") as server:
        url = f"{server.url}/stream?channel=a"

        def found() -> Said | None:
            said = ask("--quick", url, PUSH_BROKER_URL="memory:")
            return said if "stores" in said else None

        # Which of them answers is the kernel's to choose.
        said: Said = until(found)
    assert {"memory", "thread", "stores"} <= set(said.wrong)
    assert said["stores"].cures == ('PUSH_BROKER_URL = "sqlite:"',)


def test_what_is_configured_is_judged(ask: Ask) -> None:
    assert ask(PUSH_MAX_STREAMS=10_000_000).wrong == ["descriptors"]
    assert ask(PUSH_HEARTBEAT=60).wrong == ["heartbeat"]
    assert ask(TESTING=True).wrong == ["testing", "memory", "thread"]


def test_an_app_that_can_not_be_loaded_is_a_finding(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flask", "--app", "apps.basic", "push", "doctor"]
    env = {**os.environ, "INSTANCE": str(tmp_path), "FLASK_PUSH_HEARTBAET": "1"}
    done = subprocess.run(
        command, cwd=ROOT / "tests", env=env, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "error  config: The app can't be loaded: PUSH_HEARTBAET" in done.stdout
    assert "\n       -> flask --app " in done.stdout


# What real programs do too seldom.


class Canned:
    """Answers what it is told to, to each request."""

    def __init__(self, answer: cabc.Callable[[bytes], bytes]) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=50)
        self.url = f"http://127.0.0.1:{self.sock.getsockname()[1]}/"
        self.answer = answer
        self.requests: list[bytes] = []
        self.open: list[socket.socket] = []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while True:
            sock, _ = self.sock.accept()
            self.open.append(sock)
            request = sock.recv(65536)
            if not request:
                return
            self.requests.append(request)
            answer = self.answer(request)
            sock.sendall(answer)
            if not answer.endswith(b"\n:\n"):
                sock.close()


@contextlib.contextmanager
def canned(answer: cabc.Callable[[bytes], bytes]) -> cabc.Iterator[Canned]:
    """What ends with a heartbeat stays open."""
    it = Canned(answer)
    try:
        yield it
    finally:
        socket.create_connection(it.sock.getsockname()).close()
        it.thread.join()
        for sock in (it.sock, *it.open):
            sock.close()


def head(*lines: str) -> bytes:
    all = "HTTP/1.1 200 OK", "Content-Type: text/event-stream", *lines
    return "".join(f"{line}\r\n" for line in (*all, "")).encode()


HEAD = head("Cache-Control: no-store, no-transform")
HERE = Position("aaaaa", 9)


def ill(said: Said) -> list[str]:
    """What is wrong beside a store that is not of the server's."""
    return [name for name in said.wrong if name not in ("memory", "thread")]


def test_a_stream_of_another_make_is_told(ask: Ask) -> None:
    for body in b"data: x\n\n", b": hi\n\n":
        with canned(lambda _, body=body: HEAD + body) as it:  # type: ignore[misc]
            assert ill(ask(it.url, PUSH_BROKER_URL="memory:")) == ["foreign"]


@pytest.mark.parametrize(
    "data",
    [
        "",
        "nonsense",
        "[" * 100_000,
        "[]",
        "5",
        "{}",
        '{"channels": []}',
        '{"channels": "a"}',
        '{"channels": {"a": 1}}',
        '{"channels": [5]}',
        '{"channels": [""]}',
        '{"channels": ["\\ud800"]}',
        json.dumps({"channels": ["x" * 65]}),
        json.dumps({"channels": ["x"] * 10_001}),
    ],
)
def test_an_opening_that_is_not_of_our_making_is_a_stream_of_another_make(
    ask: Ask, data: str
) -> None:
    opening = f"id: aaaaa-9\nevent: push:open\ndata: {data}\n\n:\n".encode()
    with canned(lambda _: HEAD + opening) as it:
        assert ill(ask(it.url, PUSH_BROKER_URL="memory:")) == ["foreign"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (head("Content-Encoding: gzip") + b"nonsense", "it can't be decompressed: "),
        (head("Transfer-Encoding: chunked") + b"nonsense\r\n", "the size of a chunk is"),
        (HEAD + b"id: " + b"x" * 10_000 + b"\n\n", "id has more than 8,192 bytes"),
    ],
)
def test_a_stream_that_can_not_be_read_is_found(ask: Ask, answer: bytes, why: str) -> None:
    with canned(lambda _: answer) as it:
        said = ask(it.url, PUSH_BROKER_URL="memory:")
    assert said.wrong[-1] == "unreadable" and why in said["unreadable"].what


@pytest.mark.parametrize("data", ["", "[" * 10_000, "5", "{}", '{"reason": {"a": 1}}'])
def test_events_of_ours_with_odd_data_end_no_doctor(
    tmp_path: Path, ask: Ask, data: str, impatient: None
) -> None:
    url = f"sqlite://{tmp_path}/push.db"
    with contextlib.closing(Publisher(url)) as publisher:
        here = Position.parse(publisher.position())
    odd = "".join(f"event: push:{kind}\ndata: {data}\n\n" for kind in ("doctor", "gap"))
    answer = HEAD + wire.opening("x", ["a"], here) + odd.encode() + b":\n"
    with canned(lambda _: answer) as it:
        said = ask("--quick", it.url, PUSH_BROKER_URL=url)
    assert said.wrong == ["elsewhere", "unheard", "gap"]


@pytest.mark.parametrize("server", ["", "Server: Caddy\r\n", "Server: HAProxy\r\n"])
def test_a_stream_that_anything_compresses_is_looked_at_to_its_end(
    ask: Ask, server: str
) -> None:
    stream = gzip.HEADER + gzip.block(wire.opening("x", ["a"], HERE) + b":\n")
    head = HEAD.replace(b"\r\n", f"\r\n{server}Content-Encoding: gzip\r\n".encode(), 1)
    with canned(lambda _: head + stream) as it:
        said = ask("--quick", it.url, PUSH_BROKER_URL="memory:")
    assert ill(said) == ["compressed"]
    assert any("encode { match header" in cure for cure in said["compressed"].cures) == (
        "HAProxy" not in server
    )


def test_a_head_that_is_wrong_is_found(ask: Ask) -> None:
    stream = wire.opening("x", ["a"], HERE) + b"\n:\n"
    with canned(lambda _: head("Cache-Control: no-cache") + stream) as it:
        said = ask("--quick", it.url, PUSH_BROKER_URL="memory:")
    assert ill(said) == ["headers"]
    assert "no-store, no-transform" in said["headers"].what
    with canned(lambda _: head("Content-Length: 9") + b"data: x\n\n") as it:
        assert ill(ask(it.url, PUSH_BROKER_URL="memory:")) == ["length"]
    with canned(lambda _: HEAD.replace(b"stream", b"stream; charset=latin-1")) as it:
        assert ill(ask(it.url, PUSH_BROKER_URL="memory:")) == ["type"]


def test_what_a_server_says_does_not_speak_to_the_terminal(ask: Ask) -> None:
    with canned(lambda _: b"HTTP/1.1 200 OK\r\nContent-Type: \x1b[2J\r\n\r\n") as it:
        said = ask(it.url, PUSH_BROKER_URL="memory:")
    assert "\x1b" not in said["type"].what


def test_a_gap_at_once_is_found(ask: Ask) -> None:
    def answer(request: bytes) -> bytes:
        if b"Last-Event-ID" not in request:
            return HEAD + wire.opening("x", ["a"], HERE) + b"\n:\n"
        gap = wire.gap(["a"], "trimmed", 0, HERE)
        return HEAD + wire.opening("x", ["a"], None) + gap + b"\n:\n"

    with canned(answer) as it:
        said = ask("--quick", it.url, PUSH_BROKER_URL="memory:")
    assert ill(said) == ["gap"] and "(trimmed)" in said["gap"].what


def test_what_is_not_delivered_is_found(tmp_path: Path, ask: Ask, impatient: None) -> None:
    url = f"sqlite://{tmp_path}/push.db"
    publisher = Publisher(url)
    before = Position.parse(publisher.position())
    id = publisher.publish("a", "x").partition(".")[0]
    answer = HEAD + wire.opening("x", ["a"], before) + b"\n:\n"
    with canned(lambda _: answer) as it:
        said = ask("--quick", it.url, PUSH_BROKER_URL=url)
    publisher.close()
    assert said.wrong == ["elsewhere", "unheard", "wrong"]
    assert id in said["wrong"].what


def test_a_heartbeat_that_does_not_come_is_missed(
    tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_doctor, "_GRACE", 0.2)
    with serve(gunicorn, tmp_path) as server:
        said = ask(f"{server.url}/stream?channel=a", PUSH_HEARTBEAT=0.5)
    assert said.wrong == ["no-heartbeat"]


def test_a_first_byte_that_is_late_is_told(
    tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_doctor, "_SLOW", -1.0)
    with serve(gunicorn, tmp_path) as server:
        assert ask("--quick", f"{server.url}/stream?channel=a").wrong == ["slow"]


# The page.


def words(text: str) -> str:
    return " ".join(text.split())


def shown(text: str) -> str:
    """The text with dots for what is only known when it is found."""
    parts = Formatter().parse(text)
    return words("".join(said + ("" if name is None else "…") for said, name, *_ in parts))


def test_the_page_has_every_problem_and_its_cures() -> None:
    sections = re.findall(
        r"^### `(.*?)`\n\n(\w+): (.*?)\n\n```text\n(.*?)^```$", PAGE, re.M | re.S
    )
    assert [name for name, *_ in sections] == list(PROBLEMS)
    for name, level, what, cures in sections:
        known = PROBLEMS[name]
        assert (level, words(what)) == (known.level, shown(known.what))
        lines = [f"{who}: {cure}" if who else cure for who, cure in known.cures]
        assert [words(line) for line in cures.splitlines()] == list(map(shown, lines))


class Given(t.NamedTuple):
    """What one line of the source gives to :func:`problem`."""

    names: list[str]
    has_proxy: bool
    facts: set[str]


@functools.cache
def calls_of_problem() -> tuple[Given, ...]:
    return tuple(_calls_of_problem())


def _calls_of_problem() -> cabc.Iterator[Given]:
    for path in (ROOT / "src/flask_push").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "problem":
                name, *proxy = node.args
                either = [name.body, name.orelse] if isinstance(name, ast.IfExp) else [name]
                facts = {keyword.arg or "**" for keyword in node.keywords}
                yield Given([ast.literal_eval(one) for one in either], bool(proxy), facts)


def fields(*texts: str) -> dict[str, str]:
    """The facts that the texts name, and how each is written."""
    parts = [part for text in texts for part in Formatter().parse(text)]
    return {name: spec or "" for _, name, spec, _ in parts if name is not None}


def test_the_source_gives_each_problem_the_facts_that_its_texts_need() -> None:
    given = list(calls_of_problem())
    assert {name for call in given for name in call.names} == set(PROBLEMS)
    for call in given:
        for name in call.names:
            known = PROBLEMS[name]
            texts = [known.what, *(cure for who, cure in known.cures)]
            assert call.facts == set(fields(*texts)), name
            assert call.has_proxy or not any(who for who, _ in known.cures), name


@pytest.mark.parametrize("proxy", [ANY, NGINX, APACHE, HAPROXY, CADDY])
@pytest.mark.parametrize("name", PROBLEMS)
def test_each_problem_can_be_shown_behind_each_proxy(name: str, proxy: str) -> None:
    known = PROBLEMS[name]
    specs = fields(known.what, *(cure for _, cure in known.cures))
    (given, *_) = [call.facts for call in calls_of_problem() if name in call.names]
    facts = {fact: 1.5 if specs.get(fact) else "{odd}" for fact in given}
    found = problem(name, proxy, **facts)
    assert found.level in ("warn", "error") and found.what and found.cures
    whose = [who for who, _ in known.cures]
    assert len(found.cures) == (
        len(whose)
        if proxy == ANY or not {proxy, ANY} & {*whose}
        else sum(who in (proxy, ANY) for who in whose)
    )


def test_every_problem_has_a_test() -> None:
    tests = Path(__file__).read_text()
    for name in PROBLEMS:
        assert f'"{name}"' in tests or f"  {name}: " in tests, name


def test_all_that_is_well_is_on_the_page_too() -> None:
    source = "".join(p.read_text() for p in (ROOT / "src/flask_push").rglob("*.py"))
    names = set(re.findall(r'\bok\(\s*"([\w-]+)"', source))
    (section,) = re.findall(r"^## What is well\n(.*?)^## ", PAGE, re.M | re.S)
    assert names == set(re.findall(r"^`([\w-]+)`\n: ", section, re.M))
