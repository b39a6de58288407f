"""Another process with a store, which does one thing after another, as it is told.

Each line in says what, and each line out what came of it.
"""

from __future__ import annotations

import json
import sys
import typing as t
from pathlib import Path

from flask_push import Event
from flask_push.brokers.sqlite import SqliteBroker


def main(path: str) -> None:
    broker = SqliteBroker(Path(path))

    def publish(channel: str, data: str) -> str:
        (position,) = broker.publish([Event(channel, data)])
        return str(position)

    def read(channel: str) -> list[str]:
        page = broker.read([channel], after=0, limit=2**30)
        return [entry.data.decode() for entry in page.entries]

    acts: dict[str, t.Callable[..., t.Any]] = {
        "publish": publish,
        "read": read,
        "epoch": lambda: broker.read([], after=0).epoch,
        "close": broker.close,
    }
    for line in sys.stdin:
        act, *arguments = json.loads(line)
        print(json.dumps(acts[act](*arguments)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
