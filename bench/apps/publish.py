"""Publish for some seconds, and print the number of events and the processor time.

python publish.py URL BATCH SECONDS
"""

from __future__ import annotations

import json
import sys
import time

from flask_push import Event
from flask_push import Publisher


def main(url: str, batch: int, seconds: float) -> None:
    publisher = Publisher(url)
    events = [Event("c0000", "x" * 150) for _ in range(batch)]
    publisher.publish_many(events)
    published, end, before = 0, time.monotonic() + seconds, time.process_time()
    while time.monotonic() < end:
        publisher.publish_many(events)
        published += batch
    print(json.dumps({"events": published, "cpu": time.process_time() - before}))
    publisher.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
