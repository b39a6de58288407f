"""Where answers are made: in a thread of the server, or by workers of Celery or RQ."""

import typing as t
from contextlib import suppress
from threading import Thread

from flask import Flask

from flask_push import RunBusy

Produce = t.Callable[[str, str, str, str], None]


def starter(app: Flask, produce: Produce) -> t.Callable[..., object]:
    """What starts it, as ``FLASK_ANSWER_IN`` says."""
    place = app.config.get("ANSWER_IN", "thread")
    url = app.config.get("ANSWER_URL", "redis://127.0.0.1/")
    return {"thread": in_thread, "celery": in_celery, "rq": in_rq}[place](app, produce, url)


def in_thread(app: Flask, produce: Produce, url: str) -> t.Callable[..., object]:
    def work(*about: str) -> None:
        with suppress(RunBusy):  # The same question was asked twice at once.
            produce(*about)

    return lambda *about: Thread(target=work, args=about).start()


def in_celery(app: Flask, produce: Produce, url: str) -> t.Callable[..., object]:
    from celery import Celery

    celery = app.extensions["celery"] = Celery("answers", broker=url)
    # If a worker is killed, another one makes the answer. It has to wait until the run of
    # the first one is lost.
    late = {"acks_late": True, "reject_on_worker_lost": True}
    again = {"autoretry_for": (RunBusy,), "retry_backoff": 5, "max_retries": None}
    return celery.task(produce, name="produce", **late, **again).delay


def in_rq(app: Flask, produce: Produce, url: str) -> t.Callable[..., object]:
    from redis import Redis
    from rq import Queue

    queue = Queue(connection=Redis.from_url(url))
    return lambda *about: queue.enqueue(produce, *about)
