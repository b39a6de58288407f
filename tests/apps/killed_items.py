"""``killed_items FILE N`` changes items and publishes, and is killed before a statement."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from flask_push import Event
from flask_push.brokers import ItemChange
from flask_push.brokers.sqlite import SqliteBroker

if __name__ == "__main__":
    path, number = Path(sys.argv[1]), int(sys.argv[2])
    broker = SqliteBroker(path)
    broker.read(["a"])
    with broker._writing.write(10) as connection:
        pass
    left = [number]

    def run(statement: str) -> None:
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1

    connection.set_trace_callback(run)
    broker.change(
        [
            ItemChange("a", "old1", None, due=True),
            Event("a", "killed"),
            ItemChange("a", "old2", "killed", owner="o"),
            ItemChange("a", "new", "killed", ttl=60),
            Event("a", "again", key="k"),
        ]
    )
