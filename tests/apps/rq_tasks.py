"""A task of RQ that publishes."""

from __future__ import annotations

import os

from flask_push import Publisher


def announce(number: int) -> str:
    publisher = Publisher(os.environ["REDIS"])
    try:
        return publisher.publish("rq", {"number": number})
    finally:
        publisher.close()
