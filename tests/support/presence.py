"""Store what hubs write of those who are present."""

from __future__ import annotations

import json
import typing as t

from flask_push.brokers import Broker
from flask_push.brokers import ItemChange
from flask_push.brokers import KeepsItems


def store(broker: Broker, *rows: tuple[str, str, t.Any]) -> str:
    """Store what hubs write: in a channel, for a hub and its user, this info. Returns the
    position."""
    assert isinstance(broker, KeepsItems)
    changes = [
        ItemChange(
            channel,
            item,
            data if data is None else json.dumps(data),
            kind="present",
            owner=item.partition(".")[0],
        )
        for channel, item, data in rows
    ]
    return str(broker.change(changes)[-1])
