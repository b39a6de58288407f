"""Listens, with an app or with a URL, and writes what it gets into a file.

It is a program of its own, such as a worker of a task queue.
"""

from __future__ import annotations

import json
import sys

from flask_push import Listener
from flask_push import Publisher


def listen(where: str, channels: list[str], since: str) -> Listener:
    if ":" in where:
        return Publisher(where).listen(*channels, since=since)
    from apps.basic import push

    return push.listen(*channels, since=since)


def main(where: str, path: str, since: str, *channels: str) -> None:
    with (
        listen(where, list(channels), since) as listener,
        open(path, "a", buffering=1, encoding="utf-8") as file,
    ):
        for event in listener:
            row = [event.id, event.channel, event.type, event.item, event.data]
            file.write(json.dumps([*row, listener.position]) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
