"""Tasks of Celery that write runs, and are delivered again after all that can happen."""

from __future__ import annotations

import os
import signal
import time
import typing as t

from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded

from flask_push import Publisher
from flask_push import RunBusy

app = Celery("runs", broker=os.environ["REDIS"], backend=os.environ["REDIS"])
app.conf.broker_connection_retry_on_startup = True
publisher = Publisher(os.environ["REDIS"], timeout=20)


@app.task(  # type: ignore[untyped-decorator]
    bind=True,
    acks_late=True,
    reject_on_worker_lost=True,
    autoretry_for=(RunBusy, SoftTimeLimitExceeded),
    retry_backoff=False,
    default_retry_delay=0.1,
    max_retries=None,
)
def answer(task: t.Any, way: str) -> str:
    """Each way is a channel, too."""
    run = publisher.run(way, key="the answer")
    if run.over:
        return f"{run.status}, delivered again"
    with run:
        run.write_all(["attempt ", f"{run.attempt}"])
        if run.attempt > 1 or way == "done":
            return "done"
        if way == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if way == "retried":
            raise task.retry(countdown=0)
        if way == "stopped":
            while True:
                run.check()
                time.sleep(0.01)
        # Until a limit of time.
        time.sleep(60)
    return run.status
