"""Answers of a model. They go on without their page, and every device sees them grow.

A question is a row. Its answer is a run while a thread or a worker makes it, and a row when
it is whole. The pages follow the run, and at its end they fetch the rows.
"""

import itertools
import secrets
import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path

from flask import Flask
from flask import redirect
from flask import render_template
from flask import request
from flask import url_for
from flask.typing import ResponseReturnValue as Answer
from formats import FORMATS
from model import model
from starting import starter

from flask_push import Push
from flask_push import Run
from flask_push import RunBusy

app = Flask(__name__)
app.config.from_prefixed_env()  # FLASK_ANSWER_IN=celery, or FLASK_PUSH_BROKER_URL
push = Push(app)


def sql(text: str, *values: object) -> list[tuple[str, ...]]:
    path = Path(app.instance_path, "answers.db")
    path.parent.mkdir(0o700, exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        return db.execute(text, values).fetchall()


sql("CREATE TABLE IF NOT EXISTS message (id TEXT PRIMARY KEY, chat, role, text)")


def save(id: str, chat: str, role: str, text: str) -> None:
    # To save it twice is the same as to save it once.
    sql("INSERT OR IGNORE INTO message VALUES (?, ?, ?, ?)", id, chat, role, text)


def produce(wire: str, channel: str, key: str, question: str) -> None:
    """Make an answer: in a thread, or in a worker, which may be called twice."""
    run = push.run(channel, key=key)
    if run.over:
        return
    with run:
        pieces = run.write_all(FORMATS[wire](model(question), run, channel, key))
        text = "".join(piece.get("delta", "") for piece in pieces)
        # Before the end: a page that sees the end finds the row. A stopped answer, too.
        save(run.id, channel, "assistant", text)


start = starter(app, produce)
celery = app.extensions.get("celery")  # What `celery -A app:celery worker` starts.


def begin(run: Run, wire: str, question: str) -> Run:
    if run.status == "queued":  # And not if its request is repeated.
        start(wire, run.channel, run.key, question)
    return run


def ask(chat: str, id: str, text: str) -> Run:
    channel = f"chat:{chat}"
    for count in itertools.count():
        # A question that is asked again after a failure has another run.
        run = push.run(channel, key=f"{id} {count}")
        if run.status not in ("failed", "lost"):
            break
    save(id, channel, "user", text)
    push.publish(channel, {"id": id, "text": text})  # To all devices.
    return begin(run, "ai-sdk", text)


@app.errorhandler(RunBusy)
def refuse(busy: RunBusy) -> Answer:
    return "Another question is being answered.", 409, {"x-should-retry": "false"}


@app.get("/")
def new() -> Answer:
    return redirect(url_for("show", chat=secrets.token_urlsafe(9)))


@app.get("/chats/<chat>")
@app.get("/chats/<chat>/<any(react):page>")
def show(chat: str, page: str = "chat") -> Answer:
    # In this order, an answer is in the rows or can be followed, at each moment.
    since, running = push.position(), push.running(f"chat:{chat}")
    shown = {"chat": chat, "page": page, "since": since, "running": bool(running)}
    return render_template(f"{page}.html", rows=rows(chat), **shown)


@app.get("/chats/<chat>/messages")
def rows(chat: str) -> list[dict[str, str]]:
    text = "SELECT id, role, text FROM message WHERE chat = ? ORDER BY rowid"
    found = sql(text, f"chat:{chat}")
    return [{"id": id, "role": role, "text": text} for id, role, text in found]


@app.get("/chats/<chat>/stream")
def stream(chat: str) -> Answer:
    return push.stream(f"chat:{chat}")


@app.post("/chats/<chat>/messages")
def post(chat: str) -> Answer:
    asked = request.get_json()
    ask(chat, asked["id"], asked["text"])
    return "", 202


@app.get("/chats/<chat>/answer")
def follow(chat: str) -> Answer:
    return push.follow(f"chat:{chat}", late=30)  # Also if it failed at once.


@app.post("/api/chat")
def chat() -> Answer:
    """The AI SDK: `useChat` sends a question, and reads its answer from the response."""
    asked = request.get_json()
    question = asked["messages"][-1]
    text = "".join(part.get("text", "") for part in question["parts"])
    return push.follow(ask(asked["id"], question["id"], text), wire="ai-sdk")


@app.get("/api/chat/<chat>/stream")
def resume(chat: str) -> Answer:
    return push.follow(f"chat:{chat}", wire="ai-sdk")


@app.post("/agent")
def agent() -> Answer:
    """AG-UI: `HttpAgent`, or CopilotKit."""
    asked = request.get_json()
    run = push.run(f"agent:{asked['threadId']}", key=asked["runId"])
    text = asked["messages"][-1]["content"] if asked["messages"] else ""
    return push.follow(begin(run, "ag-ui", text), wire="ag-ui")


@app.post("/v1/chat/completions")
def complete() -> Answer:
    """OpenAI's clients. They send no key, so a question is its own."""
    text = request.get_json()["messages"][-1]["content"]
    run = push.run(f"completion:{sha256(text.encode()).hexdigest()[:16]}", key="1")
    return push.follow(begin(run, "openai", text), wire="openai")


@app.post("/chats/<id>/stop")
@app.post("/api/chat/<id>/stop")
@app.post("/<kind>/<id>/stop")
def stop(id: str, kind: str = "chat") -> Answer:
    push.stop(f"{kind}:{id}")
    return "", 204
