"""A chat: one room, everybody in it, no word lost. Its other half is static/room.js."""

import secrets
import time
from pathlib import Path

from flask import abort
from flask import Flask
from flask import render_template
from flask import request
from flask import Response
from flask import session
from werkzeug.exceptions import HTTPException

from flask_push import Push

app = Flask(__name__)
key = Path(app.instance_path, "secret_key")
key.parent.mkdir(0o700, exist_ok=True)
with key.open("ab+") as file:
    if file.tell() == 0:  # The first start. Sessions live through all others.
        file.write(secrets.token_bytes(32))
    file.seek(0)
    app.secret_key = file.read(32)
app.config.from_prefixed_env()  # FLASK_SECRET_KEY, or FLASK_PUSH_BROKER_URL
push = Push(app)


def text(field: str, most: int) -> str:
    """A field of the request's JSON, which forms on other sites can't send."""
    data = request.get_json()
    value = data.get(field) if isinstance(data, dict) else None
    if not isinstance(value, str) or not 0 < len(value.strip()) <= most:
        abort(400, f"Your {field} needs 1 to {most:,} characters.")
    return value.strip()


def me() -> dict[str, str]:
    if "name" not in session:
        abort(401, "Nobody knows your name. Reload the page to give it again.")
    return {"user": session["user"], "name": session["name"]}


@app.get("/")
def page() -> str:
    return render_template("chat.html")


@app.post("/name")
def name() -> tuple[str, int]:
    session["name"] = text("name", 40)
    session.setdefault("user", secrets.token_urlsafe(8))
    return "", 204


@app.post("/messages")
def say() -> tuple[str, int]:
    message = {**me(), "text": text("message", 2000), "time": time.time()}
    push.unset("typing", session["user"])
    # A page that can't tell whether it was heard sends the message again, with its key.
    push.publish("chat", message, key=f"{session['user']} {text('key', 40)}")
    return "", 204


@app.post("/typing")
def typing() -> tuple[str, int]:
    push.set("typing", me()["user"], session["name"], ttl=5)
    return "", 204


@app.get("/messages")
def messages() -> dict[str, str | list[str]]:
    me()
    history = push.history("chat", last=50)
    return {"position": history.position, "messages": [e.data for e in history.events]}


@app.get("/stream")
def stream() -> Response:
    user = me()
    here = {"chat": user}
    return push.stream("chat", "typing", user=user["user"], present=here, watch=["chat"])


@app.errorhandler(HTTPException)
def refuse(error: HTTPException) -> tuple[dict[str, str | None], int]:
    return {"error": error.description}, error.code or 500
