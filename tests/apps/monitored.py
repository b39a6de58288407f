"""The basic app, with views for those who watch it."""

from __future__ import annotations

from flask import Response
from support import short_beats

from .basic import app as app
from .basic import push

short_beats.in_hubs()
app.add_url_rule("/metrics", view_func=push.metrics)
app.add_url_rule("/health", view_func=push.health)


@app.get("/alive")
def alive() -> Response:
    return push.health(store=False)
