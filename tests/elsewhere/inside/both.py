"""What an app and its tests need works as ever, whatever the process lacks."""

from __future__ import annotations

import collections.abc as cabc
import concurrent.futures
import contextlib
import logging
import os
import shutil
import sqlite3
import ssl
import subprocess
import sys
import threading
import typing as t
import urllib.request
from pathlib import Path

import pytest
import redis
from flask import Flask
from support.certificates import certificate as certificate
from werkzeug.serving import make_server


def hello() -> Flask:
    app = Flask("hello")

    @app.get("/")
    def index() -> str:
        return "hello"

    return app


@contextlib.contextmanager
def served(**options: t.Any) -> cabc.Iterator[int]:
    server = make_server("127.0.0.1", 0, hello(), threaded=True, **options)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_server_of_werkzeug_answers() -> None:
    with served() as port:
        for _ in range(3):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
                assert answer.read() == b"hello"


def test_it_answers_over_tls(certificate: Path) -> None:
    files = str(certificate / "cert"), str(certificate / "key")
    context = ssl.create_default_context(cafile=files[0])
    with served(ssl_context=files) as port:
        url = f"https://localhost:{port}/"
        with urllib.request.urlopen(url, context=context) as answer:
            assert answer.read() == b"hello"


def test_commands_of_an_app_run() -> None:
    app = hello()

    @app.cli.command("speak")
    def speak() -> None:
        print("spoken")

    assert app.test_cli_runner().invoke(speak).output == "spoken\n"
    assert hello().test_client().get("/").text == "hello"


def test_sqlite_writes_in_several_threads(tmp_path: Path) -> None:
    path = tmp_path / "a.db"

    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (n)")

    def write(number: int) -> None:
        with contextlib.closing(sqlite3.connect(path, timeout=20)) as connection:
            with connection:
                connection.execute("INSERT INTO t VALUES (?)", (number,))

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(8)))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (8,)


def test_redis_is_reached() -> None:
    with redis.Redis.from_url(os.environ["REDIS_URL"], socket_keepalive=True) as client:
        subscription = client.pubsub()
        subscription.subscribe("c")
        assert subscription.get_message(timeout=20)["type"] == "subscribe"
        client.publish("c", "x")
        assert subscription.get_message(timeout=20)["data"] == b"x"
        subscription.close()


def test_a_program_is_run_and_read() -> None:
    echo = [sys.executable, "-c", "import sys; print(sys.stdin.read(), end='')"]
    done = subprocess.run(echo, input=b"x" * 10**6, capture_output=True, timeout=20)
    assert done.stdout == b"x" * 10**6
    with pytest.raises(subprocess.TimeoutExpired):
        command = [sys.executable, "-c", "import time; time.sleep(60)"]
        subprocess.run(command, timeout=0.2)


def test_directories_are_walked_copied_and_removed(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_text("x")
    shutil.copytree(tmp_path / "a", tmp_path / "d")
    assert [path.name for path in (tmp_path / "d").rglob("c")] == ["c"]
    assert [files for *_, files in os.walk(tmp_path / "d")][-1] == ["c"]
    shutil.rmtree(tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_a_log_is_written_to_a_file(tmp_path: Path) -> None:
    handler = logging.FileHandler(tmp_path / "log", encoding="utf-8")
    handler.emit(logging.makeLogRecord({"msg": "words"}))
    handler.close()
    assert (tmp_path / "log").read_text() == "words\n"
