"""ASGI servers, as the tests start them."""

from __future__ import annotations

import collections.abc as cabc
import sys
import threading
import typing as t
from pathlib import Path

import pytest
from flask import Flask

from flask_push import Push

BIN = Path(sys.executable).parent


def program(name: str, *words: str, port: str) -> cabc.Callable[..., list[str]]:
    def command(app: str, number: int, *more: str) -> list[str]:
        at = port.format(number).split()
        return [str(BIN / name), *words, *at, *more, f"{app}:asgi"]

    return command


SERVERS = {
    "uvicorn": program("uvicorn", port="--port {}"),
    "hypercorn": program("hypercorn", port="-b 127.0.0.1:{}"),
    "granian": program("granian", "--interface", "asgi", port="--port {}"),
    "gunicorn": program(
        "gunicorn", "-k", "asgi", "--no-control-socket", port="-b 127.0.0.1:{}"
    ),
}


@pytest.fixture
def app() -> cabc.Iterator[Flask]:
    app = Flask("app")
    app.testing = True
    # No heartbeat notices that a browser has disconnected.
    app.config["PUSH_HEARTBEAT"] = 3600
    push = Push(app)

    @app.get("/stream")
    def stream() -> t.Any:
        return push.stream("a")

    @app.get("/headers")
    def headers() -> t.Any:
        response = push.stream("a", lifetime=0.01)
        response.headers.update({"Connection": "close", "Content-Length": "3", "X": "y"})
        return response

    @app.get("/later")
    def later() -> t.Any:
        reached.set()
        go_on.wait(20)
        return push.stream("a")

    @app.get("/hub")
    def hub() -> t.Any:
        return repr(push._services().hub)

    yield app
    push._services().close()


reached, go_on = threading.Event(), threading.Event()
