"""An app with an admin page. A cookie says who somebody is."""

from __future__ import annotations

import os
import typing as t

from flask import abort
from flask import Flask
from flask import redirect
from flask import request
from flask import Response

from flask_push import Push

app = Flask("admin", instance_path=os.environ.get("INSTANCE"))
app.config["PUSH_ADMIN_URL_PREFIX"] = "/push/admin"
app.config.from_prefixed_env()


def is_admin() -> t.Any:
    who = request.cookies.get("who")
    return redirect("/login") if who is None else who == "admin"


push = Push(app, admin=is_admin)


@app.before_request
def check_referer() -> None:
    """As Flask-WTF does over TLS."""
    if request.method == "POST" and not request.headers.get("Referer", "").startswith(
        request.host_url
    ):
        abort(400, "The referrer header is missing.")


@app.get("/login")
def login() -> Response:
    response = Response("<!doctype html><title>Login</title>", mimetype="text/html")
    response.set_cookie("who", "admin")
    return response


@app.get("/stream")
def stream() -> Response:
    user = request.args.get("user")
    session = f"session of {user}" if user else None
    return push.stream(*request.args.getlist("channel"), user=user, session=session)
