"""Tasks of Celery that publish and listen: in processes that were forked after the module
was imported, and the publisher used."""

from __future__ import annotations

import os

from celery import Celery

from flask_push import Publisher

app = Celery("tasks", broker=os.environ["REDIS"], backend=os.environ["REDIS"])
app.conf.broker_connection_retry_on_startup = True
publisher = Publisher(os.environ["REDIS"])
publisher.publish("celery", "imported")


@app.task  # type: ignore[untyped-decorator]
def announce(number: int) -> str:
    # The same key when the task is repeated, so that nobody hears it twice.
    return publisher.publish("celery", {"number": number}, key=f"announce {number}")


@app.task  # type: ignore[untyped-decorator]
def listen(since: str) -> list[str]:
    """What was published after a position, until the end."""
    found = []
    with publisher.listen("listened", since=since, timeout=60) as events:
        for event in events:
            if event.data == "end":
                break
            if not event.type.startswith("push:"):
                found.append(event.data)
    return found
