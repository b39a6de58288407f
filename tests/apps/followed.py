"""An app whose runs can be followed. A test writes them."""

from __future__ import annotations

import os
import typing as t

from flask import Flask
from flask import Response

from flask_push import Push
from flask_push.asgi import PushASGI

from .no_sockets import hide_sockets

# The name of the app that the helpers of the tests know.
app = Flask("basic", instance_path=os.environ.get("INSTANCE"))
app.config.from_prefixed_env()
push = Push(app)
asgi = PushASGI(app)

if os.environ.get("RELAYED"):
    hide_sockets(app)


@app.get("/ping")
def ping() -> str:
    return "pong"


@app.get("/url")
def url() -> str:
    return push.broker_url


@app.route("/follow/<wire>/<channel>", methods=["GET", "POST"])
def follow(wire: t.Any, channel: str) -> Response:
    return push.follow(channel, wire=wire, late=600)
