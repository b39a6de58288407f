"""Hubs that can not start, are full, or are run by hand."""

from __future__ import annotations

import collections.abc as cabc
import json
import re
import socket
import subprocess
import sys
import typing as t
from pathlib import Path

from support.crowd import talk
from support.hub_processes import flask_push
from support.hub_processes import opened
from support.hub_stores import many as many
from support.hub_stores import store
from support.reader import HttpReader
from support.servers import end_hubs
from support.servers import gunicorn
from support.servers import hubs
from support.servers import serve
from support.servers import status
from support.servers import the_hub
from support.servers import until

from flask_push._ipc.files import HubFiles
from flask_push._ipc.messages import Messages

# When something stands in its way.


def with_descriptors(count: int) -> cabc.Callable[..., list[str]]:
    """A server that may have so many, and its hub too."""

    def command(app: str, port: int, *more: str) -> list[str]:
        limited = f'ulimit -n {count}; exec "$@"'
        return ["sh", "-c", limited, "sh", *gunicorn(app, port, *more)]

    return command


def test_streams_beyond_the_hubs_descriptors_are_told_to_reconnect(tmp_path: Path) -> None:
    with serve(with_descriptors(128), tmp_path, "-w", "2") as server:
        readers = [server.stream("a") for _ in range(200)]
        held = []
        for reader in readers:
            reader.read_until(lambda r: r.ended or r.events)
            assert reader.status == 200
            if reader.ended:
                assert re.search(rb"\nretry: \d+\n\Z", reader.body)
            else:
                held.append(reader)
        # A quarter is not for streams.
        assert 60 <= len(held) < 96
        server.publish("a", "x")
        for reader in held:
            assert reader.read_data(1) == ["x"]
        # A worker logs it after the hub.
        until(lambda: "Refused a stream" in server.log)
        assert server.log.count("Refused a stream") == 1
        hub_log = tmp_path / "push-basic" / "hub.log"
        assert hub_log.read_text().count("Refused a stream") == 1
        assert not re.search(
            "has died|invalid message|could not|stands in", server.log, re.I
        )
        found = status(tmp_path)
        assert found["streams"] == len(held) and found["processes"] == 2
        for reader in held[:50]:
            reader.close()
        until(lambda: status(tmp_path)["streams"] == len(held) - 50)
        server.stream("a").opened()


def test_connections_of_other_processes_leave_a_hub_its_descriptors(tmp_path: Path) -> None:
    with serve(with_descriptors(128), tmp_path, PUSH_RETRY=0.5) as server:
        reader = server.stream("a").opened()
        files = HubFiles.of(tmp_path / "push-basic")
        socks = []
        try:
            for _ in range(200):
                socks.append(files.connect())
            log = tmp_path / "push-basic" / "hub.log"
            until(lambda: "Closed a connection to the hub" in log.read_text())
            server.publish("a", "x")
            assert reader.read_data(1) == ["x"]
            # The last worker that was let in is refused, in words.
            refused = [greet(sock) for sock in socks]
            assert not any(refused[120:])
            last = [reason for reason in refused if reason][-1]
            assert "It may have only 128 file descriptors" in last
            assert log.read_text().count("Closed a connection to the hub") == 1
        finally:
            for sock in socks:
                sock.close()
        until(lambda: opened(server))


def greet(sock: socket.socket) -> str:
    """Why the hub refuses what is no hello; nothing, if the connection is closed."""
    try:
        return str(Messages(sock).ask({"hello": {}})["refused"])
    except (OSError, EOFError):
        return ""


def test_a_hub_that_cannot_start_is_replaced_by_a_thread(tmp_path: Path) -> None:
    run = tmp_path / "push-basic"
    run.mkdir(0o700)
    # Where a file should be that could be locked.
    (run / "hub.lock").mkdir()
    with serve(gunicorn, tmp_path, PUSH_RETRY=0.5) as server:
        reader = until(lambda: opened(server))
        server.publish("a", "x")
        assert reader.read_data(1) == ["x"]
        assert server.log.count("a thread of this process stands in") == 1
        assert hubs(tmp_path) == []


def test_another_store_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path) as server:
        reader = server.stream("a").opened()
        url = f"sqlite://{tmp_path}/other.db"
        with serve(gunicorn, tmp_path, PUSH_BROKER_URL=url) as other:
            refused = other.stream("a").read_to_end()
            assert re.fullmatch(rb"(:\nretry: \d+\n)*", refused.body)
            until(lambda: "another store" in other.log)
            assert "PUSH_RUN_DIR" in other.log
            server.publish("a", "x")
            assert reader.read_data(1) == ["x"]
            other.kill()


def test_an_app_that_moves_to_another_store_gets_its_hub(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path) as server:
        server.stream("a").opened()
        before = the_hub(tmp_path)
        server.stop()
    url = f"sqlite://{tmp_path}/other.db"
    with serve(gunicorn, tmp_path, PUSH_BROKER_URL=url) as server:
        until(lambda: opened(server))
        assert the_hub(tmp_path) != before


def test_newer_tunables_count(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path, PUSH_HEARTBEAT=60) as server:
        reader = server.stream("a").opened()
        with serve(gunicorn, tmp_path, PUSH_HEARTBEAT=0.2) as other:
            other.stream("a").opened()
            reader.read_until(lambda r: b"\n\n:\n:\n" in r.body)
            other.kill()


# Return tickets, whose keys the hub gets from its workers.


def return_by_the_hub(directory: Path, reader: HttpReader) -> int:
    """The status of the answer to a browser that nginx brings back."""
    cookies = re.findall(r"^set-cookie: ([^;\r]*)", reader.head.decode(), re.M | re.I)
    lines = [
        *("GET /stream?channel=a HTTP/1.1", "Host: localhost", "X-Push-Return: 1"),
        *("Cookie: " + "; ".join(cookies), f"Last-Event-ID: {reader.last_id}"),
    ]
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(str(directory / "push-basic" / "accel.sock"))
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        return int(sock.recv(1000).split()[1])


def test_tickets_of_an_old_key_are_void_once_the_app_has_another(tmp_path: Path) -> None:
    config: dict[str, t.Any] = {"PUSH_RETURN_TICKET": 600, "PUSH_HUB_LINGER": 60}
    with serve(gunicorn, tmp_path, "-w", "2", SECRET_KEY="old", **config) as server:
        old = server.stream("a").opened()
        assert return_by_the_hub(tmp_path, old) == 200
        before = the_hub(tmp_path)
        server.stop()
        until(lambda: return_by_the_hub(tmp_path, old) == 421)
        server.env["FLASK_SECRET_KEY"] = '"new"'
        server.start()
        assert return_by_the_hub(tmp_path, old) == 421
        new = server.stream("a").opened()
        assert the_hub(tmp_path) == before
        assert return_by_the_hub(tmp_path, new) == 200
        assert return_by_the_hub(tmp_path, old) == 421


# By hand.


def test_a_hub_is_shown_and_stopped(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path, "-w", "2") as server:
        reader = server.stream("a", "b").opened()
        found = json.loads(flask_push(tmp_path, "status", "--json"))
        assert found["pid"] == the_hub(tmp_path)
        assert (found["streams"], found["channels"], found["behind"]) == (1, 2, 0)
        shown = flask_push(tmp_path, "status")
        assert re.search(r"^streams +1$", shown, re.M)
        assert flask_push(tmp_path, "publish", "a", "from a shell").strip().endswith(".a")
        assert reader.read_data(1) == ["from a shell"]
        flask_push(tmp_path, "stop")
        reader.read_to_end()
        assert re.search(rb"\nretry: \d+\n\Z", reader.body)
        again = server.stream("a", "b", last_id=reader.last_id).opened()
        assert the_hub(tmp_path) != found["pid"]
        again.close()


def test_a_hub_may_be_run_by_hand(tmp_path: Path) -> None:
    door = tmp_path / "by-hand.sock"
    command = [sys.executable, "-m", "flask", "push", "hub", "--socket", str(door)]
    log = (tmp_path / "by-hand.log").open("w")
    processes = [subprocess.Popen(command, cwd="/", stderr=log)]
    try:
        until(door.exists)
        with serve(gunicorn, tmp_path, "-w", "2", PUSH_HUB=str(door)) as server:
            with talk(server, store(tmp_path), 20) as crowd:
                assert hubs(tmp_path) == [processes[0].pid]
                processes.append(
                    subprocess.Popen([*command, "--replace"], cwd="/", stderr=log)
                )
                assert processes[0].wait(20) == 0
                server.stop()
                server.start()
            assert crowd.ended == 0
            second = subprocess.run(command, cwd="/", capture_output=True, text=True)
            assert second.returncode == 1 and "--replace" in second.stderr
        processes[1].terminate()
        assert processes[1].wait(20) == 0
        log.flush()
        for line in (tmp_path / "by-hand.log").read_text().splitlines():
            assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \d+ [A-Z]+ ", line)
        assert door.exists(), "for systemd goes on to listen there"
        with serve(gunicorn, tmp_path, PUSH_HUB=str(door)) as server:
            assert server.stream("a").read_to_end().status == 200
            assert "flask push hub --socket" in server.log
    finally:
        for process in processes:
            process.kill()
            process.wait()
        log.close()
        end_hubs(tmp_path)


def test_a_hub_of_another_store_ends_though_its_pages_ask_for_nothing(
    tmp_path: Path,
) -> None:
    """A page that stays connected would receive nothing of what the app publishes."""
    url = f"sqlite://{tmp_path}/other.db"
    with serve(gunicorn, tmp_path) as before:
        reader = before.stream("a").opened()
        before.stop()
        with serve(gunicorn, tmp_path, PUSH_BROKER_URL=url) as after:
            after.publish("a", "x")
            reader.read_to_end()
            until(lambda: opened(after))


def test_an_app_that_only_publishes_says_that_the_hub_reads_another_store(
    tmp_path: Path,
) -> None:
    with serve(gunicorn, tmp_path) as server:
        reader = server.stream("a").opened()
        url = f"sqlite://{tmp_path}/other.db"
        with serve(gunicorn, tmp_path, PUSH_BROKER_URL=url) as other:
            other.publish("a", "elsewhere")
            until(lambda: "another store" in other.log)
            server.publish("a", "x")
            assert reader.read_data(1) == ["x"]
            other.kill()
