"""The basic app on ASGI, with four threads."""

from __future__ import annotations

import os
import threading
import time
import typing as t

from apps.basic import app
from flask_push.asgi import PushASGI

asgi = PushASGI(app, threads=4)


@app.get("/state")
def state() -> dict[str, t.Any]:
    return {
        "asgi": repr(asgi),
        "threads": threading.active_count(),
        "descriptors": len(os.listdir("/dev/fd")),
    }


@app.get("/slow")
def slow() -> str:
    time.sleep(0.5)
    return "slow"
