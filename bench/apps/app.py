"""An app with Flask-Push, and an empty view to compare with."""

from __future__ import annotations

import os
import time
import typing as t

from flask import Flask
from flask import request
from flask import Response

from flask_push import Event
from flask_push import Push

app = Flask("bench", instance_path=os.environ["INSTANCE"])
app.config.update(PUSH_MAX_STREAMS=200_000, PUSH_LIFETIME=0)
app.config.from_prefixed_env()
push = Push(app)


@app.get("/stream")
def stream() -> Response:
    args = request.args
    more: dict[str, t.Any] = {}
    # Older versions, which are measured too, have no presence.
    if {"present", "watch", "counted"} & args.keys():
        more["present"] = dict.fromkeys(args.getlist("present"))
        more |= {name: args.getlist(name) for name in ("watch", "counted")}
    return push.stream(*args.getlist("channel"), user=args.get("user"), **more)


@app.post("/publish")
def publish() -> tuple[str, int]:
    push.publish(request.args["channel"], request.get_data(as_text=True))
    return "", 204


@app.post("/publish_many")
def publish_many() -> tuple[str, int]:
    """Each line of the body is an event: its channel and its data."""
    pairs = [line.split(" ", 1) for line in request.get_data(as_text=True).splitlines()]
    push.publish_many(Event(channel, data) for channel, data in pairs)
    return "", 204


@app.post("/set")
def set_item() -> tuple[str, int]:
    """The data's last digits, of its number, choose one of a hundred items."""
    data = request.get_data(as_text=True)
    push.set(request.args["channel"], f"item{data[14:16]}", data)
    return "", 204


@app.get("/empty")
def empty() -> str:
    return ""


@app.get("/metrics")
def metrics() -> Response:
    return push.metrics()


@app.get("/compute")
def compute() -> str:
    """Compute without pause, as a view that makes a report."""
    end = time.monotonic() + float(request.args["seconds"])
    while time.monotonic() < end:
        sum(range(1000))
    return ""
