"""APScheduler publishes, on threads of its own."""

from __future__ import annotations

import datetime
import os
import threading

from apscheduler.schedulers.background import BackgroundScheduler

from flask_push import Publisher

publisher = Publisher(os.environ["REDIS"])
done = threading.Semaphore(0)


def announce(number: int) -> None:
    publisher.publish("scheduled", {"number": number})
    done.release()


scheduler = BackgroundScheduler(timezone=datetime.UTC)
scheduler.start()
for number in range(10):
    scheduler.add_job(announce, args=[number])
for _ in range(10):
    assert done.acquire(timeout=20)
scheduler.shutdown()
publisher.close()
