"""An app whose views follow runs. The tests write them, from a process of their own."""

from __future__ import annotations

import os

from flask import Flask
from flask import request
from werkzeug.wrappers import Response

from flask_push import Push

app = Flask("answers", instance_path=os.environ.get("INSTANCE"))
app.config.from_prefixed_env()
push = Push(app)


@app.get("/ping")
def ping() -> str:
    return "pong"


@app.route("/follow", methods=["GET", "POST"])
def follow() -> Response:
    late = request.args.get("late", 0.0, float)
    return push.follow("a", late=late, user=request.args.get("user"))
