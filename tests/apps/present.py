"""An app whose streams show that their users are present."""

from __future__ import annotations

import os
import typing as t

from flask import Flask
from flask import request
from support import short_beats
from werkzeug.wrappers import Response as BaseResponse

from flask_push import Push

short_beats.in_hubs()
app = Flask("basic", instance_path=os.environ["INSTANCE"])
app.config.from_prefixed_env()
push = Push(app)


@app.get("/stream")
def stream() -> BaseResponse:
    args = request.args
    return push.stream(
        "news",
        user=args.get("user"),
        present={name: args["info"] for name in args.getlist("present")},
        watch=args.getlist("watch"),
        counted=args.getlist("counted"),
    )


@app.get("/presence")
def presence() -> dict[str, t.Any]:
    """All channels of the request, with the info of each user and the number of users."""
    found = {}
    for name in request.args.getlist("channel"):
        there = push.presence(name)
        users = {user: member.info for user, member in there.members.items()}
        found[name] = {"users": users, "count": there.count}
    return found


@app.get("/position")
def position() -> str:
    return push.position()
