"""The events that tell who is present in a roster.

They are items in a stream, and have the ids of items: the user's name is the item's, and
that of a count is ``-``.
"""

from __future__ import annotations

import json

from . import wire

JOINED, LEFT, COUNTED = "push:joined", "push:left", "push:count"
# What stands in the id of a count for a user.
_COUNT_ID = "-"
# More than a name and an info of 1,024 bytes take.
_MAX_BYTES = 4096


def joined_tail(channel: str, user: str, info: bytes, number: int) -> bytes:
    """``push:joined``: the user is there, and this is the newest info. As
    :func:`.wire.item_tail`.

    :raises ValueError: If another program has stored what is no JSON, or too long.
    """
    about = {"channel": channel, "user": user, "info": json.loads(info)}
    data = wire.to_json(about).encode()
    return wire.item_tail(channel, user, JOINED, data, number, _MAX_BYTES)


def left_tail(channel: str, user: str, number: int) -> bytes:
    """``push:left``: the user is no longer there."""
    data = wire.to_json({"channel": channel, "user": user}).encode()
    return wire.item_tail(channel, user, LEFT, data, number, _MAX_BYTES)


def count_tail(channel: str, count: int, number: int) -> bytes:
    """``push:count``: so many users are counted, and not listed."""
    data = wire.to_json({"channel": channel, "count": count}).encode()
    return wire.item_tail(channel, _COUNT_ID, COUNTED, data, number, _MAX_BYTES)
