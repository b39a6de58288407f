"""An app whose answers are runs: one is made and followed with each request."""

from __future__ import annotations

import collections.abc as cabc
import os
import threading
import time

from flask import Flask
from flask import request
from flask import Response

from flask_push import Push

app = Flask("answers", instance_path=os.environ["INSTANCE"])
app.config.update(PUSH_MAX_STREAMS=200_000)
app.config.from_prefixed_env()
push = Push(app)


def words(pause: float) -> cabc.Iterator[str]:
    while True:
        time.sleep(pause)
        yield "a-word"


def produce(channel: str, pause: float) -> None:
    with push.run(channel, key="answer") as run:
        run.write_all(words(pause))


@app.get("/")
def answer() -> Response:
    channel, pause = f"answer:{request.args['n']}", float(request.args["pause"])
    run = push.run(channel, key="answer")
    # On gevent it is a greenlet.
    threading.Thread(target=produce, args=(channel, pause), daemon=True).start()
    return push.follow(run, wire="openai")
