"""An app with a Push and its test client, as fixtures."""

from __future__ import annotations

import collections.abc as cabc
import os
import typing as t

import pytest
from flask import Flask
from flask import request
from flask import Response
from flask import session
from flask.testing import FlaskClient

from flask_push import Push


def make_app(push: Push, name: str = "app", **config: t.Any) -> Flask:
    app = Flask(name, instance_path=os.path.abspath("/nonexistent"))
    app.testing = True
    app.secret_key = "tests"
    app.config.update(config)
    push.init_app(app)

    @app.get("/stream")
    def stream() -> Response:
        session["seen"] = True
        return push.stream("a", "b", last=request.args.get("last", 0, int))

    return app


@pytest.fixture
def push() -> Push:
    return Push()


@pytest.fixture
def app(push: Push) -> cabc.Iterator[Flask]:
    app = make_app(push)
    yield app
    with app.app_context():
        push._services().close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def hub_of(push: Push) -> t.Any:
    (state,) = push._states.values()
    return state.services().hub
