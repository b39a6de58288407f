"""A container that is stopped: the first process in it is told, and nobody else."""

from __future__ import annotations

import collections.abc as cabc
import os
import shlex
import shutil
import signal
import typing as t
from pathlib import Path

import pytest
from support.containers import children
from support.containers import first_process
from support.containers import namespaces
from support.packages import environment
from support.packages import install
from support.pages import blocks
from support.pages import DOCS
from support.reader import HttpReader
from support.servers import free_port
from support.servers import gunicorn
from support.servers import hubs
from support.servers import serve
from support.servers import Server
from support.servers import TESTS
from support.servers import until

pytestmark = pytest.mark.skipif(
    not namespaces(network=False), reason="this user may make no PID namespaces"
)

STREAMS = 20
# Milliseconds: what a stream without others is told at most, by PUSH_RETRY.
ALONE = 1333


def contained(*before: str) -> cabc.Callable[..., list[str]]:
    """Gunicorn in a container."""

    def command(app: str, port: int, *more: str) -> list[str]:
        return [*namespaces(network=False), *before, *gunicorn(app, port, *more)]

    return command


def open_streams(server: Server) -> list[HttpReader]:
    return [server.open_stream("a") for _ in range(STREAMS)]


def stop_container(server: Server, with_signal: signal.Signals = signal.SIGTERM) -> None:
    """As Docker does: it notifies only the first process."""
    os.kill(first_process(server.process.pid), with_signal)
    server.process.wait(30)


def master(server: Server) -> int:
    pid = first_process(server.process.pid)
    is_tini = Path(f"/proc/{pid}/comm").read_text() == "tini\n"
    return children(pid)[0] if is_tini else pid


def workers(server: Server, directory: Path) -> set[int]:
    """Gunicorn's. A hub is a child of the first process, as all orphans are."""
    return {*children(master(server))} - {*hubs(directory)}


def reload(server: Server, directory: Path) -> None:
    old = workers(server, directory)
    os.kill(master(server), signal.SIGHUP)
    until(lambda: not old & workers(server, directory))
    # A worker that has not loaded the app yet can't tell the hub anything.
    server.get("/ping")


def last_retries(readers: list[HttpReader]) -> list[int]:
    """The milliseconds after which each browser reconnects; 0 if its stream was cut."""
    found = []
    for reader in readers:
        while not reader.ended:
            reader.read()
        last = bytes(reader.body).splitlines()[-1]
        found.append(int(last[7:]) if last.startswith(b"retry: ") else 0)
    return found


@pytest.mark.parametrize(
    ("before", "more"),
    [
        pytest.param([], [], id="gunicorn"),
        pytest.param(["tini", "--"], [], id="tini"),
        pytest.param([], ["--preload"], id="preload"),
        pytest.param(["tini", "--"], ["--preload"], id="tini-preload"),
        pytest.param([], ["-k", "gevent"], id="gevent"),
        pytest.param(["tini", "--"], ["--threads", "4"], id="threads"),
    ],
)
def test_each_stream_is_told_when_to_reconnect_before_its_container_ends(
    before: list[str], more: list[str], tmp_path: Path
) -> None:
    config: dict[str, t.Any] = {"PUSH_RETRY": 1, "PUSH_RETURN_RATE": 0.02}
    with serve(contained(*before), tmp_path, "-w", "2", *more, **config) as server:
        readers = open_streams(server)
        stop_container(server)
        retries = last_retries(readers)
        assert 0 not in retries
        assert max(retries) > ALONE
        assert not hubs(tmp_path)
        assert "its container ends" in (tmp_path / "push-basic/hub.log").read_text()


def uwsgi(directory: Path, port: int) -> str:
    options = f"http11-socket = 127.0.0.1:{port}", "enable-threads = true"
    lines = "[uwsgi]", *options, "master = true", "processes = 2", "module = hello:app"
    (directory / "uwsgi.ini").write_text("\n".join(lines))
    return "uwsgi --ini uwsgi.ini --die-on-term"


def supervisord(directory: Path, port: int) -> str:
    command = shlex.join(gunicorn("hello", port, "-w", "2"))
    lines = "[supervisord]", "nodaemon = true", "[program:app]", f"command = {command}"
    (directory / "supervisord.conf").write_text("\n".join(lines))
    return "supervisord -c supervisord.conf"


@pytest.mark.parametrize(
    ("first", "package"),
    [(uwsgi, "pyuwsgi==2.0.30.post1"), (supervisord, "supervisor==4.3.0")],
)
def test_the_script_for_other_first_processes_ends_the_hub_first(
    first: cabc.Callable[[Path, int], str],
    package: str,
    tmp_path: Path,
    pytestconfig: pytest.Config,
) -> None:
    (script,) = [code for code in blocks(DOCS["docker"], "sh") if "trap" in code]
    shutil.copy(TESTS / "apps/basic.py", tmp_path / "hello.py")

    def command(_: str, port: int) -> list[str]:
        ours = script.replace(uwsgi(tmp_path, port), first(tmp_path, port))
        (tmp_path / "app.sh").write_text(ours)
        return [*namespaces(network=False), "sh", "app.sh"]

    env = environment(install(pytestconfig, package), tmp_path, TESTS)
    config: dict[str, t.Any] = {"PUSH_RETRY": 1, "PUSH_RETURN_RATE": 0.02}
    with serve(command, tmp_path, env=env, cwd=tmp_path, **config) as server:
        readers = open_streams(server)
        stop_container(server)
        retries = last_retries(readers)
        assert 0 not in retries and max(retries) > ALONE
        assert not hubs(tmp_path)


def test_all_hubs_of_a_container_end_their_streams_in_time(tmp_path: Path) -> None:
    config: dict[str, t.Any] = {
        "PUSH_RETRY": 1,
        "PUSH_RETURN_RATE": 0.02,
        "PUSH_HUB_PROCESSES": 3,
    }
    with serve(contained(), tmp_path, "-w", "2", **config) as server:
        readers = open_streams(server)
        assert len(hubs(tmp_path)) > 1
        stop_container(server)
        assert 0 not in last_retries(readers)


@pytest.mark.parametrize("before", [[], ["tini", "--"]])
@pytest.mark.parametrize("more", [[], ["--preload"]])
def test_no_stream_ends_when_workers_end_and_their_container_does_not(
    before: list[str], more: list[str], tmp_path: Path
) -> None:
    more = ["-w", "2", "--max-requests", "30", *more]
    with serve(contained(*before), tmp_path, *more) as server:
        readers = open_streams(server)
        for _ in range(2):
            reload(server, tmp_path)
        # Both workers reach their limit of requests.
        old = workers(server, tmp_path)
        until(lambda: server.get("/ping") and not old & workers(server, tmp_path), 60)
        server.publish("a", "still there")
        for reader in readers:
            reader.read_until(lambda r: r.data == ["still there"])


def test_streams_end_in_time_if_the_workers_that_had_their_requests_are_gone(
    tmp_path: Path,
) -> None:
    with serve(contained(), tmp_path, "-w", "2") as server:
        readers = open_streams(server)
        reload(server, tmp_path)
        stop_container(server)
        assert 0 not in last_retries(readers)


def test_a_container_does_not_wait_for_a_hub_that_does_not_answer(tmp_path: Path) -> None:
    with serve(contained(), tmp_path, "-w", "2") as server:
        (reader,) = (server.open_stream("a"),)
        (hub,) = hubs(tmp_path)
        os.kill(hub, signal.SIGSTOP)
        stop_container(server)
        assert last_retries([reader]) == [0]
        assert "has not ended its streams" in server.log


def test_a_hub_of_another_container_is_left_alone(tmp_path: Path) -> None:
    with serve(contained(), tmp_path, "-w", "2") as first:
        readers = open_streams(first)
        port = free_port()
        second = Server(
            contained()("apps.basic", port),
            port,
            tmp_path / "second.log",
            {"INSTANCE": str(tmp_path)},
        )
        try:
            also = second.open_stream("a")
            stop_container(second)
            assert len(hubs(tmp_path)) == 1
            first.publish("a", "still there")
            for reader in [*readers, also]:
                reader.read_until(lambda r: r.data == ["still there"])
        finally:
            second.kill()
