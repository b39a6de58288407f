"""Writes a run as a task does that may be delivered twice, and killed at any time. It notes
what it has stored.

It exits with 3 if it has to be delivered again.
"""

from __future__ import annotations

import collections.abc as cabc
import json
import sys
import time
import typing as t
from pathlib import Path

from flask_push import NotPublished
from flask_push import Publisher
from flask_push import PublishUncertain
from flask_push import Run
from flask_push import RunBusy
from flask_push import RunOver
from flask_push._holder import process

AGAIN = 3


def texts(attempt: int, count: int, pause: float) -> cabc.Iterator[str]:
    for n in range(count):
        yield f"{attempt} {n}"
        time.sleep(pause)


def main(url: str, channel: str, notes: str, count: str, pause: str, seconds: str) -> int:
    lost_after = float(seconds)
    process._BEFORE_LOST = lost_after / 4
    publisher = Publisher(url, timeout=0.5)
    # An app can't have such a short time.
    publisher._run_times = (lost_after,)
    with Path(notes).open("a", buffering=1) as file:

        def note(**values: t.Any) -> None:
            file.write(json.dumps(values) + "\n")

        try:
            run = publisher.run(channel, key=channel)
            if run.over:
                note(over=run.status)
                return 0
            with run:
                write(run, note, int(count), float(pause))
        except (RunBusy, RunOver, NotPublished, PublishUncertain) as error:
            print(channel, repr(error), flush=True)
            return AGAIN
        note(left=run.status, attempt=run.attempt)
        return 0


def write(run: Run, note: t.Any, count: int, pause: float) -> None:
    source = texts(run.attempt, count, pause)
    if run.channel.endswith("all"):
        note(attempt=run.attempt, written=len(run.write_all(source)))
        return
    for n, text in enumerate(source):
        run.write(text)
        note(attempt=run.attempt, written=n + 1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
