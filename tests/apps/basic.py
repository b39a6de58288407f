"""An app that does whatever the tests ask it for."""

from __future__ import annotations

import json
import os
import typing as t

from flask import abort
from flask import Flask
from flask import redirect
from flask import request
from flask import Response
from flask import session
from werkzeug.wrappers import Response as BaseResponse

from flask_push import Event
from flask_push import Push

app = Flask("basic", instance_path=os.environ.get("INSTANCE"))
app.secret_key = "tests"
app.config.from_prefixed_env()
push = Push(app)
torn_down = 0


@app.get("/ping")
def ping() -> str:
    return "pong"


@app.get("/pid")
def pid() -> str:
    return str(os.getpid())


@app.get("/torn-down")
def count_torn_down() -> str:
    return str(torn_down)


@app.post("/publish")
def publish() -> str:
    """A list of events, in one transaction; the id of the last comes back."""
    return push.publish_many(Event(**event) for event in json.loads(request.data))


@app.post("/write")
def write() -> str:
    """What a page has to say, to all but this page."""
    sender = request.headers.get("X-Push-Connection")
    return push.publish("written", request.get_json(), exclude=sender)


@app.get("/stream")
def stream() -> BaseResponse:
    args = request.args
    if "status" in args:
        code = int(args["status"])
        return Response(status=code) if code < 400 else abort(code)
    if "redirect" in args:
        return redirect(args["redirect"])
    session["seen"] = True
    user = args.get("user")
    info = {"name": f"{user}!"}
    return push.stream(
        *(args.getlist("only") or args.getlist("channel")),
        last=args.get("last", 0, int),
        lifetime=float(args["lifetime"]) if "lifetime" in args else None,
        replay=args.get("replay") != "no",
        user=user,
        present=dict.fromkeys(args.getlist("present"), info),
        counted=args.getlist("counted"),
        watch=args.getlist("watch"),
    )


@app.get("/present")
def present() -> dict[str, t.Any]:
    found = push.presence(request.args["channel"])
    infos = {member.user: member.info for member in found.members.values()}
    return {"members": infos, "count": found.count}


@app.get("/at/<path:name>")
def stream_at(name: str) -> BaseResponse:
    return push.stream("a")


@app.route("/choose", methods=["GET", "POST"])
def choose() -> BaseResponse:
    return push.stream(*push.requested(), last=request.args.get("last", 0, int))


@app.get("/script.js")
def script() -> Response:
    """For workers, which need an address."""
    return Response(request.args["text"], mimetype="text/javascript")


@app.get("/history")
def history() -> dict[str, t.Any]:
    found = push.history(request.args["channel"], request.args.get("last", 10**6, int))
    events = [{"id": event.id, "data": event.data} for event in found.events]
    return {"position": found.position, "events": events}


@app.get("/position")
def position() -> str:
    return push.position()


@app.get("/burn")
def burn() -> str:
    """A view that computes for a while."""
    import time

    end = time.monotonic() + float(request.args.get("seconds", "1"))
    while time.monotonic() < end:
        sum(range(1000))
    return "done"


@app.after_request
def mark(response: Response) -> Response:
    response.headers["X-After-Request"] = "yes"
    if "allow" in request.args:
        response.headers["Access-Control-Allow-Origin"] = request.args["allow"]
    origin = request.headers.get("Origin", "")
    if origin.endswith(".test"):
        response.headers["Access-Control-Allow-Origin"] = origin
        response.vary.add("Origin")
    response.get_data()
    return response


@app.teardown_request
def note(_: BaseException | None) -> None:
    global torn_down
    torn_down += 1
