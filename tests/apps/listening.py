"""Listens, with an app or with a URL, and writes what it gets into a file.

It is a program of its own, such as a worker of a task queue.
"""

from __future__ import annotations

import importlib
import json
import sys

from flask_push import Listener
from flask_push import Publisher
from flask_push import Push


def listen(where: str, words: list[str], since: str) -> Listener:
    """
    :param where: A URL, or the module of an app.
    :param words: Channels. If one begins with ``@``, the program watches who is there.
    """
    channels = [word for word in words if word[0] != "@"]
    watched = [word[1:] for word in words if word[0] == "@"]
    if ":" in where:
        return Publisher(where).listen(*channels, since=since, watch=watched)
    push: Push = importlib.import_module(where).push
    return push.listen(*channels, since=since, watch=watched)


def main(where: str, path: str, since: str, *words: str) -> None:
    with (
        listen(where, list(words), since) as listener,
        open(path, "a", buffering=1, encoding="utf-8") as file,
    ):
        for event in listener:
            row = [event.id, event.channel, event.type, event.item, event.data]
            file.write(json.dumps([*row, listener.position]) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
