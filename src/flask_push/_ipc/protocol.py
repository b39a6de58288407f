"""What workers and hubs send each other, as JSON."""

from __future__ import annotations

import collections.abc as cabc
import secrets
import typing as t

from ..brokers import Bridge


def bridges_to_json(bridges: cabc.Iterable[Bridge]) -> list[dict[str, str]]:
    return [bridge._asdict() for bridge in bridges]


def bridges_from_json(values: cabc.Iterable[dict[str, t.Any]]) -> list[Bridge]:
    """Fields that this version does not know are those of a newer one, and left out."""
    known = [{name: value[name] for name in Bridge._fields} for value in values]
    return [Bridge(**value) for value in known]


def new_ticket() -> str:
    """Unlike any other. For processes that make tickets, and send them to the hub's."""
    return secrets.token_urlsafe(24)
