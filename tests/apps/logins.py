"""An app whose streams belong to users and logins, and whose view takes channels away."""

from __future__ import annotations

import json
import os
import time
import typing as t
from pathlib import Path

from flask import abort
from flask import Flask
from flask import request
from werkzeug.wrappers import Response as BaseResponse

from flask_push import Event
from flask_push import Push

app = Flask("basic", instance_path=os.environ["INSTANCE"])
app.config.from_prefixed_env()
push = Push(app)
# A test writes there what the view refuses.
refused = Path(app.instance_path, "refused.json")


@app.get("/ping")
def ping() -> str:
    return "pong"


@app.post("/publish")
def publish() -> str:
    return push.publish_many(Event(**event) for event in json.loads(request.data))


@app.get("/position")
def position() -> str:
    return push.position()


@app.post("/disconnect")
def disconnect() -> str:
    return push.disconnect(**json.loads(request.data))


def hold(file: Path) -> None:
    """Make a file, and wait until the test removes it."""
    file.touch()
    for _ in range(2000):
        if not file.exists():
            return
        time.sleep(0.01)
    abort(503)


@app.get("/address")
def address() -> str:
    """A signed address."""
    rules()
    args = request.args
    return push.stream_url(
        *args.getlist("channel"),
        expires=args.get("expires", 60.0, float),
        user=args.get("user"),
        session=args.get("session"),
        last=args.get("last", 0, int),
        _external="external" in args,
    )


def rules() -> dict[str, t.Any]:
    found: dict[str, t.Any] = json.loads(refused.read_text()) if refused.exists() else {}
    if found.get("status"):
        abort(found["status"])
    return found


@app.get("/stream")
def stream() -> BaseResponse:
    channels = [c for c in push.requested() if c not in rules().get("channels", [])]
    args = request.args
    if "held" in args:
        hold(Path(args["held"]))
    return push.stream(*channels, user=args.get("user"), session=args.get("session"))
