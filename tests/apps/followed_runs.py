"""An app whose pages follow runs."""

from __future__ import annotations

import os

from flask import Flask
from flask import request
from werkzeug.wrappers import Response as BaseResponse

from flask_push import _config
from flask_push import _publisher_checks
from flask_push import Push

# An app can't have such a short PUSH_LOST_AFTER as some tests.
_config.KEYS["PUSH_LOST_AFTER"] = lambda value: ""
vars(_publisher_checks)["MIN_LOST_AFTER"] = 0
app = Flask("basic", instance_path=os.environ["INSTANCE"])
app.config.from_prefixed_env()
push = Push(app)


@app.get("/")
def index() -> str:
    return ""


@app.get("/follow/<channel>")
def follow(channel: str) -> BaseResponse:
    wire = request.args.get("wire", "push")
    if "key" in request.args:
        run = push.run(channel, key=request.args["key"])
        return push.follow(run, wire=wire)  # type: ignore[arg-type]
    late = float(request.args.get("late", 0))
    return push.follow(channel, wire=wire, late=late)  # type: ignore[arg-type]


@app.post("/stop/<channel>")
def stop(channel: str) -> dict[str, bool | str]:
    return {"stopped": push.stop(channel), "position": push.position()}
