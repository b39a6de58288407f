"""An app that was written for Flask-SSE, and reads what other services publish with it."""

from __future__ import annotations

import os

from flask import Flask

from flask_push import Push
from flask_push.compat.flask_sse import sse

app = Flask("moved", instance_path=os.environ.get("INSTANCE"))
app.config.from_prefixed_env()
app.config["PUSH_BROKER_URL"] = app.config["REDIS_URL"]
push = Push(app)
push.bridge("redis:sse", channel="sse:sse", wire="flask-sse")
push.bridge("redis:users.social", channel="sse:users.social", wire="flask-sse")
app.register_blueprint(sse, url_prefix="/stream")


@app.post("/publish")
def publish() -> str:
    return sse.publish("ours", type="greeting")
