"""The basic app, whose worker also listens: in a thread, or in a greenlet of gevent."""

from __future__ import annotations

import threading
import typing as t

import click
from flask import request

from apps.basic import app
from apps.basic import push
from flask_push import Event
from flask_push import Listener
from flask_push.asgi import PushASGI

asgi = PushASGI(app, threads=4)
received: list[Event] = []
listeners: list[Listener] = []
readers: list[threading.Thread] = []


@app.post("/listen")
def listen() -> str:
    listeners.append(push.listen(*request.args.getlist("channel")))
    reader = threading.Thread(target=received.extend, args=listeners[-1:], daemon=True)
    readers.append(reader)
    readers[-1].start()
    return ""


@app.get("/received")
def what_was_received() -> list[t.Any]:
    return [[event.type, event.id, event.data] for event in received]


@app.post("/close")
def close() -> str:
    listeners[-1].close()
    readers[-1].join(20)
    return "waits" if readers[-1].is_alive() else "ended"


@app.cli.command("listen")
@click.argument("channel")
def listen_in_a_command(channel: str) -> None:
    for event in push.listen(channel):
        print(event.type, event.data, flush=True)
        if event.data == "end":
            break
