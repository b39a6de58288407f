"""Threads of a web worker write runs, until the worker ends."""

from __future__ import annotations

import os
import threading

from flask import Flask

from flask_push import Push
from flask_push import Run

app = Flask(__name__, instance_path=os.environ["INSTANCE"])
app.config.from_prefixed_env()
push = Push(app)


def answer(run: Run) -> None:
    with run:
        run.write("x")
        threading.Event().wait()


@app.post("/answer")
def begin() -> str:
    threading.Thread(target=answer, args=(push.run("a"),), daemon=True).start()
    return ""
