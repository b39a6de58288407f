"""Tasks of RQ that write runs. RQ forks a process for each."""

from __future__ import annotations

import os
import time

from flask_push import Publisher

publisher = Publisher(os.environ["REDIS"], timeout=20)


def answer(way: str) -> str:
    """Each way is a channel, too."""
    run = publisher.run(way, key="the answer")
    if run.over:
        return f"{run.status}, delivered again"
    with run:
        run.write_all(["attempt ", f"{run.attempt}"])
        if run.attempt > 1 or way == "done":
            return "done"
        if way == "retried":
            raise ArithmeticError
        # Until a limit of time, or until RQ kills the process.
        time.sleep(60)
    return run.status
