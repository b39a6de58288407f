"""Publishes until it is killed, and notes what it tried and what was acknowledged.

Started again, it repeats what it does not know the outcome of, as a task queue would.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

import apps.mutant  # noqa: F401
from flask_push import NotPublished
from flask_push import Publisher
from flask_push import PublishUncertain


def main(url: str, notes: str, channels: str) -> None:
    publisher = Publisher(url, timeout=0.5)
    path = Path(notes)
    #: Is there once the store did not answer.
    uncertain = path.with_name(path.name.replace("notes", "uncertain"))
    lines = path.read_text().splitlines() if path.exists() else []
    pending = [json.loads(line) for line in lines[-1:] if "id" not in json.loads(line)]
    count = len(lines)
    with path.open("a", buffering=1) as file:
        while True:
            count += 1
            data = f"{path.stem} {count}"
            note = {"channel": random.choice(channels), "data": data}
            if pending:
                note = pending.pop()
            else:
                file.write(json.dumps(note) + "\n")
            while True:
                try:
                    note["id"] = publisher.publish(
                        note["channel"], note["data"], key=note["data"]
                    )
                    break
                except NotPublished:
                    time.sleep(0.01)
                except PublishUncertain:
                    uncertain.touch()
                    time.sleep(0.01)
            # A good moment to be killed: it is stored, and we don't know it yet.
            time.sleep(random.choice([0, 0, 0.005]))
            file.write(json.dumps(note) + "\n")
            time.sleep(random.choice([0, 0, 0.001, 0.005]))


if __name__ == "__main__":
    main(*sys.argv[1:])
