"""Flask-SSE: each answer is published word by word, on a channel of its own."""

import os
import time

import gevent
from flask import Flask
from flask import request
from flask import stream_with_context
from flask_sse import sse

app = Flask("peer")
app.config["REDIS_URL"] = os.environ["REDIS_URL"]


def produce(channel, pause):
    with app.app_context():
        while True:
            time.sleep(pause)
            sse.publish("a-word", channel=channel)


@app.get("/")
def answer():
    channel = request.args["n"]
    # It keeps nothing: who subscribes too late has lost the first words.
    gevent.spawn_later(1, produce, channel, float(request.args["pause"]))
    return app.response_class(
        stream_with_context(f"{message}" for message in sse.messages(channel=channel)),
        mimetype="text/event-stream",
    )
