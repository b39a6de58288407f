"""The basic app, with the headers that compressing, measuring and caching would add."""

from __future__ import annotations

from apps.basic import app
from apps.labels import label
from flask_push.asgi import PushASGI

app.after_request(label)
asgi = PushASGI(app, threads=4)
