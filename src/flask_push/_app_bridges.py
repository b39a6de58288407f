"""The bridges of an app: what ``push.bridge`` adds, until the app's hub runs it."""

from __future__ import annotations

import collections.abc as cabc

from ._delivery.wire import check_type
from ._names import channel_name
from ._names import plain
from .brokers import Bridge
from .brokers import BRIDGE_WIRES
from .brokers import Bridging
from .brokers import Broker
from .brokers._urls import hide_password


class AppBridges:
    """The bridges of one app, in one process."""

    def __init__(self, bridges: cabc.Iterable[Bridge]) -> None:
        self._bridges = list(bridges)
        self._in_use = False

    def add(self, bridge: Bridge) -> None:
        if self._in_use:
            raise RuntimeError(
                "The app is in use, and its hub already has its bridges. Call 'push.bridge'"
                " where the app is created."
            )
        if bridge not in self._bridges:
            self._bridges.append(bridge)

    def take(self, broker: Broker, url: str, optional: bool) -> list[Bridge]:
        """The bridges for the app's hub. None can be added any more.

        :param url: The broker's URL, as it was configured.
        :param optional: Whether a broker without bridges is no mistake.
        :raises RuntimeError: If the broker has no bridges, and should.
        """
        found = self._bridges if isinstance(broker, Bridging) else []
        if self._bridges and not found and not optional:
            raise RuntimeError(
                f"{hide_password(url)!r} has no bridges: {self._bridges[0].source!r} needs"
                " a Redis that is no Cluster. Set PUSH_BROKER_URL to that Redis, or don't"
                " call 'push.bridge'."
            )
        self._in_use = True
        return found


def make_bridge(source: str, channel: str, type: str, wire: str | None = None) -> Bridge:
    """
    :raises ValueError: If an argument is invalid.
    """
    kind, _, name = source.partition(":") if isinstance(source, str) else ("", "", "")
    if kind != "redis" or not name:
        raise ValueError(
            "The source of a bridge is a channel in the Redis of PUSH_BROKER_URL, such as"
            f" 'redis:chat', not {source!r}."
        )
    channel = channel_name(channel)
    check_type(type)
    if wire is not None and wire not in BRIDGE_WIRES:
        known = " or ".join(map(repr, BRIDGE_WIRES))
        raise ValueError(f"The wire of a bridge is {known}, or None, not {wire!r:.80}.")
    return Bridge(plain(source), channel, plain(type), wire or "")
