"""Fixtures for pytest. They use your own fixture ``app``.

Name them in the ``conftest.py`` of your tests::

    pytest_plugins = ["flask_push.testing.fixtures"]
"""

from __future__ import annotations

import collections.abc as cabc
import threading

import pytest
from flask import Flask
from werkzeug.serving import make_server

from .._event import Event
from ._captured import captured

__all__ = ["published", "push_server"]


@pytest.fixture
def published(app: Flask) -> cabc.Iterator[list[Event]]:
    """What the test and its app publish, as :func:`.captured` lists it."""
    with app.app_context():
        with captured(app.extensions["push"]) as events:
            yield events


@pytest.fixture
def push_server(app: Flask) -> cabc.Iterator[str]:
    """The URL of a server in a thread, which runs the app until the test ends."""
    app.testing = True
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()
