"""The app of the page *Who is online*. A cookie says who a user is."""

from __future__ import annotations

import os
import typing as t

from flask import Flask
from flask import make_response
from flask import request
from flask import Response
from support.pages import blocks
from support.pages import DOCS

from flask_push import Push

app = Flask("online", instance_path=os.environ["INSTANCE"])
app.config.from_prefixed_env()
push = Push(app)


class CurrentUser:
    @property
    def id(self) -> str:
        return request.cookies["user"]

    @property
    def name(self) -> str:
        return self.id.title()


@app.get("/login/<user>")
def login(user: str) -> Response:
    response = make_response("<!doctype html><title>Who is online</title>")
    response.set_cookie("user", user)
    return response


def login_required(view: t.Any) -> t.Any:
    return view


def may(user: CurrentUser, name: str) -> bool:
    return name.startswith("group:")


names = {"app": app, "push": push, "current_user": CurrentUser()}
exec(blocks(DOCS["presence"], "python")[0], {**names, **vars()})
