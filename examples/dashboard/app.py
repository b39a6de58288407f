"""A dashboard: fifty values that change all the time, and an alarm if one is too high."""

import threading
import time
from contextlib import suppress

from flask import Flask
from flask import render_template
from flask import Response
from machines import MACHINES
from machines import measure
from machines import METRICS

from flask_push import Event
from flask_push import NotPublished
from flask_push import PublishUncertain
from flask_push import Push

app = Flask(__name__)
app.config.from_prefixed_env()  # FLASK_PUSH_BROKER_URL, say
push = Push(app)


def sample() -> None:
    while True:
        time.sleep(0.1 - time.time() % 0.1)
        now = round(time.time(), 1)
        events = []
        for name, (value, is_too_high) in measure(now).items():
            # A value that is no longer measured disappears after five seconds.
            events.append(Event("metrics", value, item=name, ttl=5))
            if is_too_high:
                # Every process of the app measures. The key stores an alarm once a minute.
                alarm = {"name": name, "value": value, "time": now}
                key = f"{name} {now // 60:.0f}"
                events.append(Event("metrics", alarm, type="alarm", key=key))
        with suppress(NotPublished, PublishUncertain):  # The next sample follows soon.
            push.publish_many(events)


threading.Thread(target=sample, daemon=True).start()


@app.get("/stream")
def stream() -> Response:
    # All fifty values in one write, twice a second.
    return push.stream("metrics", every=0.5)


@app.get("/")
def page() -> str:
    # The channel's events are its alarms. Items are not among them.
    alarms = push.history("metrics", last=20)
    shown = {"machines": MACHINES, "metrics": METRICS, "alarms": alarms}
    return render_template("dashboard.html", **shown)
