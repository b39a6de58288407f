"""Sets and unsets items, and publishes, until it is killed. It notes what it does.

Some items are its own. For each of them, the store has the newest change that is noted as
done, or one that was noted later.
"""

from __future__ import annotations

import collections.abc as cabc
import json
import random
import sys
import time
import typing as t
from pathlib import Path

import apps.mutant  # noqa: F401
from flask_push import Event
from flask_push import NotPublished
from flask_push import Publisher
from flask_push import PublishUncertain

ITEMS = 20


def main(url: str, notes: str, channels: str, at_once: str = "1") -> None:
    publisher = Publisher(url, timeout=0.5)
    path = Path(notes)
    #: Is there once the store did not answer.
    uncertain = path.with_name(path.name.replace("notes", "uncertain"))
    changes = path.with_name(path.name.replace("notes", "changes"))

    def attempt(call: cabc.Callable[..., str], *args: t.Any, **more: t.Any) -> str:
        while True:
            try:
                return call(*args, **more)
            except NotPublished:
                time.sleep(0.01)
            except PublishUncertain:
                uncertain.touch()
                time.sleep(0.01)

    with path.open("a", buffering=1) as events, changes.open("a", buffering=1) as file:
        channel, gone = "", list[str]()
        while True:
            now = time.time_ns()
            channel = channel if gone else random.choice(channels)
            data = f"{path.stem} {now}"
            if random.random() < 0.1:
                id = attempt(publisher.publish, channel, data, key=data)
                note = {"channel": channel, "data": data, "id": id}
                events.write(json.dumps(note) + "\n")
                continue
            owners = [*[path.stem] * 5, *["shared"] * 4, f"once {now}"]
            owner = random.choice(owners)
            numbers = random.sample(range(ITEMS), int(at_once))
            items = gone or [f"{owner} {number}" for number in numbers]
            change = {"channel": channel, "items": items}
            if gone or random.random() < 0.3:
                file.write(json.dumps(change) + "\n")
                attempt(publisher.unset, channel, *items)
                gone = []
            else:
                # The store has more unsets than it keeps, and forgets the oldest.
                gone = items * owner.startswith("once")
                file.write(json.dumps({**change, "data": data}) + "\n")
                given = [Event(channel, data, item=item) for item in items]
                attempt(publisher.publish_many, given)
            file.write("done\n")
            # Readers have to keep up now and then.
            time.sleep(random.choice([0, 0.0005, 0.002]) * int(at_once))


if __name__ == "__main__":
    main(*sys.argv[1:])
