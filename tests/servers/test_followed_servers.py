"""Runs on plain wires, on real servers: a client sees whether its answer is whole."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
from pathlib import Path

import pytest
from support.asgi_servers import SERVERS as ASGI
from support.hub_processes import replace
from support.nginx import granian
from support.nginx import nginx
from support.packages import environment
from support.packages import install
from support.plain_clients import publisher_of
from support.plain_clients import RawClient
from support.plain_clients import without_comments
from support.plain_clients import WORDS
from support.plain_clients import words_of
from support.servers import flask_run
from support.servers import gunicorn
from support.servers import hubs
from support.servers import kill_hubs
from support.servers import serve
from support.servers import Server
from support.servers import TESTS
from support.servers import the_hub

Command = cabc.Callable[..., list[str]]


def worker(kind: str) -> Command:
    def command(app: str, port: int, *more: str) -> list[str]:
        return gunicorn(app, port, "-k", kind, *more)

    return command


WORKERS = {f"gunicorn {kind}": worker(kind) for kind in ("sync", "gthread", "gevent")}
RELAYED = {f"{name}, relayed": command for name, command in WORKERS.items()}
# These give the client's socket to the hub.
GIVE: dict[str, Command] = {**WORKERS, "flask run": flask_run}
# Granian's WSGI ends each response in order, also one that raises.
RELAY: dict[str, Command] = {**RELAYED, **ASGI, "granian for WSGI": granian}


def assert_whole(port: int, before: str = "/follow") -> None:
    """Each wire sends the whole run that has ended, and says so."""
    for wire in WORDS:
        for method in "GET", "POST":
            path = f"{before}/{wire}/done"
            with RawClient(port, path, method=method) as client:
                assert client.status == 200 and client.is_chunked
                assert client.headers["content-type"].startswith("text/event-stream")
                client.read_to_end()
                assert not client.broken
                assert without_comments(client.body) == words_of(wire, "1", "2")


def assert_cut(
    server: Server, directory: Path, port: int, *how: tuple[str, str, bool]
) -> None:
    """A client notices if the hub is killed.

    :param how: The path before the wire, the protocol, and whether the client notices.
    """
    with contextlib.ExitStack() as stack:
        publisher = stack.enter_context(contextlib.closing(publisher_of(server)))
        run = stack.enter_context(publisher.run("cut"))
        run.write("1")
        clients = [
            stack.enter_context(RawClient(port, f"{before}/ag-ui/cut", protocol))
            for before, protocol, _ in how
        ]
        for client in clients:
            client.read_until(b"data: 1\n\n")
        run.write("2")
        for client in clients:
            client.read_until(b"data: 2\n\n")
        assert kill_hubs(directory)
        for client, (_, _, notices) in zip(clients, how, strict=True):
            client.read_to_end()
            assert client.broken == notices
            assert without_comments(client.body) == words_of("ag-ui", "1", "2")
        run.write("3")
    # The next hub has all of it.
    with RawClient(port, f"{how[0][0]}/ag-ui/cut") as client:
        client.read_to_end()
        assert without_comments(client.body) == words_of("ag-ui", "1", "2", "3")


def write_one(server: Server) -> None:
    with contextlib.closing(publisher_of(server)) as publisher:
        with publisher.run("done") as run:
            run.write("1")
            run.write("2")


@pytest.mark.parametrize("name", [*GIVE, *RELAY])
def test_a_client_sees_on_each_server_whether_its_answer_is_whole(
    name: str, tmp_path: Path
) -> None:
    command = {**GIVE, **RELAY}[name]
    env = {"RELAYED": "1"} if name in RELAYED else {}
    with serve(command, tmp_path, app="apps.followed", env=env) as server:
        write_one(server)
        assert_whole(server.port)
        old, notices = [], name != "granian for WSGI"
        if name in GIVE:
            with RawClient(server.port, "/follow/openai/done", "HTTP/1.0") as client:
                assert not client.is_chunked
                client.read_to_end()
                assert not client.broken
                assert without_comments(client.body) == words_of("openai", "1", "2")
            old.append(("/follow", "HTTP/1.0", True))
        assert_cut(server, tmp_path, server.port, ("/follow", "HTTP/1.1", notices), *old)


def test_a_client_sees_on_uwsgi_whether_its_answer_is_whole(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    def uwsgi(app: str, port: int) -> list[str]:
        words = ["--http-socket", f"127.0.0.1:{port}", "--master", "-p", "2"]
        return ["uwsgi", *words, "--enable-threads", "-w", f"{app}:app"]

    packages = install(pytestconfig, "pyuwsgi==2.0.30.post1")
    env = environment(packages, TESTS)
    with serve(uwsgi, tmp_path, app="apps.followed", env=env) as server:
        write_one(server)
        assert_whole(server.port)
        how = [("/follow", f"HTTP/1.{minor}", True) for minor in (1, 0)]
        assert_cut(server, tmp_path, server.port, *how)


def test_a_hub_that_is_replaced_hands_runs_on_and_one_that_is_full_refuses_them(
    tmp_path: Path,
) -> None:
    with contextlib.ExitStack() as stack:
        serving = serve(gunicorn, tmp_path, app="apps.followed", PUSH_MAX_STREAMS=3)
        server = stack.enter_context(serving)
        publisher = stack.enter_context(contextlib.closing(publisher_of(server)))
        clients = []
        with publisher.run("done") as run:
            run.write("1")
            for protocol in "HTTP/1.1", "HTTP/1.0":
                client = RawClient(server.port, "/follow/ag-ui/done", protocol)
                clients.append(stack.enter_context(client).read_until(b"data: 1\n\n"))
            stack.enter_context(server.stream("done", path="/follow/push/done").opened())
            for protocol in "HTTP/1.1", "HTTP/1.0":
                refused = RawClient(server.port, "/follow/ai-sdk/done", protocol)
                with refused:
                    assert refused.status == 503 and refused.headers["retry-after"]
                    assert refused.headers["x-should-retry"] == "false"
                    refused.read_to_end()
                    assert refused.body and not refused.broken
            with RawClient(server.port, "/follow/push/done") as browser:
                assert browser.status == 200 and b"retry: " in browser.read_to_end().body
            (pid,) = hubs(tmp_path)
            replace(tmp_path)
            assert the_hub(tmp_path, but=pid)
            run.write("2")
        for client in clients:
            client.read_to_end()
            assert not client.broken
            assert without_comments(client.body) == words_of("ag-ui", "1", "2")


PROXY = """
    location /ten/ { proxy_pass http://127.0.0.1:8000/follow/; proxy_http_version 1.0; }
    location /eleven/ {
        proxy_pass http://127.0.0.1:8000/follow/;
        proxy_http_version 1.1;
    }"""


def test_a_client_behind_nginx_sees_whether_its_answer_is_whole(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path, app="apps.followed") as server:
        write_one(server)
        front = nginx(tmp_path, server, PROXY)
        with contextlib.closing(contextlib.ExitStack()) as stack:
            stack.callback(front.kill)
            for before in "/ten", "/eleven":
                assert_whole(front.port, before)
            how = [(before, "HTTP/1.1", True) for before in ("/ten", "/eleven")]
            assert_cut(server, tmp_path, front.port, *how)


def test_a_client_to_which_nginx_connects_the_hub_sees_whether_its_answer_is_whole(
    tmp_path: Path,
) -> None:
    with serve(granian, tmp_path, app="apps.followed", PUSH_ACCEL="/_push/") as server:
        write_one(server)
        front = nginx(tmp_path, server)
        with contextlib.closing(contextlib.ExitStack()) as stack:
            stack.callback(front.kill)
            assert_whole(front.port)
            assert_cut(server, tmp_path, front.port, ("/follow", "HTTP/1.1", True))


def test_over_a_unix_socket_only_http_1_1_shows_whether_an_answer_is_whole(
    tmp_path: Path,
) -> None:
    path = tmp_path / "app.sock"
    with serve(gunicorn, tmp_path, "-b", f"unix:{path}", app="apps.followed") as server:
        write_one(server)
        front = nginx(tmp_path, server, PROXY.replace("127.0.0.1:8000", f"unix:{path}:"))
        with contextlib.closing(contextlib.ExitStack()) as stack:
            stack.callback(front.kill)
            for before in "/ten", "/eleven":
                assert_whole(front.port, before)
            how = ("/ten", "HTTP/1.1", False), ("/eleven", "HTTP/1.1", True)
            assert_cut(server, tmp_path, front.port, *how)
        assert server.log.count("Set 'proxy_http_version 1.1' in nginx.") == 1
