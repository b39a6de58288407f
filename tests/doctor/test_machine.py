"""What the doctor finds without a stream: the configuration, the hub and the store."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import typing as t
from pathlib import Path

import pytest
from flask import Flask
from support.doctors import Ask
from support.doctors import ask as ask
from support.doctors import Said
from support.redises import Redis
from support.servers import gunicorn
from support.servers import ROOT
from support.servers import serve
from support.servers import until

from flask_push import _app_hub
from flask_push import NotPublished
from flask_push import Push
from flask_push._cli import push as commands
from flask_push._ipc.files import HubFiles
from flask_push._ipc.messages import Messages
from flask_push._system import rundir
from flask_push.brokers.redis import RedisBroker

# The hub and the store.


def test_a_hub_that_is_a_thread_for_development_is_found(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "this system has no epoll"
    monkeypatch.setattr(_app_hub, "why_no_hub_process", lambda: reason)
    said = ask()
    assert said.wrong == ["development"] and said.code == 0
    assert f"for development, because {reason}." in said["development"].what
    # It would be a thread on Linux, too.
    assert ask(PUSH_HUB="thread").wrong == ["thread"]


def test_a_hub_in_a_thread_is_found(tmp_path: Path, ask: Ask) -> None:
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


def test_streams_without_a_user_beside_others_are_found(tmp_path: Path, ask: Ask) -> None:
    with serve(gunicorn, tmp_path, app="apps.logins") as server:
        server.stream("a").opened()
        assert ask().wrong == [], "no stream has a user"
        server.stream("a", user="ada").opened()
        server.stream("a").opened()
        said = ask()
        assert said.wrong == ["without-user"] and said.code == 0
        assert "Of 3 streams, 2 have no user" in said["without-user"].what
        assert ask(PUSH_DISCONNECT=False).wrong == []


def test_a_missing_hub_is_found(tmp_path: Path, ask: Ask) -> None:
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
def test_a_program_that_does_not_answer_as_a_hub_is_found(
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


def test_a_hub_of_another_version_is_found(tmp_path: Path, ask: Ask) -> None:
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
        # The process that listens owns the socket.
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


def test_a_run_directory_of_another_user_is_found_and_not_opened(
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


def test_an_unusable_run_directory_is_found(
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


def test_apps_that_share_a_run_directory_are_found(tmp_path: Path, ask: Ask) -> None:
    (tmp_path / "app").write_text("another\n")
    tmp_path.chmod(0o700)
    said = ask(PUSH_RUN_DIR=str(tmp_path))
    assert said.wrong == ["apart"] and said.code == 0
    assert "The apps 'another' and" in said["apart"].what


def test_an_unusable_store_is_found(tmp_path: Path, ask: Ask) -> None:
    (tmp_path / "push.db").mkdir()
    said = ask(PUSH_BROKER_URL=f"sqlite://{tmp_path}/push.db")
    assert said.wrong == ["store"]


def test_a_store_that_raises_any_exception_is_found(
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


def test_a_store_that_does_not_exist_is_not_the_one_of_the_server(
    tmp_path: Path, ask: Ask
) -> None:
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


def test_workers_with_separate_stores_are_found(tmp_path: Path, ask: Ask) -> None:
    with serve(gunicorn, tmp_path, "-w", "4", PUSH_BROKER_URL="memory:") as server:
        url = f"{server.url}/stream?channel=a"

        def found() -> Said | None:
            said = ask("--quick", url, PUSH_BROKER_URL="memory:")
            return said if "stores" in said else None

        # Which of them answers is the kernel's to choose.
        said: Said = until(found)
    assert {"memory", "thread", "stores"} <= set(said.wrong)
    assert said["stores"].cures == ('PUSH_BROKER_URL = "sqlite:"',)


def test_doubtful_values_of_the_configuration_are_found(ask: Ask) -> None:
    assert ask(PUSH_MAX_STREAMS=10_000_000).wrong == ["descriptors"]
    assert ask(PUSH_HEARTBEAT=60).wrong == ["heartbeat"]
    assert ask(TESTING=True).wrong == ["testing", "memory", "thread"]


def test_an_app_that_cannot_be_loaded_is_a_problem(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flask", "--app", "apps.basic", "push", "doctor"]
    env = {**os.environ, "INSTANCE": str(tmp_path), "FLASK_PUSH_HEARTBAET": "1"}
    done = subprocess.run(
        command, cwd=ROOT / "tests", env=env, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "error  config: The app can't be loaded: PUSH_HEARTBAET" in done.stdout
    assert "\n       -> flask --app " in done.stdout
