"""Imports of files. Each has a progress, can be cancelled, and has a result in the end.

An import is a row, and a run while it goes on. All runs are listed on one channel, so a
page shows their progress with one stream.
"""

import csv
import secrets
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextlib import suppress
from pathlib import Path

from flask import abort
from flask import Flask
from flask import render_template
from flask import request
from flask.typing import ResponseReturnValue as Answer

from flask_push import Push
from flask_push import RunBusy

app = Flask(__name__)
app.config.from_prefixed_env()  # FLASK_PUSH_BROKER_URL, say
push = Push(app)
# The others are queued. With Celery or RQ, see the example answers.
threads = ThreadPoolExecutor(2)


def sql(text: str, *values: object) -> list[tuple[str, ...]]:
    path = Path(app.instance_path, "imports.db")
    path.parent.mkdir(0o700, exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        return db.execute(text, values).fetchall()


sql("CREATE TABLE IF NOT EXISTS import (id TEXT PRIMARY KEY, name, file, result)")


def work(id: str) -> None:
    run = push.run(f"import:{id}", key=id)  # The view has made it.
    if run.over:  # It was cancelled while it was queued, say.
        return
    with run:
        ((file,),) = sql("SELECT file FROM import WHERE id = ?", id)
        rows = list(csv.reader(file.splitlines()))
        total = 0.0
        for count, row in enumerate(rows, 1):
            time.sleep(0.02)  # Here the row would be stored.
            try:
                total += float(row[1])
            except (IndexError, ValueError):
                # The user reads this. The text of any other exception stays here.
                run.fail(f"Row {count} has no price.")
            # It ends the block if the import was cancelled.
            run.progress(count, len(rows), row[0])
        result = f"{len(rows):,} rows, {total:,.2f} in all"
        # Before the end: a page that sees the end finds the result.
        sql("UPDATE import SET result = ? WHERE id = ?", result, id)


def start(id: str, name: str) -> None:
    run = push.run(f"import:{id}", key=id, listed="imports", info={"name": name})
    if run.status in ("queued", "failed", "lost"):
        threads.submit(produce, id)


def produce(id: str) -> None:
    with suppress(RunBusy):  # It was started twice at once.
        work(id)


@app.get("/")
def page() -> str:
    items = push.items("imports")  # Before the rows: then none of them is missing.
    rows = sql("SELECT id, name, result FROM import ORDER BY rowid DESC LIMIT 20")
    return render_template("jobs.html", rows=rows, since=items.position)


@app.get("/stream")
def stream() -> Answer:
    return push.stream("imports")


@app.post("/imports")
def add() -> Answer:
    file = request.files["file"]
    id, name = secrets.token_urlsafe(8), file.filename or "a file"
    text = file.read(1_000_000).decode(errors="replace")
    sql("INSERT INTO import VALUES (?, ?, ?, NULL)", id, name, text)
    start(id, name)
    return {"id": id}, 202


@app.get("/imports/<id>")
def show(id: str) -> Answer:
    found = sql("SELECT name, result FROM import WHERE id = ?", id) or abort(404)
    return dict(zip(("name", "result"), found[0], strict=True))


@app.post("/imports/<id>/start")
def start_again(id: str) -> Answer:
    found = sql("SELECT name FROM import WHERE id = ?", id) or abort(404)
    start(id, found[0][0])
    return "", 202


@app.post("/imports/<id>/cancel")
def cancel(id: str) -> Answer:
    push.stop(f"import:{id}")
    return "", 204
