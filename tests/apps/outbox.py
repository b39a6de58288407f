"""An app that publishes by an outbox, on the database that ``DATABASE`` names."""

from __future__ import annotations

import contextlib
import os

import sqlalchemy as sa
from flask import Flask
from flask import request
from flask import Response
from flask_sqlalchemy import SQLAlchemy

from flask_push import Push
from flask_push.sqlalchemy import Outbox

db = SQLAlchemy()
push = Push()
outbox = Outbox(push, db.metadata)


class Order(db.Model):  # type: ignore[name-defined,misc]
    id: sa.orm.Mapped[int] = sa.orm.mapped_column(primary_key=True)


def create_app() -> Flask:
    app = Flask("outbox", instance_path=os.environ["INSTANCE"])
    app.config.from_prefixed_env()
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE"]
    db.init_app(app)
    push.init_app(app)
    # Another worker may do it at the same moment.
    with app.app_context(), contextlib.suppress(sa.exc.DBAPIError):
        db.create_all()
    return app


app = create_app()
if "EARLY" in os.environ:
    with app.app_context():
        outbox.publish(db.session, "a", "early")
        db.session.commit()


@app.get("/")
def index() -> str:
    return repr(outbox)


@app.post("/order")
def order() -> str:
    for text in request.form.getlist("data"):
        db.session.add(Order())
        outbox.publish(db.session, "a", text)
    db.session.commit()
    return str(os.getpid())


@app.post("/fork")
def fork() -> str:
    """A process that is forked has a relay of its own."""
    child = os.fork()
    if child == 0:
        try:
            outbox.publish(db.session, "a", "forked")
            db.session.commit()
            outbox.relay()
            os._exit(0)
        finally:
            os._exit(1)
    return str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


@app.get("/sent")
def sent() -> list[str]:
    return [event.data for event in push.history("a", 1000).events]


@app.get("/stream")
def stream() -> Response:
    return push.stream("a")
