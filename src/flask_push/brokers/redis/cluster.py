"""Which node of a Redis Cluster has a store. No input or output.

All keys and channels of a store share one hash tag, so they are in one slot, which has one
master. Any node can name the master. A stale answer is harmless: a node that does not own
the slot refuses the command and names the owner.

While a slot is moved, some of its keys are on one node and some on another. Both refuse a
script that needs a key which they do not have, before it begins. If a node names the other
(``ASK``), we do not follow: the other has only a part of the store, and keys that a script
left there would collide with those still to be moved. We ask again until the slot is moved.
"""

from __future__ import annotations

import typing as t
from binascii import crc_hqx

from ..._system import unpatched

_SLOTS = 16384

Address = tuple[str, int]


def address(text: str, port: int) -> Address:
    """Parse ``host:port``, or a host alone, which may be an IPv6 address in brackets."""
    host, colon, after = text.rpartition(":")
    if colon and not after.endswith("]"):
        text, port = host, int(after)
    return text.strip("[]"), port


class Nodes:
    """The nodes of the Cluster that are known. Any thread.

    :param tag: The hash tag of all keys.
    """

    def __init__(self, given: list[Address], tag: str) -> None:
        self.slot = crc_hqx(tag.encode(), 0) % _SLOTS
        self._given = given
        #: Asked in this order.
        self.known = given
        self._named: Address | None = None
        self._lock = unpatched.free_lock()

    def named(self) -> Address | None:
        """The owner that another node has named last. Only once, because it may be gone as
        well."""
        with self._lock:
            named, self._named = self._named, None
            return named

    def learn(self, reply: list[t.Any], asked: Address) -> Address | None:
        """The master of the slot, in a node's reply to ``CLUSTER SLOTS``."""
        found, master = [asked], None
        for first, last, *nodes in reply:
            # A node that does not know its own address leaves it out.
            places = [(_text(node[0]) or asked[0], int(node[1])) for node in nodes]
            found += places
            if places and int(first) <= self.slot <= int(last):
                master = places[0]
        if master is not None:
            with self._lock:
                self.known = list(dict.fromkeys([*found, *self._given]))
        return master

    def moved(self, place: str) -> None:
        """Note that a node has named this one as the owner."""
        host, _ = found = address(place, 0)
        with self._lock:
            self._named = found if _text(host) else None

    def doubt(self) -> None:
        """The last answer may be wrong: ask another node first."""
        with self._lock:
            self.known = [*self.known[1:], *self.known[:1]]


def _text(host: bytes | str | None) -> str:
    host = host.decode() if isinstance(host, bytes) else host
    return "" if host in (None, "?") else host


def addresses(text: str, port: int) -> list[Address]:
    return [address(part, port) for part in text.split(",")]
