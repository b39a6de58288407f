"""A clock that the server pushes: in every window the same second at the same time."""

import threading
import time

from flask import Flask
from flask import Response

from flask_push import Push

app = Flask(__name__)
app.config.from_prefixed_env()  # FLASK_PUSH_BROKER_URL, say
push = Push(app)


def tick() -> None:
    while True:
        time.sleep(1 - time.time() % 1)
        now = int(time.time())
        # Every process of the app ticks. The key sees to it that each second comes once.
        push.publish("clock", time.strftime("%X", time.localtime(now)), key=str(now))


threading.Thread(target=tick, daemon=True).start()


@app.get("/stream")
def stream() -> Response:
    return push.stream("clock", last=1)


@app.get("/")
def page() -> str:
    return """<!doctype html><meta name="viewport" content="width=device-width">
        <title>Clock</title><h1 style="font: 20vw system-ui; text-align: center">…</h1>
        <script>
          new EventSource("stream").onmessage = (event) =>
            document.querySelector("h1").textContent = event.data
        </script>"""
