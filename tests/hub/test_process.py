"""The hub as a process: it outlives workers, and starts and ends by itself."""

from __future__ import annotations

import collections.abc as cabc
import json
import os
import re
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from support.crowd import talk
from support.hub_processes import flask_push
from support.hub_processes import replace
from support.hub_stores import many as many
from support.hub_stores import store
from support.servers import flask_run
from support.servers import gunicorn
from support.servers import hubs
from support.servers import is_tied
from support.servers import serve
from support.servers import Server
from support.servers import status
from support.servers import the_hub
from support.servers import until

from flask_push import Publisher
from flask_push._ipc.files import HubFiles
from flask_push._ipc.files import Tie

# However long a busy machine takes, the store remembers all that was said.
KEEP = 1_000_000


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return list(map(int, path.read_text().split()))


def test_a_hub_needs_neither_flask_nor_the_app() -> None:
    code = "import sys, flask_push._hub.main; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    modules = {name.partition(".")[0] for name in done.stdout.split()}
    assert "flask_push" in modules
    assert not modules & {"flask", "werkzeug", "jinja2", "click", "redis"}


def test_a_hub_is_a_process_of_its_own(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path, "-w", "2") as server:
        assert hubs(tmp_path) == [], "no stream needs one yet"
        reader = server.stream("a").opened()
        pid = the_hub(tmp_path)
        shown = Path(f"/proc/{pid}/status").read_text()
        assert re.search(r"^Name:\tflask-push hub$", shown, re.M)
        assert re.search(r"^PPid:\t1$", shown, re.M) or pid not in children(
            server.process.pid
        )
        assert os.getsid(pid) != os.getsid(server.process.pid)
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        for fd in 0, 1:
            assert os.readlink(f"/proc/{pid}/fd/{fd}") == "/dev/null"
        assert os.readlink(f"/proc/{pid}/fd/2").endswith("push-basic/hub.log")
        held = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
        files = [path for path in held if path.startswith("/") and "/dev/null" not in path]
        assert all("push-basic" in path for path in files), "nothing of the worker's"
        command = Path(f"/proc/{pid}/cmdline").read_text()
        assert "sqlite" not in command, "the hello names the store"
        assert oct(os.stat(tmp_path / "push-basic").st_mode)[-3:] == "700"
        assert oct(os.stat(tmp_path / "push-basic/hub.sock").st_mode)[-3:] == "600"
        server.publish("a", "x")
        assert reader.read_data(1) == ["x"]


@pytest.fixture
def act(tmp_path: Path, many: int) -> cabc.Iterator[cabc.Callable[..., t.Any]]:
    """Let something befall a server, while many streams are open on it."""

    def act(
        befall: cabc.Callable[[Server], None],
        *more: str,
        command: cabc.Callable[..., list[str]] = gunicorn,
        **config: t.Any,
    ) -> None:
        with serve(command, tmp_path, *more, PUSH_KEEP=KEEP, **config) as server:
            with talk(server, store(tmp_path), many) as crowd:
                befall(server)
            assert crowd.ended == 0

    yield act


Act = cabc.Callable[..., None]


def test_no_stream_ends_when_gunicorn_reloads(act: Act) -> None:
    def befall(server: Server) -> None:
        for _ in range(3):
            before = set(children(server.process.pid))
            server.process.send_signal(signal.SIGHUP)
            until(lambda b=before: is_new(children(server.process.pid), b))  # type: ignore[misc]
        assert server.get("/ping") == "pong"

    act(befall, "-w", "2")


def is_new(now: list[int], before: set[int]) -> bool:
    return len(now) == len(before) and not before & set(now)


def test_no_stream_ends_when_workers_are_recycled(act: Act) -> None:
    def befall(server: Server) -> None:
        seen: set[str] = set()
        while len(seen) < 6:
            seen.add(server.get("/pid"))

    # The app is imported once, and not by each of the many workers.
    act(befall, "-w", "2", "--preload", "--max-requests", "10")


def test_no_stream_ends_when_every_worker_is_killed(act: Act) -> None:
    def befall(server: Server) -> None:
        for _ in range(3):
            before = set(until(lambda: children(server.process.pid)))
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            until(lambda b=before: is_new(children(server.process.pid), b))  # type: ignore[misc]
        assert server.get("/ping") == "pong"

    act(befall, "-w", "2")


def test_no_stream_ends_when_the_server_stops_and_starts(act: Act, tmp_path: Path) -> None:
    def befall(server: Server) -> None:
        before = the_hub(tmp_path)
        server.stop()
        server.start()
        # Though no request arrives.
        until(lambda: is_tied(tmp_path))
        assert hubs(tmp_path) == [before]

    act(befall, "-w", "2", PUSH_HUB_LINGER=60)


def test_a_hub_to_which_a_process_is_tied_does_not_end(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path, PUSH_HUB_LINGER=0.1) as server:
        reader = server.stream("a").opened()
        before = the_hub(tmp_path)
        tie = Tie(HubFiles.of(tmp_path / "push-basic"))
        tie.renew(False)
        server.kill_without_readers()
        # It looks every second whether it is needed.
        time.sleep(2.5)
        assert hubs(tmp_path) == [before]
        tie.release()
        reader.read_to_end()
        until(lambda: not hubs(tmp_path))


def test_no_stream_ends_when_a_hub_is_replaced_again_and_again(
    act: Act, tmp_path: Path
) -> None:
    def befall(server: Server) -> None:
        for _ in range(10):
            before = the_hub(tmp_path)
            replace(tmp_path)
            the_hub(tmp_path, but=before)
            with server.stream("b").opened() as reader:
                server.publish("b", "new")
                assert reader.read_data(1) == ["new"]

    act(befall, "-w", "2")


def test_no_stream_ends_when_the_hub_or_a_worker_stands_still(
    act: Act, tmp_path: Path
) -> None:
    publisher = Publisher(store(tmp_path))

    def befall(server: Server) -> None:
        for pid in [the_hub(tmp_path), *children(server.process.pid)] * 2:
            os.kill(pid, signal.SIGSTOP)
            try:
                for n in range(100):
                    publisher.publish("b", str(n))
                # Those who come meanwhile wait.
                came = [server.stream("b") for _ in range(5)]
            finally:
                os.kill(pid, signal.SIGCONT)
            for reader in came:
                reader.opened().close()
        assert "stands in" not in server.log and "has died" not in server.log

    act(befall, "-w", "3")
    publisher.close()


def test_saving_a_file_reloads_the_app_and_the_stream_goes_on(tmp_path: Path) -> None:
    app = tmp_path / "shop.py"
    app.write_text("from apps.basic import app\n")
    with serve(flask_run, tmp_path, "--debug", app=str(app)) as server:
        with talk(server, store(tmp_path), 20) as crowd:
            for n in range(2):
                before = server.get("/pid")
                app.write_text(f"from apps.basic import app\n# {n}\n")
                until(lambda b=before: pid_of(server) not in ("", b))  # type: ignore[misc]
        assert crowd.ended == 0


def pid_of(server: Server) -> str:
    import http.client

    try:
        return server.get("/pid")
    except (OSError, http.client.HTTPException):
        return ""


def test_streams_of_a_hub_that_is_killed_resume_in_the_next(
    many: int, tmp_path: Path
) -> None:
    with serve(gunicorn, tmp_path, "-w", "2", PUSH_RETRY=0.5, PUSH_KEEP=KEEP) as server:
        with talk(server, store(tmp_path), many, returns=True) as crowd:
            for _ in range(3):
                pid = the_hub(tmp_path)
                os.kill(pid, signal.SIGKILL)
                until(lambda p=pid: hubs(tmp_path) not in ([], [p]))  # type: ignore[misc]
                until(lambda: status(tmp_path).get("streams") == many, 120)
            # Some are cut off while they reconnect, before they were open.
            assert crowd.ended >= 3 * many
        assert len(hubs(tmp_path)) == 1
        # A worker that finds the next hub first logs the death of the last a moment later.
        until(lambda: server.log.count("The hub has died") >= 3)


def test_streams_of_a_thread_resume_when_workers_are_reloaded_and_killed(
    tmp_path: Path,
) -> None:
    config: dict[str, t.Any] = {"PUSH_HUB": "thread", "PUSH_RETRY": 0.5, "PUSH_KEEP": KEEP}
    with serve(gunicorn, tmp_path, "-w", "2", **config) as server:
        with talk(server, store(tmp_path), 50, returns=True) as crowd:
            for act in signal.SIGHUP, signal.SIGKILL:
                until(lambda: crowd.here == 50)
                before = set(until(lambda: children(server.process.pid)))
                ended = crowd.ended
                for pid in before if act == signal.SIGKILL else [server.process.pid]:
                    os.kill(pid, act)
                until(lambda b=before: is_new(children(server.process.pid), b))  # type: ignore[misc]
                until(lambda e=ended: crowd.ended >= e + 50)  # type: ignore[misc]
        assert hubs(tmp_path) == []


def test_views_that_compute_do_not_hold_up_streams(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path, "-w", "2") as server:
        reader = server.stream("a").opened()
        publisher = Publisher(store(tmp_path))
        command = ["curl", "-s", f"{server.url}/burn?seconds=60"]
        burning = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
        try:
            for n in range(50):
                publisher.publish("a", str(n))
                reader.read_data(n + 1)
            assert [process.poll() for process in burning] == [None, None]
        finally:
            publisher.close()
            for process in burning:
                process.kill()
                process.communicate()


def test_a_hub_ends_when_no_process_needs_it(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path, "-w", "2", PUSH_HUB_LINGER=0.5) as server:
        reader = server.stream("a").opened()
        assert len(hubs(tmp_path)) == 1
        server.kill_without_readers()
        reader.read_to_end()
        assert re.search(rb"\nretry: \d+\n\Z", reader.body)
        until(lambda: not hubs(tmp_path))
        left = {path.name for path in (tmp_path / "push-basic").iterdir()}
        assert "hub.sock" not in left
        assert not list((tmp_path / "push-basic/push.db.bells").iterdir())
        assert "no process needs it" in (tmp_path / "push-basic/hub.log").read_text()


def test_a_worker_logs_what_the_hub_logs(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path, PUSH_MAX_STREAMS=1) as server:
        server.stream("a").opened()
        server.stream("a").read_to_end()
        until(lambda: "PUSH_MAX_STREAMS" in server.log)
        assert f"hub {the_hub(tmp_path)}: " in server.log
        assert "PUSH_MAX_STREAMS" in (tmp_path / "push-basic/hub.log").read_text()


def test_many_workers_start_one_hub_however_often_it_is_killed(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path, "-w", "20", PUSH_RETRY=0.5, PUSH_KEEP=KEEP) as server:
        with talk(server, store(tmp_path), 60, returns=True) as crowd:
            for _ in range(8):
                # One that is killed before it has begun counts as a start that failed.
                until(lambda: crowd.here == 60)
                (pid,) = until(lambda: hubs(tmp_path))
                os.kill(pid, signal.SIGKILL)
                until(lambda p=pid: hubs(tmp_path) not in ([], [p]))  # type: ignore[misc]
                assert len(hubs(tmp_path)) == 1
        assert "stands in" not in server.log


def test_several_hubs_share_the_streams(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path, "-w", "2", PUSH_HUB_PROCESSES=3) as server:
        with talk(server, store(tmp_path), 60) as crowd:
            until(lambda: len(hubs(tmp_path)) == 3)
            lines = flask_push(
                tmp_path, "status", "--json", env={"FLASK_PUSH_HUB_PROCESSES": "3"}
            )
            each = [json.loads(line)["streams"] for line in lines.splitlines()]
            assert len(each) == 3 and sum(each) == 60 and min(each) > 5
            server.process.send_signal(signal.SIGHUP)
            server.stop()
            server.start()
            assert len(hubs(tmp_path)) == 3
        assert crowd.ended == 0
